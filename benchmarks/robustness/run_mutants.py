"""Apply mutations of the core logic, one at a time, and count how many the tests notice.

    python -m benchmarks.robustness.run_mutants --json mutants.json

``mutants.toml`` lists them: a line of a file, what takes its place, and the tests that must fail then. Each runs in a copy of the
sources, so that the checkout stays as it is. A mutation survives if its tests pass; a survivor wants a test, or a reason. A mutation
that was killed is not run again as long as its line in FILE stands, so a run may be stopped and continued; ``--again`` runs all.

The libraries are loaded once, and a process is forked from there for each mutation. Checkpoints and bundles that many tests use are made
once, by the code without mutations, so that a mutation is killed by what tests say and not by a broken fixture alone.
"""

from __future__ import annotations

import os

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")  # read by the imports below

import argparse
import importlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
KILLED, HANGS, SURVIVED, BROKEN = "killed", "killed: took too long", "survived", "cannot be applied or tested"
#: pytest: some tests failed; the collection failed, as when a mutated module cannot be imported.
_FAILED = (1, 2)
#: What most tests and pytest's plugins import and takes long. Loaded once, before the forks.
_LIBRARIES = (
    *("torch", "transformers", "sklearn.linear_model", "scipy.optimize", "onnx", "onnxruntime", "tokenizers"),
    *("pytest", "hypothesis.strategies", "schemathesis.pytest.plugin", "fastapi", "uvicorn"),
)
#: pytest warns of plugins that are loaded already, and our settings make errors of warnings.
_WARNINGS = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
#: Its fixtures are made before the mutations.
_FIRST = "tests/crosstune_export/bundle/test_manifest.py"
_NOT_COPIED = (".git", ".venv*", "build", "out", "node_modules", "*.egg-info", "__pycache__")

Row = dict[str, Any]


def mutated(source: str, old: str, new: str) -> str | None:
    """Return a source with one line replaced, whose indentation is kept; None if the line does not stand there once."""
    lines = source.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if line.strip() == old]
    if len(places) != 1:
        return None
    (at,) = places
    lines[at] = lines[at].replace(old, new)
    return "".join(lines)


def outcome(copy: Path, mutant: Row, timeout_s: float) -> str:
    """Run the tests of a mutation in the copy, which is as before afterwards."""
    path = copy / mutant["file"]
    before = path.read_text("utf-8") if path.is_file() else ""
    after = mutated(before, mutant["old"], mutant["new"])
    if after is None:
        return BROKEN
    path.write_text(after, "utf-8")
    try:
        code = _tests_in_a_fork(copy, mutant["tests"], timeout_s)
        if code is None:
            return HANGS
        return KILLED if code in _FAILED else SURVIVED if code == 0 else BROKEN
    finally:
        path.write_text(before, "utf-8")


def _tests_in_a_fork(copy: Path, tests: list[str], timeout_s: float) -> int | None:
    """The exit code of pytest, negative after a signal; None if it takes longer."""
    child = os.fork()
    if not child:
        try:
            os.setsid()
            os.chdir(copy)
            sys.path.insert(0, str(copy))
            os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1")
            sys.dont_write_bytecode = True
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            pytest = importlib.import_module("pytest")
            os._exit(pytest.main(["-n0", "-x", "-q", *_WARNINGS, *tests]))
        finally:
            os._exit(70)
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                child = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        return None
    finally:
        if child:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _key(row: Row) -> tuple[str, str, str]:
    return row["file"], row["old"], row["new"]


def _write(path: Path | None, mutants: list[Row], outcomes: dict[tuple[str, str, str], str]) -> None:
    """Print the score, and write it with the outcome of each mutation."""
    rows = [
        {**dict(zip(("file", "old", "new"), key, strict=True)), "outcome": found} for key, found in outcomes.items()
    ]
    reasons = {_key(mutant): mutant.get("survives") for mutant in mutants}
    counted = Counter(outcomes.values())
    killed = counted[KILLED] + counted[HANGS]
    summary = {
        "mutations": len(rows),
        "results": dict(sorted(counted.items())),
        "score": round(killed / max(1, killed + counted[SURVIVED]), 3),
        "survivors": [row | {"reason": reasons[_key(row)]} for row in rows if row["outcome"] in (SURVIVED, BROKEN)],
    }
    if path is None:
        print(json.dumps(summary, indent=1, ensure_ascii=False))
        return
    path.write_text(json.dumps(summary | {"rows": rows}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="number of mutations, drawn at random; default: all")
    parser.add_argument("--seed", type=int, default=13, help="random seed of the sample")
    parser.add_argument("--only", default="", help="only mutations of files whose path contains this")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for the tests of one mutation")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no mutation after so many seconds")
    parser.add_argument("--again", action="store_true", help="run those again whose outcome is in FILE")
    parser.add_argument("--survivors", action="store_true", help="with --json: run those again that survived or hung")
    parser.add_argument("--json", type=Path, help="JSON file of the outcomes, written after each mutation")
    arguments = parser.parse_args()
    every = tomllib.loads(MUTANTS.read_text("utf-8"))["mutant"]
    mutants = [entry for entry in every if arguments.only in entry["file"]]
    if arguments.sample is not None:
        mutants = random.Random(arguments.seed).sample(mutants, min(arguments.sample, len(mutants)))
    outcomes: dict[tuple[str, str, str], str] = {}
    if arguments.json is not None and arguments.json.exists():
        listed = set(map(_key, every))
        rows = json.loads(arguments.json.read_text("utf-8"))["rows"]
        outcomes = {_key(row): row["outcome"] for row in rows if _key(row) in listed}
    repeated = [HANGS, SURVIVED, BROKEN] if arguments.survivors else []
    left = [one for one in mutants if arguments.again or outcomes.get(_key(one)) in (None, *repeated)]
    left.sort(key=lambda mutant: any("test_training" in test for test in mutant["tests"]))  # what trains comes last
    begun = time.monotonic()
    for library in _LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        artifacts = Path(name) / "artifacts"
        os.environ["CROSSTUNE_TEST_ARTIFACTS"] = str(artifacts)
        if _tests_in_a_fork(copy, [_FIRST], arguments.timeout) != 0:
            raise SystemExit(f"{_FIRST}: fails without a mutation, expected green tests.")
        made = set((artifacts / "shared").iterdir())
        for number, mutant in enumerate(left, 1):
            started = time.monotonic()
            if started - begun > arguments.seconds:
                print(f"{len(left) - number + 1} left", file=sys.stderr)
                break
            found = outcomes[_key(mutant)] = outcome(copy, mutant, arguments.timeout)
            for path in set((artifacts / "shared").iterdir()) - made:  # made by mutated code
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            took = time.monotonic() - started
            print(f"{number}/{len(left)} {found} ({took:.0f} s) {mutant['file']}: {mutant['new']}", file=sys.stderr)
            if arguments.json is not None:
                _write(arguments.json, every, outcomes)
    _write(None, every, outcomes)


if __name__ == "__main__":
    main()
