"""Runs a command line: one error line on stderr, the promised exit code, progress bars only for people."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import typer

Report = Callable[[str, int, int], None]

INTERRUPTED, TERMINATED = 130, 143
#: Said after a signal, unless the exception carries another ``advice`` on its way out.
_NOTHING_LEFT = "Nothing half-written was left; run the command again."
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
#: Some typers bring a click of their own and some import it: the classes are found by way of one that typer exports.
_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run an app on ``sys.argv`` and exit with the code that the README promises."""
    try:
        code = exit_code(app, name, sys.argv[1:])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except KeyboardInterrupt:  # a second signal, while the first was being answered
        code = INTERRUPTED
    except _TerminatedError:
        code = TERMINATED
    sys.exit(code)


def exit_code(app: typer.Typer, name: str, arguments: list[str]) -> int:
    """Run an app and return its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _show_warning
    command = typer.main.get_command(app)
    try:
        # Not command.main(), which has its own way with interrupts and closed pipes.
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader went away: nothing left to say
        return 0
    except (KeyboardInterrupt, typer.Abort) as error:
        return _complain(f"interrupted. {getattr(error, 'advice', _NOTHING_LEFT)}", debug, INTERRUPTED)
    except _TerminatedError as error:
        return _complain(f"terminated. {getattr(error, 'advice', _NOTHING_LEFT)}", debug, TERMINATED)
    except typer.Exit as error:
        return error.exit_code
    except _ClickError as error:
        context = getattr(error, "ctx", None)
        message = error.format_message()
        message += "" if message.endswith((".", "?")) else "."
        hint = f" See {context.command_path} --help." if isinstance(error, _UsageError) and context else ""
        return _complain(f"{message}{hint}", debug, 2)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            return _complain(f"internal error: {error!r}. Run again with --debug and report it.", debug, 1)
        from crosstune.atomic_output import cannot_write

        return _complain(str(cannot_write(error.filename or "standard output", error)), debug, 7)
    except MemoryError:
        return _complain("memory: not enough. Use a smaller batch or shorter texts.", debug, 7)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if isinstance(code, int):
            return _complain(" ".join([str(error), *filter(None, [getattr(error, "advice", "")])]), debug, code)
        return _complain(f"internal error: {error!r}. Run again with --debug and report it.", debug, 1)


@contextlib.contextmanager
def progress() -> Iterator[Report]:
    """A progress bar a stage on stderr, silent when stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield report


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


class _TerminatedError(BaseException):
    """SIGTERM, turned into an exception so that temporary files are removed."""


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _TerminatedError


def _complain(message: str, debug: bool, code: int) -> int:
    if debug and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr)  # noqa: T201
    return code


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
        print(f"warning: {message}", file=sys.stderr)  # noqa: T201
