"""Runs the command lines in this process, as the installed scripts do, and makes their input files."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from crosstune import CrossTuneWarning
from tests.conftest import TINY_LABELS, TINY_TEXTS

#: The end of every message about bytes that are not UTF-8.
NOT_UTF8 = (
    " is not UTF-8. It looks like Windows-1252, which reads 'café' there: "
    "give --encoding cp1252, or save the file as UTF-8."
)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Scripts:
    """The installed scripts and an environment in which they need no network and leave the user's cache alone."""

    folder: Path
    environment: dict[str, str] = field(repr=False)

    def command(self, name: str, *arguments: object) -> list[str]:
        return [str(self.folder / name), *map(str, arguments)]

    def run(self, name: str, *arguments: object, cwd: Path | None = None, timeout: float = 120) -> Outcome:
        done = subprocess.run(
            self.command(name, *arguments),
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))


@dataclass(frozen=True)
class TinyTask:
    """Files of a small task in one folder, and an empty folder for outputs."""

    folder: Path
    train: Path
    labels: Path
    test: Path
    out: Path


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Start with the signal handlers of a new process, and restore the current ones afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def run_app(capsys, one_thread) -> Callable[..., Outcome]:
    """``run_app("crosstune", "train", ...)`` in this process, which keeps its environment."""

    def call(name: str, *arguments: object) -> Outcome:
        from crosstune_cli import crosstune_app, export_app, run

        app = {"crosstune": crosstune_app.app, "crosstune-export": export_app.app}[name]
        capsys.readouterr()
        with own_signals(), mock.patch.dict(os.environ), warnings.catch_warnings():
            warnings.filterwarnings("always", category=CrossTuneWarning)  # every other warning stays an error
            code = run.exit_code(app, name, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def classify(run_app, tiny_fp32_bundle_dir) -> Callable[..., Outcome]:
    """``classify(file, *options)`` with the fp32 bundle."""
    return lambda *arguments: run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, *arguments)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory) -> Scripts:
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    environment |= {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CROSSTUNE_CACHE": str(tmp_path_factory.mktemp("scripts-cache")),
        "PYTHONWARNINGS": "default",
    }
    return Scripts(Path(sys.executable).parent, environment)


@pytest.fixture
def task(tmp_path) -> TinyTask:
    """The tiny task as files."""
    files = TinyTask(
        tmp_path, tmp_path / "train.jsonl", tmp_path / "labels.json", tmp_path / "test.jsonl", tmp_path / "out"
    )
    files.train.write_bytes(jsonl((text, label) for label, texts in TINY_TEXTS.items() for text in texts))
    files.labels.write_text(json.dumps(TINY_LABELS), "utf-8")
    files.test.write_bytes(
        jsonl([("where is the lamp", "shipping"), ("the price is wrong", "billing"), ("so good", "praise")])
    )
    files.out.mkdir()
    return files


def jsonl(rows) -> bytes:
    """(text, label) pairs as JSON Lines."""
    return "".join(
        json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows
    ).encode("utf-8")


def json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def files_in(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir())
