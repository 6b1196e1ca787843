"""Signals and failing disks: a small part of ``benchmarks/robustness/kill_anything.py``, and signals inside of native calls."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import tokenizers

from crosstune_export.runtime import tokenization
from tests.cli.conftest import Outcome, files_in
from tests.conftest import REPO_ROOT

GOLDEN = REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip"


def disturbed(*arguments: object) -> dict[str, dict[str, dict[str, int]]]:
    """Outcomes of disturbed runs: counts by job and kind of disturbance, without any failure."""
    command = [sys.executable, "-m", "benchmarks.robustness.kill_anything", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
        env=os.environ | {"COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    found = json.loads(done.stdout)
    for job in found.values():
        assert job.pop("problems") == []
        assert job.pop("states run again") > 0
    return found


@pytest.fixture(scope="module")
def strace():
    """Attaches to a process that it did not start: the system may forbid it."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        tracer = subprocess.Popen(["strace", "-p", str(sleeper.pid), "-o", os.devnull], stderr=subprocess.PIPE)
        said = tracer.stderr.readline()
        sleeper.kill()
        tracer.communicate()
    if b"attached" not in said:
        pytest.skip(f"strace cannot attach: {said!r}")


@pytest.mark.fault("E1", "E3", "E4", "E5", "E6")
@pytest.mark.slow
def test_at_system_calls(strace):
    """Killed, interrupted or refused at a system call that changes the disk."""
    found = disturbed("--bundle", GOLDEN, "--jobs", "classify,labels", "--kills", 0, "--signals", 0, "--every", 5)
    for job in found.values():
        ends = {how: {end.partition(",")[0] for end in counts} for how, counts in job.items()}
        assert ends["SIGKILL at a call"] == {"exit 137"}
        assert "exit 130" in ends["SIGINT at a call"]
        assert "exit 143" in ends["SIGTERM at a call"]
        assert "exit 7" in ends["EIO from a call"]
        assert "exit 7" in ends["ENOSPC from a call on"]


@pytest.mark.fault("E1", "E2", "E3", "E4", "D19")
@pytest.mark.slow
def test_at_random_instants():
    """The instants depend on the machine, but the guarantees must hold at any of them."""
    found = disturbed("--bundle", GOLDEN, "--jobs", "train,augment,labels", "--kills", 2, "--signals", 1)
    for job in found.values():
        times = {how: sum(counts.values()) for how, counts in job.items() if "answers" not in how}
        assert times == {"SIGKILL": 2} | dict.fromkeys(("SIGINT", "SIGINT twice", "SIGTERM", "SIGHUP"), 1)


class InterruptedTokenizer:
    """The library's tokenizer; a signal comes while it is at work."""

    number = signal.SIGINT

    @classmethod
    def from_str(cls, data: str) -> InterruptedTokenizer:
        made = cls()
        object.__setattr__(made, "inner", tokenizers.Tokenizer.from_str(data))
        return made

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.inner, name, value)

    def encode_batch_fast(self, *arguments, **options) -> object:
        signal.raise_signal(self.number)
        return self.inner.encode_batch_fast(*arguments, **options)


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_inside_the_tokenizer(run_app, task, monkeypatch, number, code, word):
    """It is no text that the tokenizer could not take."""
    (task.folder / "texts.txt").write_text("where is my box\n", "utf-8")
    monkeypatch.setattr(InterruptedTokenizer, "number", number)
    monkeypatch.setattr(tokenization, "Tokenizer", InterruptedTokenizer)
    output = task.out / "a.jsonl"
    assert run_app(
        "crosstune-export", "classify", GOLDEN, task.folder / "texts.txt", "--output", output, "--workers", 1
    ) == Outcome(code, "", f"error: {word}. No partial files were left; run the command again.\n")
    assert files_in(task.out) == []
