"""Build the fuzz targets with clang, AddressSanitizer and UndefinedBehaviorSanitizer, and run them one after the other.

    make fuzz FUZZ_SECONDS=600

Prints one JSON line per target: executions, executions per second, seconds, covered edges, findings. Exits with code 6 when
there is a finding; the input that causes it is in the build folder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

TARGETS = ("manifest", "archive", "graph", "bundle", "tokenizer", "text")
HERE = Path(__file__).resolve().parent


def build(folder: Path, settings: list[str]) -> None:
    """Configure and compile all targets."""
    if shutil.which("clang++") is None:
        raise SystemExit("clang++: not found, expected for fuzzing. Run: apt-get install clang libclang-rt-dev")
    cmake = Path(sys.executable).parent / "cmake"
    options = ["-DCMAKE_CXX_COMPILER=clang++", "-DCROSSTUNE_SANITIZE=address,undefined", "-DCROSSTUNE_FUZZ=ON"]
    subprocess.run([cmake, "-S", HERE.parent, "-B", folder, *options, *settings], check=True, stdout=subprocess.DEVNULL)
    names = [f"fuzz-{target}" for target in TARGETS]
    subprocess.run([cmake, "--build", folder, "--parallel", "2", "--target", *names], check=True, stdout=sys.stderr)


def fuzz(target: str, folder: Path, seconds: int) -> dict[str, object]:
    """Run one target; the growing corpus stays in the folder for the next run."""
    corpus, findings = folder / "corpus" / target, folder / "findings" / target
    for path in (corpus, findings):
        path.mkdir(parents=True, exist_ok=True)
    max_bytes = {"text": 4096}.get(target, 65536)
    command = [
        folder / "build" / f"fuzz-{target}", corpus, folder / "seeds" / target,
        f"-max_total_time={seconds}", f"-max_len={max_bytes}", "-timeout=10", "-rss_limit_mb=2048",
        f"-artifact_prefix={findings}/", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    environment = os.environ | {"CROSSTUNE_FUZZ_TOKENIZER": str(folder / "seeds" / "tokenizer.json")}
    log = folder / f"{target}.log"
    with log.open("wb") as sink:
        code = subprocess.run(command, env=environment, stderr=sink, check=False).returncode
    text = log.read_text("utf-8", "replace")
    executions = re.search(r"stat::number_of_executed_units:\s+(\d+)", text)
    done = re.search(r"^Done \d+ runs in (\d+) second", text, re.MULTILINE)
    edges = re.findall(r" cov: (\d+)", text)
    count = int(executions[1]) if executions else 0
    seconds_run = int(done[1]) if done else 0
    return {
        "target": target,
        "executions": count,
        "executions_per_s": count // max(seconds_run, 1),
        "seconds": seconds_run,
        "edges": int(edges[-1]) if edges else 0,
        "findings": 0 if code == 0 and done else 1,
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help="bundle from which the first inputs are made")
    parser.add_argument("--seconds", type=int, default=600, help="seconds for each target, default 600")
    parser.add_argument("--build", type=Path, required=True, help="folder for the build, the inputs and the findings")
    parser.add_argument("--settings", default="", help="further options for CMake")
    arguments = parser.parse_args()
    if not (arguments.bundle / "manifest.json").exists():
        raise SystemExit(
            f"{arguments.bundle}: found no bundle, expected one for the first inputs. Run: make quickstart"
        )
    build(arguments.build / "build", shlex.split(arguments.settings))
    seeds = arguments.build / "seeds"
    subprocess.run([sys.executable, HERE / "make_seeds.py", arguments.bundle, seeds], check=True)
    rows = []
    for target in TARGETS:
        rows.append(fuzz(target, arguments.build, arguments.seconds))
        print(json.dumps(rows[-1]), flush=True)
    if any(row["findings"] for row in rows):
        raise SystemExit(6)


if __name__ == "__main__":
    main()
