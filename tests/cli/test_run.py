"""Exit codes, the one error line, --debug, warnings, signals and closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import typer
from crosstune_cli import run

from crosstune import CrossTuneWarning
from crosstune.core import errors
from tests.cli.conftest import Outcome, files_in, own_signals


@pytest.fixture
def run_raising(capsys):
    """Runs an app with one command, which raises the given error or calls the given function."""

    def call(action, *arguments: str) -> Outcome:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

        @app.callback()
        def _root() -> None: ...

        @app.command()
        def go() -> None:
            if isinstance(action, BaseException):
                raise action
            action()

        with own_signals(), warnings.catch_warnings():
            warnings.simplefilter("always")
            code = run.exit_code(app, "app", ["go", *arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("what"), 2),
        (errors.MissingExtraError("what"), 2),
        (errors.OutputExistsError("what"), 2),
        (errors.DataError("what"), 3),
        (errors.GenerationError("what"), 4),
        (errors.AnswerCacheError("what"), 5),
        (errors.BackboneError("what"), 5),
        (errors.CheckpointError("what"), 5),
        (errors.TrainingError("what"), 6),
        (errors.RefusedLabelError("what"), 6),
        (errors.ResourceError("what"), 7),
        (errors.ConfigError("what"), 2),
        (errors.MissingExtraError("what"), 2),
        (errors.OutputExistsError("what"), 2),
        (errors.ProviderError("what"), 2),
        (errors.DataError("what"), 3),
        (errors.BundleIntegrityError("what"), 5),
        (errors.BundleVersionError("what"), 5),
        (errors.BundleContentError("what"), 5),
        (errors.SignatureError("what"), 5),
        (errors.SelfTestError("what"), 6),
        (errors.GateError("what"), 6),
        (errors.ResourceError("what"), 7),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_has_its_exit_code_and_one_line(run_raising, error, code):
    assert run_raising(error) == Outcome(code, "", "error: what\n")


def test_every_error_class_is_in_the_table_above():
    listed = {
        type(mark.args[1][i][0])
        for mark in test_every_error_has_its_exit_code_and_one_line.pytestmark
        for i in range(len(mark.args[1]))
    }
    for module, root in ((errors, errors.CrossTuneError),):
        concrete = {value for value in vars(module).values() if isinstance(value, type) and issubclass(value, root)} - {
            root,
            errors.BundleError,
        }
        assert concrete <= listed


def test_a_bug_is_exit_code_1(run_raising):
    assert run_raising(ValueError("boom\nbang")) == Outcome(
        1, "", "error: internal error: ValueError('boom\\nbang'). Run again with --debug and report it.\n"
    )


def test_an_error_of_two_lines_is_printed_as_one(run_raising):
    assert run_raising(errors.DataError("one\ntwo")).err == "error: one two\n"


@pytest.mark.fault("I7")
def test_memory(run_raising):
    assert run_raising(MemoryError()) == Outcome(
        7, "", "error: memory: not enough. Use a smaller batch or shorter texts.\n"
    )


def test_debug_shows_the_traceback_and_then_the_line(run_raising):
    result = run_raising(errors.DataError("what"), "--debug")
    assert (result.code, result.out) == (3, "")
    lines = result.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["crosstune.core.errors.DataError: what", "error: what"]


@pytest.mark.parametrize("place", [0, 1, 4])
def test_debug_is_taken_anywhere(run_app, task, tiny_checkpoint_dir, place):
    arguments = ["evaluate", tiny_checkpoint_dir, "--data", task.folder / "none.jsonl"]
    arguments.insert(place, "--debug")
    result = run_app("crosstune", *arguments)
    assert result.code == 3
    assert result.err.startswith("Traceback (most recent call last):\n")
    assert result.err.splitlines()[-1] == (
        f"error: {task.folder / 'none.jsonl'}: cannot be read (No such file or directory), expected a file. Check the path."
    )


def test_warnings_of_ours_are_shown_and_those_of_libraries_are_not(run_raising):
    def warn() -> None:
        warnings.warn("mind the gap", CrossTuneWarning, stacklevel=1)
        warnings.warn("old style", FutureWarning, stacklevel=1)
        typer.echo("done")

    assert run_raising(warn) == Outcome(0, "done\n", "warning: mind the gap\n")


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "interrupted. No partial files were left; run the command again."),
        (signal.SIGTERM, 143, "terminated. No partial files were left; run the command again."),
        (signal.SIGHUP, 129, "hung up. No partial files were left; run the command again."),
    ],
)
def test_signals(run_raising, number, code, message):
    assert run_raising(lambda: signal.raise_signal(number)) == Outcome(code, "", f"error: {message}\n")


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize("program", ["crosstune", "crosstune-export"])
def test_an_interrupt_while_the_program_is_imported(tmp_path, program):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n", "utf-8")
    command = [Path(sys.executable).with_name(program), "--version"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    message = "error: interrupted. No partial files were left; run the command again.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", message)


class PanicException(BaseException):
    """As native libraries in Rust raise it: no Exception."""


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("error", [RuntimeError, ImportError, errors.DataError, PanicException])
def test_a_signal_that_a_library_makes_another_error_of(run_raising, number, code, word, error):
    def work() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error("the call failed") from None

    assert run_raising(work) == Outcome(
        code, "", f"error: {word}. No partial files were left; run the command again.\n"
    )


def test_a_panic_without_a_signal_is_a_bug(run_raising):
    assert run_raising(PanicException("boom")) == Outcome(
        1, "", "error: internal error: PanicException('boom'). Run again with --debug and report it.\n"
    )


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("busy_s", [0.0, 0.3], ids=["idle", "busy"])
def test_a_signal_that_meets_a_finaliser(number, code, word, busy_s):
    """Python only prints exceptions in a ``__del__``. The delay simulates a busy machine, where threads start late."""
    program = f"""
