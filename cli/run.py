"""Runs a command line: one error line on stderr, the promised exit code, progress bars only for people."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, int, int], None]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"crosstune-export {metadata.version('crosstune-export')}")
        raise typer.Exit


#: Of both programs: they are one package.
Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
]

#: Signals that end a command: exit code, and what is said.
STOPS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated"), signal.SIGHUP: (129, "hung up")}
#: Said after a signal, unless the exception carries another ``advice`` on its way out.
_NOTHING_LEFT = "Nothing half-written was left; run the command again."
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
#: Some typers bring a click of their own and some import it: the classes are found by way of one that typer exports.
_UsageError, _ClickError = typer.BadParameter.__mro__[1:3]


def run(app: typer.Typer, name: str) -> NoReturn:
    """Run an app on ``sys.argv`` and exit with the code that the README promises."""
    _open_streams()
    debug = "--debug" in sys.argv
    stop = _Stop(debug)
    sys.unraisablehook = stop.come_again
    if not debug:
        logging.lastResort = logging.NullHandler()  # what libraries log without being asked to
    try:
        code = exit_code(app, name, sys.argv[1:], stop)
        stop.deafen()
    except KeyboardInterrupt:  # a second signal, while the first was being answered
        stop.deafen()
        code = stop.code
    sys.exit(code)


def _open_streams() -> None:
    """Have both streams write UTF-8 whatever the locale says; one that is closed takes what is written and drops it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for as long as the program runs
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def exit_code(app: typer.Typer, name: str, arguments: list[str], stop: _Stop | None = None) -> int:
    """Run an app and return its exit code."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    stop = stop or _Stop(debug)
    stop.listen()
    warnings.showwarning = _show_warning
    command = typer.main.get_command(app)
    try:
        # Not command.main(), which has its own way with interrupts and closed pipes.
        with command.make_context(name, arguments) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except SystemExit:
        raise
    except BaseException as error:
        if _is_interrupt(error):
            return _complain(f"{stop.word}. {getattr(error, 'advice', _NOTHING_LEFT)}", debug, stop.code)
        return _code_of(error, debug)


def _code_of(error: BaseException, debug: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(error, BrokenPipeError):
        _silence(sys.stdout)  # the reader went away: nothing left to say
        return 0
    if isinstance(error, typer.Exit):
        return error.exit_code
    if isinstance(error, _ClickError):
        context = getattr(error, "ctx", None)
        message: str = error.format_message()  # type: ignore[attr-defined]
        message += "" if message.endswith((".", "?")) else "."
        hint = f" See {context.command_path} --help." if isinstance(error, _UsageError) and context else ""
        return _complain(f"{message}{hint}", debug, 2)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        from crosstune.core.outputs import cannot_write

        return _complain(str(cannot_write(error.filename or "standard output", error)), debug, 7)
    if isinstance(error, FileNotFoundError) and not _has_working_folder():
        return _complain("working folder: was removed, expected one that is there. Change into another.", debug, 2)
    if isinstance(error, MemoryError):
        return _complain("memory: not enough. Use a smaller batch or shorter texts.", debug, 7)
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return _complain(" ".join([str(error), *filter(None, [getattr(error, "advice", "")])]), debug, code)
    return _complain(f"internal error: {error!r}. Run again with --debug and report it.", debug, 1)


def _has_working_folder() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False


def a_number(value: float) -> float:
    """For options: no range keeps out what compares with nothing."""
    if math.isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


def table_console(width: int) -> Console:
    """Where tables go: as wide as the terminal, or so many characters where there is none; names in them are just names."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False, highlight=False)


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


class _Stop:
    """What ends a command: SIGTERM and SIGHUP do what an interrupt does, which asyncio and other libraries know how to end by."""

    def __init__(self, debug: bool) -> None:
        self._number, self._debug = signal.SIGINT, debug

    @property
    def code(self) -> int:
        """Exit code of the last signal."""
        return STOPS[self._number][0]

    @property
    def word(self) -> str:
        """What the last signal did."""
        return STOPS[self._number][1]

    def listen(self) -> None:
        """Take the signals, but not a hangup that ``nohup`` has turned off."""
        signal.signal(signal.SIGTERM, self._take)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._take)

    def deafen(self) -> None:
        """Take no further signal: the exit code stands."""
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)

    def come_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """What Python can raise nowhere, as in a ``__del__``, it would print and forget; a signal comes again a moment later.

        All else, such as what a library's half-made objects raise behind an interrupt, is printed with ``--debug``.
        """
        if _is_interrupt(unraisable.exc_value):
            threading.Thread(target=self._again, daemon=True).start()
        elif self._debug:
            sys.__unraisablehook__(unraisable)

    def _again(self) -> None:
        main = threading.main_thread().ident or 0
        while any(frame.f_code is _Stop.come_again.__code__ for frame in _frames(main)):
            time.sleep(0.01)  # inside that hook it would be forgotten once more
        signal.pthread_kill(main, self._number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._number = signal.Signals(number)
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:  # ignored, as for what a script starts in the background
            raise KeyboardInterrupt


def _frames(thread: int) -> Iterator[FrameType]:
    """Where a thread is, the innermost first."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an interrupt is behind an error: libraries make other errors of it, or meet further ones while they end."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt | typer.Abort) or any(
            map(_is_interrupt, getattr(error, "exceptions", ()))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _complain(message: str, debug: bool, code: int) -> int:
    try:
        if debug and sys.exc_info()[0] is not None:
            traceback.print_exc()
        print(f"error: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:  # there is no room even for this line, or nobody reads it: the code still tells
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
        print(f"warning: {message}", file=sys.stderr)  # noqa: T201
