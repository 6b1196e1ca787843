"""Commands in odd surroundings: closed streams, locales without letters, names of any bytes, no working folder, devices."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from crosstune_export import Classifier
from tests.cli.conftest import Outcome

#: A name that is not UTF-8, as Python has it, and as people read it.
ODD, READABLE = "caf\udce9", "caf\ufffd"


@pytest.fixture
def shell(scripts, task, tiny_fp32_bundle_dir, tiny_checkpoint_dir):
    """Runs a line of a shell in the task's folder, with both programs in their places."""

    def call(line, **environment) -> Outcome:
        words = {
            "EXPORT": scripts.command("crosstune-export")[0],
            "TRAIN": scripts.command("crosstune")[0],
            "BUNDLE": tiny_fp32_bundle_dir,
            "CHECKPOINT": tiny_checkpoint_dir,
        }
        for word, value in words.items():
            line = line.replace(word, shlex.quote(str(value)))
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=task.folder,
            env=scripts.environment | environment,
            capture_output=True,
            timeout=600,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))

    return call


@pytest.mark.parametrize(
    ("closed", "line"),
    [
        (">&-", "EXPORT classify BUNDLE test.jsonl --output out/a.jsonl"),
        (">&- 2>&-", "EXPORT classify BUNDLE test.jsonl --output out/a.jsonl"),
        (">&- 2>&-", "TRAIN evaluate CHECKPOINT --data test.jsonl --report out/a.html"),
        (">&-", "EXPORT pack BUNDLE --output out/a.zip"),
    ],
)
def test_a_closed_stream_does_not_spoil_a_file(shell, task, closed, line):
    result = shell(f"{line} {closed}")
    assert (result.code, result.out) == (0, "")
    assert "error" not in result.err
    assert [path.stat().st_size > 0 for path in task.out.iterdir()] == [True]


def test_answers_for_a_closed_stream_are_refused(shell):
    result = shell("EXPORT classify BUNDLE test.jsonl >&-")
    message = "error: standard output: is closed, expected an open stream. Give --output.\n"
    assert (result.code, result.err) == (2, message)


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_locale_without_letters(shell, task, environment):
    (task.folder / "t.txt").write_text("café ☃\n", "utf-8")
    result = shell("EXPORT classify BUNDLE t.txt --pretty", **environment)
    assert result.code == 0
    assert "café ☃" in result.out


@pytest.mark.fault("C9")
@pytest.mark.slow
def test_names_that_are_not_utf_8(shell, task):
    """They work, and all output is UTF-8."""
    (task.folder / f"{ODD}.jsonl").symlink_to(task.test)
    odd = "\"$(printf 'caf\\351')\""
    line = f"TRAIN evaluate CHECKPOINT --data {odd}.jsonl --report {odd}.html"
    assert shell(line).code == 0
    assert f"<title>{READABLE}.jsonl" in (task.folder / f"{ODD}.html").read_text("utf-8")

    assert shell(f"EXPORT build CHECKPOINT --precision fp32 --output {odd}.bundle --report {odd}2.html").code == 0
    bundle = Classifier.load(task.folder / f"{ODD}.bundle")
    assert bundle.manifest.name == READABLE
    assert bundle.selftest().passed
    assert f"# {READABLE}" in (task.folder / f"{ODD}.bundle" / "README.md").read_text("utf-8").splitlines()
    assert READABLE in (task.folder / f"{ODD}2.html").read_text("utf-8")

    line = f"EXPORT bench {odd}.bundle --lengths 8 --rounds 1 --json b.json --report b.html"
    assert shell(line).code == 0
    assert json.loads((task.folder / "b.json").read_bytes())[0]["bundle"] == f"{READABLE}.bundle"

    lines = f"EXPORT labels add {odd}.bundle weather 'rain and sun' && EXPORT verify {odd}.bundle && EXPORT doctor {odd}.bundle"
    assert shell(lines).code == 0


def test_a_working_folder_that_was_removed(shell):
    line = "mkdir gone && cd gone && rmdir ../gone && {} classify BUNDLE {} --output {}"
    assert shell(line.format("EXPORT", "../test.jsonl", "a.jsonl")) == Outcome(
        2, "", "error: working directory: was removed, expected an existing one. Change to another directory.\n"
    )


@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("output file", "EXPORT classify BUNDLE test.jsonl --force --output"),
        ("report", "TRAIN evaluate CHECKPOINT --data test.jsonl --force --report"),
        ("report", "EXPORT bench BUNDLE --lengths 8 --rounds 1 --force --report"),
        ("packed bundle", "EXPORT pack BUNDLE --force --output"),
    ],
)
def test_what_is_no_file_is_never_replaced(shell, task, kind, what, line):
    """As /dev/null and /dev/stdout are, which a file in their place would spoil for the whole machine."""
    place: Path = task.folder / "special"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/proc/self/fd/1")
    before = place.lstat()
    message = f"special: exists and is not a regular file, expected a file or nothing. Choose another {what}."
    assert shell(f"{line} special >printed") == Outcome(2, "", f"error: {message}\n")
    assert (stat.S_IFMT(place.lstat().st_mode), place.lstat().st_ino) == (stat.S_IFMT(before.st_mode), before.st_ino)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ('""', ".: is a folder, expected a file. Choose another output file."),
        ("n" * 256, "n" * 256 + ": cannot be the output file (File name too long). Choose another name."),
    ],
)
@pytest.mark.fault("C9")
def test_names_that_no_file_has(shell, name, message):
    for more in ("", " --on-error record"):
        assert shell(f"EXPORT classify BUNDLE test.jsonl --output {name}{more}") == Outcome(
            2, "", f"error: {message}\n"
        )


@pytest.mark.parametrize("name", ["threads", "workers"])
def test_threads_and_processes_that_would_stop_the_machine(run_app, task, tiny_fp32_bundle_dir, name):
    result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, task.test, f"--{name}", 100_000)
    assert result == Outcome(2, "", f"error: {name}: found 100000, expected 1 to 256.\n")


@pytest.mark.fault("L22")
def test_a_file_system_without_locks_is_not_taken_for_another_run(run_app, task, tiny_bundle_dir, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    output = task.folder / "o.jsonl"
    result = run_app("crosstune-export", "classify", tiny_bundle_dir, task.train, "--output", output, "--workers", 1)
    assert (result.code, result.err) == (
        2,
        f"error: {output}: cannot be locked ({os.strerror(errno.ENOLCK)}), expected a file system with file locks. "
        "Choose another place.\n",
    )
    assert not [path.name for path in task.folder.iterdir() if output.name in path.name]