import signal, threading, time, typer
from crosstune_cli.run import run

start = threading.Thread.start
threading.Thread.start = lambda thread: (start(thread), time.sleep({busy_s}))

class Gone:
    def __del__(self):
        signal.raise_signal({int(number)})

app = typer.Typer()

@app.command()
def work():
    Gone()
    time.sleep(60)

run(app, "app")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    end = "No partial files were left; run the command again."
    assert (result.returncode, result.stdout, result.stderr) == (code, "", f"error: {word}. {end}\n")


def test_what_a_finaliser_raises_is_for_debug():
    """Simulates a partly constructed object of a library after an interrupt."""
    program = """
import typer
from crosstune_cli.run import run

class Gone:
    def __del__(self):
        raise AttributeError("half made")

app = typer.Typer()

@app.command()
def work():
    Gone()

run(app, "app")
"""
    quiet, loud = (
        subprocess.run([sys.executable, "-c", program, *more], capture_output=True, text=True, check=False)
        for more in ((), ("--debug",))
    )
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert loud.returncode == 0 and "AttributeError: half made" in loud.stderr


@pytest.mark.fault("E3")
def test_sigterm_reaches_a_command_that_was_started_without_sigint(run_raising):
    """``crosstune ... &`` in a script."""

    def work() -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.signal(signal.SIGINT, before)

    assert run_raising(work).code == 143


def test_nohup_is_obeyed():
    app = typer.Typer()
    app.command()(lambda: signal.raise_signal(signal.SIGHUP))
    with own_signals():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert run.exit_code(app, "app", []) == 0


@pytest.mark.parametrize("name", ["crosstune", "crosstune-export"])
def test_help_is_a_result(run_app, name):
    result = run_app(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.split()[:5] == ["Usage:", name, "[OPTIONS]", "COMMAND", "[ARGS]..."]


def test_installed_scripts(scripts, task, tiny_fp32_bundle_dir):
    assert scripts.run("crosstune", "nope") == Outcome(2, "", "error: No such command 'nope'. See crosstune --help.\n")
    help_page = scripts.run("crosstune-export", "classify", "--help")
    assert (help_page.code, help_page.err) == (0, "")
    (task.folder / "t.txt").write_text("where is it\n", "utf-8")
    bundle = tiny_fp32_bundle_dir
    result = scripts.run("crosstune-export", "classify", bundle.name, task.folder / "t.txt", cwd=bundle.parent)
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out)["text"] == "where is it"


@pytest.mark.fault("E5")
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_no_room_for_what_is_said(scripts, tiny_fp32_bundle_dir):
    """Where the disk that a log goes to is full, the exit code is the right one still."""
    with Path("/dev/full").open("wb") as full:
        for arguments, streams, code in [
            (("inspect", "nope"), {"stderr": full}, 5),
            (("inspect", tiny_fp32_bundle_dir), {"stdout": full}, 7),
            (("inspect", tiny_fp32_bundle_dir), {"stdout": full, "stderr": full}, 7),
        ]:
            command = scripts.command("crosstune-export", *arguments)
            assert (
                subprocess.run(command, env=scripts.environment, check=False, timeout=300, **streams).returncode == code
            )


@pytest.mark.fault("E11")
def test_a_reader_that_goes_away(scripts, task, tiny_fp32_bundle_dir):
    """``crosstune-export classify ... | head -1``."""
    (task.folder / "t.txt").write_text("where is it\n" * 5000, "utf-8")
    process = subprocess.Popen(
        scripts.command("crosstune-export", "classify", tiny_fp32_bundle_dir, task.folder / "t.txt"),
        env=scripts.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        first = process.stdout.readline()
        process.stdout.close()
        errors_seen = process.stderr.read()
        code = process.wait(60)
    assert json.loads(first)["text"] == "where is it"
    assert (code, errors_seen) == (0, b"")


@pytest.mark.fault("E1", "E3")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_train_stopped_in_the_middle(scripts, task, tiny_backbone_dir, number, code, word):
    (task.folder / "c.toml").write_text('head = "paper"\nepochs = 100000\n', "utf-8")
    cache = task.folder / "cache"
    process = subprocess.Popen(
        scripts.command(
            "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
            "--config", task.folder / "c.toml", "--backbone", tiny_backbone_dir,
        ),
        env=scripts.environment | {"CROSSTUNE_CACHE": str(cache)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        deadline = time.monotonic() + 60
        while not (cache / "features.sqlite").is_file() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        assert process.poll() is None, "the run was to be in the middle of its epochs"
        process.send_signal(number)
        sent = time.monotonic()
        out, err = process.communicate(timeout=300)
        assert time.monotonic() - sent < 10
    assert (process.returncode, out) == (code, b"")
    assert err.decode() == f"error: {word}. No partial files were left; run the command again.\n"
    assert files_in(task.out) == []


@pytest.mark.parametrize("program", ["crosstune", "crosstune-export"])
def test_the_version(run_app, program):
    from crosstune import __version__

    assert run_app(program, "--version") == Outcome(0, f"crosstune-export {__version__}\n", "")
