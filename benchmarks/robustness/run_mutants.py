"""Apply mutations of the core logic, one at a time, and count how many the tests notice.

    python -m benchmarks.robustness.run_mutants --sample 20 --json FILE

``mutants.toml`` lists them: a line of a file, what takes its place, and the tests that must fail then. Each runs in a copy of the
sources, so that the checkout stays as it is. A mutation survives if its tests pass; a survivor wants a test, or a reason.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
KILLED, SURVIVED, BROKEN = "killed", "survived", "cannot be applied"
#: pytest: some tests failed; the collection failed, as when a mutated module cannot be imported.
_FAILED = (1, 2)


def mutated(source: str, old: str, new: str) -> str | None:
    """Return a source with one line replaced, whose indentation is kept; None if the line does not stand there once."""
    lines = source.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if line.strip() == old]
    if len(places) != 1:
        return None
    (at,) = places
    lines[at] = lines[at].replace(old, new)
    return "".join(lines)


def outcome(copy: Path, mutant: dict[str, object], timeout_s: float) -> str:
    """Run the tests of a mutation in the copy, which is as before afterwards."""
    path = copy / str(mutant["file"])
    before = path.read_text("utf-8")
    after = mutated(before, str(mutant["old"]), str(mutant["new"]))
    if after is None:
        return BROKEN
    path.write_text(after, "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:randomly", *map(str, mutant["tests"])],  # type: ignore[call-overload]
            cwd=copy, env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=timeout_s, check=False,
        )  # fmt: skip
        return KILLED if done.returncode in _FAILED else SURVIVED if done.returncode == 0 else BROKEN
    except subprocess.TimeoutExpired:
        return KILLED
    finally:
        path.write_text(before, "utf-8")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="number of mutations, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=13, help="random seed of the sample")
    parser.add_argument("--only", default="", help="only mutations of files whose path contains this")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for the tests of one mutation")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    mutants = [
        entry for entry in tomllib.loads(MUTANTS.read_text("utf-8"))["mutant"] if arguments.only in entry["file"]
    ]
    if arguments.sample is not None:
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    results: Counter[str] = Counter()
    survivors = []
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy"
        shutil.copytree(
            ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv*", "build", "out", "node_modules", "*.egg-info")
        )
        for number, mutant in enumerate(mutants, 1):
            started = time.monotonic()
            found = outcome(copy, mutant, arguments.timeout)
            results[found] += 1
            seconds = time.monotonic() - started
            print(
                f"{number}/{len(mutants)} {found} ({seconds:.0f} s) {mutant['file']}: {mutant['new']}", file=sys.stderr
            )
            if found != KILLED:
                survivors.append({**{key: mutant[key] for key in ("file", "old", "new")}, "outcome": found})
    counted = results[KILLED] + results[SURVIVED]
    summary = {
        "mutations": len(mutants),
        "results": dict(results),
        "score": round(results[KILLED] / max(1, counted), 3),
    }
    print(json.dumps(summary | {"survivors": survivors}, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(summary | {"survivors": survivors}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
