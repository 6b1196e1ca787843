"""``classify --isolate``: limits of memory and time, and what a process that a bundle ends leaves to its caller."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PATIENCE_S = 300
SCRIPT = Path(sys.executable).parent / "crosstune-export"


@pytest.fixture
def waiting(tiny_bundle_dir):
    """``waiting("--max-seconds", 1)``: an isolated command that waits for its standard input."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [SCRIPT, "classify", tiny_bundle_dir, "-", "--isolate", "--workers", "1", *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen([*map(str, command)], stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def child_of(process: subprocess.Popen[str]) -> psutil.Process:
    """The process with limits, once it has answered a text."""
    process.stdin.write("where is my parcel\n")
    process.stdin.flush()
    assert '"label": "shipping"' in process.stdout.readline()
    (child,) = psutil.Process(process.pid).children()
    return child


def end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    code = process.wait(PATIENCE_S)
    return code, process.stderr.read()


@pytest.mark.fault("L17", "L18")
def test_the_same_answers(tiny_bundle_dir, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("where is my parcel\nthe invoice is wrong\n")
    answers = [
        subprocess.run(
            [SCRIPT, "classify", tiny_bundle_dir, texts, *options], capture_output=True, timeout=PATIENCE_S, check=True
        ).stdout
        for options in ([], ["--isolate"])
    ]
    assert answers[0].count(b"\n") == 2
    assert answers[0] == answers[1]


@pytest.mark.fault("L17")
def test_a_crash_is_one_line(waiting, tiny_bundle_dir):
    process = waiting()
    child_of(process).send_signal(signal.SIGSEGV)
    assert end_of(process) == (
        5,
        f"error: {tiny_bundle_dir}: ended the process that ran it (SIGSEGV), expected answers within 4096 MB. "
        "Do not run it outside of --isolate; if you trust it, give --max-memory-mb more.\n",
    )


@pytest.mark.fault("L18")
def test_a_command_that_takes_too_long(waiting):
    assert end_of(waiting("--max-seconds", 2)) == (
        7,
        "error: stopped after --max-seconds. No partial files were left; run the command again.\n",
    )


@pytest.mark.fault("L18")
def test_a_process_that_does_not_listen_is_killed(waiting, tiny_bundle_dir):
    process = waiting("--max-seconds", 4)
    child = child_of(process)
    child.suspend()
    code, message = end_of(process)
    assert code == 7
    assert message.startswith(f"error: {tiny_bundle_dir}: not finished after 4 s, the process was ended.")
    assert not child.is_running()


@pytest.mark.fault("L18")
def test_memory_beyond_the_limit(tiny_bundle_dir, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text(("parcel " * 60 + "\n") * 16384)
    command = [SCRIPT, "classify", tiny_bundle_dir, texts, "--workers", 1, "--batch-size", 16384, "--isolate"]
    command += ["--kernels", "portable"]  # the fast ones keep a small batch in memory at a time
    done = subprocess.run(
        [*map(str, command), "--max-memory-mb", "256"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode in (5, 7), done.stderr  # 5 if a signal ended the process
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.fault("E2")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_reach_the_process_with_limits(waiting, number, code):
    process = waiting()
    child = child_of(process)
    process.send_signal(number)
    assert end_of(process)[0] == code
    assert not child.is_running()


def test_a_killed_command_takes_its_process_along(waiting):
    process = waiting()
    child = child_of(process)
    process.kill()
    child.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("command", "option"), [("classify", "--max-memory-mb"), ("serve", "--max-seconds")], ids=["classify", "serve"]
)
def test_limits_without_isolation(tiny_bundle_dir, command, option):
    done = subprocess.run(
        [SCRIPT, command, tiny_bundle_dir, option, "500"], capture_output=True, text=True, timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: {option}: found no --isolate, expected it. Add --isolate.\n"
