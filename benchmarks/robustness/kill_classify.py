"""Kill ``crosstune-export classify`` at random times and resume it: the output must equal that of an uninterrupted run.

    python -m benchmarks.robustness.kill_classify BUNDLE --kills 50

Each run over the same file gets SIGKILL after a random time (its workers get nothing) and is resumed, until it
completes. Then the output and the file of bad rows are compared, byte for byte, with those of an uninterrupted run.
Prints how many kills hit, how many hit after some output had been saved, and how many processes outlived their parent
by more than a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import Progress

WORDS = [
    "parcel",
    "invoice",
    "thanks",
    "late",
    "box",
    "charged",
    "twice",
    "great",
    "where",
    "is",
    "my",
    "the",
    "lamp",
    "money",
    "back",
    "please",
]
ENTRY = "from crosstune_cli.export_app import main; main()"


@dataclass
class Figures:
    """Over all runs."""

    kills: int = 0
    kills_after_a_commit: int = 0
    runs: int = 0
    runs_with_other_bytes: int = 0
    orphans: int = 0


def write_rows(path: Path, rows: int, draw: random.Random) -> None:
    """Rows of random words, one in a thousand of them bad."""
    with path.open("w", encoding="utf-8") as sink:
        for number in range(rows):
            text = " ".join(draw.choices(WORDS, k=draw.randint(1, 20)))
            sink.write("nope\n" if number % 1000 == 500 else json.dumps({"id": number, "text": text}) + "\n")


def command(bundle: Path, source: Path, output: Path, workers: int) -> list[str]:
    """The command under test."""
    options = ["--output", str(output), "--workers", str(workers), "--on-error", "record", "--resume"]
    return [sys.executable, "-c", ENTRY, "classify", str(bundle), str(source), *options]


def run_to_the_end(line: list[str], draw: random.Random, longest_s: float, kills_left: int, figures: Figures) -> int:
    """Kill and resume until the command ends by itself; returns the kills that hit."""
    output = Path(line[line.index("--output") + 1])
    journal = output.with_name(output.name + ".partial.json")
    hits = 0
    while True:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        children: list[psutil.Process] = []
        if hits < kills_left:
            deadline = time.monotonic() + draw.uniform(0, longest_s)
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(psutil.Error):
                    children = psutil.Process(process.pid).children(recursive=True) or children
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
                hits += 1
                figures.kills_after_a_commit += journal.exists()
        said = process.communicate()[1]
        figures.orphans += len(psutil.wait_procs(children, timeout=60)[1])
        if process.returncode == 0 or output.exists():
            return hits
        if process.returncode != -9:
            raise SystemExit(f"the command ended with {process.returncode}: {said.decode()}")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--rows", type=int, default=60_000, help="rows per run")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--ending", default="jsonl", help="output format: jsonl, csv or parquet")
    parser.add_argument("--seed", type=int, default=13, help="seed of rows and times")
    parser.add_argument("--output", type=Path, default=None, help="JSON file to write")
    arguments = parser.parse_args()
    draw, figures = random.Random(arguments.seed), Figures()
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", arguments.rows, draw)
        whole, cut = (folder / f"{part}.{arguments.ending}" for part in ("whole", "cut"))
        started = time.monotonic()
        subprocess.run(
            command(arguments.bundle, folder / "rows.jsonl", whole, arguments.workers), check=True, capture_output=True
        )
        whole_s = time.monotonic() - started
        task = progress.add_task("kills", total=arguments.kills)
        while figures.kills < arguments.kills:
            line = command(arguments.bundle, folder / "rows.jsonl", cut, arguments.workers)
            figures.kills += run_to_the_end(line, draw, whole_s, min(8, arguments.kills - figures.kills), figures)
            figures.runs += 1
            progress.update(task, completed=figures.kills)
            for ending in ("", ".bad.jsonl"):
                one, other = (path.with_name(path.name + ending) for path in (whole, cut))
                if not other.exists():  # killed between the two renamings: the journal says what is left to do
                    subprocess.run(line, check=True, capture_output=True)
                figures.runs_with_other_bytes += one.read_bytes() != other.read_bytes()
                other.unlink()
            for left in folder.glob("cut.*"):
                left.unlink()
    settings = {name: getattr(arguments, name) for name in ("rows", "workers", "ending")}
    found = asdict(figures) | settings | {"whole_run_s": round(whole_s, 1)}
    print(json.dumps(found))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if figures.runs_with_other_bytes or figures.orphans:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
