"""Runs a command line: errors become one line on stderr and a documented exit code."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO

import typer
from crosstune_cli.console import note, set_verbosity, visible
from crosstune_cli.signals import Interrupts, is_interrupt

#: Printed after a signal, unless the exception carries another ``advice``.
_NOTHING_LEFT = "No partial files were left; run the command again."
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
#: Some versions of typer vendor click and some import it; the base classes of an exported one are right for both.
_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run an app on ``sys.argv`` and exit with a code that the README documents."""
    _open_streams()
    debug = "--debug" in sys.argv
    interrupts = Interrupts(debug)
    sys.unraisablehook = interrupts.unraisable
    if not debug:
        logging.lastResort = logging.NullHandler()  # libraries log warnings that no user can act on
    try:
        code = exit_code(app, name, sys.argv[1:], interrupts)
        interrupts.ignore()
    except KeyboardInterrupt:  # a second signal while the first was being handled
        interrupts.ignore()
        code = interrupts.exit_code
    sys.exit(code)


def _open_streams() -> None:
    """Make both streams write UTF-8 in every locale, and replace a closed stream by the null device."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open until the program ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def exit_code(app: typer.Typer, name: str, arguments: list[str], interrupts: Interrupts | None = None) -> int:
    """Run an app and return its exit code.

    Args:
        app: The commands.
        name: Name of the program in messages.
        arguments: Command line without the name of the program.
        interrupts: Signal handlers; None for new ones.

    Raises:
        SystemExit: A callback ended the program.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    set_verbosity(0)
    interrupts = interrupts or Interrupts(debug)
    interrupts.listen()
    warnings.showwarning = _show_warning
    command = typer.main.get_command(app)
    try:
        complete: Callable[..., None] = command._main_shell_completion  # type: ignore[attr-defined]
        complete({}, name)  # ends the program if a shell asks for completions
        # command.main() would handle interrupts and closed pipes itself, with other messages and exit codes.
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except SystemExit:
        raise
    except BaseException as error:
        if is_interrupt(error):
            advice = getattr(error, "advice", _NOTHING_LEFT)
            return _complain(f"{interrupts.word}. {advice}", debug, interrupts.exit_code)
        return _code_of(error, debug)


def _code_of(error: BaseException, debug: bool) -> int:
    """Print the error and return its exit code."""
    if isinstance(error, BrokenPipeError):
        _silence(sys.stdout)  # the reader is gone
        return 0
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, _ClickError):
        context = getattr(error, "ctx", None)
        message: str = error.format_message()  # type: ignore[attr-defined]
        message += "" if message.endswith((".", "?")) else "."
        hint = f" See {context.command_path} --help." if isinstance(error, _UsageError) and context else ""
        return _complain(f"{message}{hint}", debug, 2)
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        from crosstune.core.outputs import cannot_write

        return _complain(str(cannot_write(error.filename or "standard output", error)), debug, 7)
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return _complain(
            "working directory: was removed, expected an existing one. Change to another directory.", debug, 2
        )
    if isinstance(error, MemoryError):
        return _complain("memory: not enough. Use a smaller batch or shorter texts.", debug, 7)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return _complain(" ".join([str(error), *filter(None, [getattr(error, "advice", "")])]), debug, code)
    return _complain(f"internal error: {error!r}. Run again with --debug and report it.", debug, 1)


def _has_working_directory() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def _complain(message: str, debug: bool, code: int) -> int:
    try:
        if debug and sys.exc_info()[0] is not None:
            traceback.print_exc()
        print(f"error: {visible(' '.join(message.splitlines()))}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:  # a full disk or a closed pipe: the exit code still reports the error
        _silence(sys.stderr)
    return code


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    del filename, lineno, file, line
    if category.__name__ == "CrossTuneWarning":
        note(f"warning: {message}")
