"""Speed and memory of ``crosstune-export classify`` on many rows, also compared with sentence-transformers.

    python -m benchmarks.latency.offline memory BUNDLE --data-root DATA --rows 1000000
    python -m benchmarks.latency.offline ray BUNDLE --data-root DATA --rows 100000
    python -m benchmarks.latency.offline compare BUNDLE --data-root DATA --rows 50000 --peer-python PATH --weights FOLDER

DATA contains train.jsonl (``text``, ``label``). Its texts are repeated to get the number of rows.

- ``memory`` measures the resident memory of the command and its workers, before and after a tenth of the rows is
  saved.
- ``ray`` runs both engines in turns, compares their output and prints the difference in time. Run it with the Python
  of an environment with Ray.
- ``compare`` runs the command and ``benchmarks/latency/offline_peer.py`` in turns on the same rows. The peer needs
  sentence-transformers[onnx], optimum-onnx and scikit-learn. The time of the command includes its start; the time of
  the peer is that of its loop alone.

On a busy machine compare processor time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ENTRY = "from crosstune_cli.export_app import main; main()"
PEER = Path(__file__).with_name("offline_peer.py")


def write_rows(path: Path, data_root: Path, rows: int) -> None:
    """The texts of the data root, over and over, with ids."""
    texts = [json.loads(line)["text"] for line in (data_root / "train.jsonl").read_text("utf-8").splitlines()]
    with path.open("w", encoding="utf-8") as sink:
        for number, text in zip(range(rows), itertools.cycle(texts), strict=False):
            sink.write(json.dumps({"id": number, "text": text}) + "\n")


def command(arguments: argparse.Namespace, source: Path, output: Path, engine: str = "local") -> list[str]:
    """The command that is measured."""
    options = ["--output", str(output), "--workers", str(arguments.workers), "--top-k", "1", "--force"]
    options += ["--engine", engine]
    return [sys.executable, "-c", ENTRY, "classify", str(arguments.bundle), str(source), *options]


def memory(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Peak resident memory before and after a tenth of the rows, and the rate."""
    source, output = folder / "rows.jsonl", folder / "out.jsonl"
    write_rows(source, arguments.data_root, arguments.rows)
    journal = output.with_name("out.jsonl.partial.json")
    early = late = done = 0
    started = time.monotonic()
    process = psutil.Popen(command(arguments, source, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            resident = sum(member.memory_info().rss for member in family)
            done = json.loads(journal.read_bytes())["tally"]["rows"]
        except (psutil.Error, OSError, ValueError):
            continue
        if done <= arguments.rows // 10:
            early = max(early, resident)
        else:
            late = max(late, resident)
        time.sleep(0.1)
    elapsed = time.monotonic() - started
    if process.returncode:
        raise SystemExit(process.stderr.read().decode())
    with output.open("rb") as lines:
        written = sum(1 for _ in lines)
    return {
        "rows": written,
        "rows_per_s": round(written / elapsed, 1),
        "peak_rss_to_a_tenth_mb": round(early / 1e6, 1),
        "peak_rss_after_it_mb": round(late / 1e6, 1),
        "growth_mb": round((late - early) / 1e6, 1),
    }


def ray(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Medians of seconds of both engines, in turns, and whether they wrote the same bytes."""
    source = folder / "rows.jsonl"
    write_rows(source, arguments.data_root, arguments.rows)
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        for engine, found in seconds.items():
            started = time.monotonic()
            line = command(arguments, source, folder / f"{engine}.jsonl", engine)
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            found.append(time.monotonic() - started)
    middle = {engine: round(statistics.median(values), 1) for engine, values in seconds.items()}
    return {
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "same_bytes": (folder / "ray.jsonl").read_bytes() == (folder / "local.jsonl").read_bytes(),
        "seconds": middle,
        "ray_costs_s": round(middle["ray"] - middle["local"], 1),
    }


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Medians of rows per second and per processor second, in turns."""
    source = folder / "rows.jsonl"
    write_rows(source, arguments.data_root, arguments.rows)
    peer = [str(arguments.peer_python), str(PEER), str(arguments.weights), str(arguments.data_root / "train.jsonl")]
    peer += [str(source), str(folder / "peer.jsonl")]
    found: dict[str, list[float]] = {name: [] for name in ("ours", "ours_cpu", "peer", "peer_cpu")}
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command(arguments, source, folder / "ours.jsonl"), check=True, capture_output=True)
        elapsed, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found["ours"].append(arguments.rows / elapsed)
        found["ours_cpu"].append(arguments.rows / busy)
        answer = json.loads(subprocess.run(peer, check=True, capture_output=True).stdout.splitlines()[-1])
        found["peer"].append(arguments.rows / answer["wall_s"])
        found["peer_cpu"].append(arguments.rows / answer["cpu_s"])
    middle = {name: round(statistics.median(values), 1) for name, values in found.items()}
    return {
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "rows_per_s": {"ours": middle["ours"], "peer": middle["peer"]},
        "rows_per_processor_s": {"ours": middle["ours_cpu"], "peer": middle["peer_cpu"]},
        "ratio": round(middle["ours"] / middle["peer"], 2),
        "ratio_of_processor_time": round(middle["ours_cpu"] / middle["peer_cpu"], 2),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "ray", "compare"), help="what to measure")
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with train.jsonl")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to classify")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns")
    parser.add_argument("--peer-python", type=Path, help="Python of the peer, for compare")
    parser.add_argument("--weights", type=Path, help="folder of the backbone, for compare")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = {"memory": memory, "ray": ray, "compare": compare}[arguments.what]
        figures = {"bundle": arguments.bundle.name, "workers": arguments.workers} | run(arguments, Path(name))
    print(json.dumps(figures))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
