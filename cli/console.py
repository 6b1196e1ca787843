"""Terminal output: tables on stdout, progress bars on stderr."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from crosstune.core.texts import CONTROL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from crosstune.core.progress import Progress
    from crosstune_export.bulk.run import BulkProgress


_verbosity = 0


def set_verbosity(level: int) -> None:
    """Choose how much goes to stderr: -1 for errors only, 0 for progress and notes, 1 also for the time of each stage."""
    global _verbosity  # noqa: PLW0603 - one command line a process
    _verbosity = level


def visible(text: str) -> str:
    r"""Return the text with control characters as escapes such as ``\x1b``, so that a terminal does not act on them."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r", "\\r"))


def show(text: str) -> None:
    """Print a line for people on stdout; control characters, such as those in a label, are made visible."""
    typer.echo(visible(text))


def note(text: str) -> None:
    """Print a line on stderr, unless ``--quiet`` was given; control characters are made visible."""
    if _verbosity >= 0:
        typer.echo(visible(text), err=True)


def next_command(*words: object) -> None:
    """Suggest the command to type next, on a terminal only."""
    if sys.stderr is not None and sys.stderr.isatty():
        note(f"next: {shlex.join(map(str, words))}")


def print_json(value: object) -> None:
    """Print one JSON object on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def stdout_is_terminal() -> bool:
    """Whether results appear on a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def stdin_is_terminal() -> bool:
    """Whether somebody can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def table_console(width: int) -> Console:
    """Return a console for tables on stdout, as wide as the terminal; brackets in names are not read as markup.

    Args:
        width: Width in characters if stdout is not a terminal.
    """
    from rich.console import Console

    return Console(width=None if stdout_is_terminal() else width, markup=False, emoji=False, highlight=False)


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a progress bar per stage on stderr, or nothing if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from crosstune.core.progress import no_progress

    console = Console(stderr=True)
    started: dict[str, float] = {}

    def tell(stage: str, done: int, total: int) -> None:
        began = started.setdefault(stage, time.monotonic())
        if done >= total and _verbosity > 0:
            note(f"{stage}: {time.monotonic() - began:.1f} s")

    if not console.is_terminal or _verbosity < 0:
        yield tell if _verbosity > 0 else no_progress
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None)
            bars.update(tasks[stage], completed=done, total=total if done else None)  # a bar at 0 moves to and fro
            tell(stage, done, total)

        yield update


def _no_row_progress(rows: int, done: int, total: int) -> None:
    del rows, done, total


@contextlib.contextmanager
def row_progress(*, results_on_stdout: bool = False) -> Iterator[BulkProgress]:
    """Show rows, rate and remaining time on stderr, or nothing if stderr is not a terminal.

    Args:
        results_on_stdout: Show nothing either if stdout is a terminal, because the results appear there.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal or _verbosity < 0 or (results_on_stdout and stdout_is_terminal()):
        yield _no_row_progress
        return
    columns = (
        TextColumn("classify"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TextColumn("{task.fields[rate]:.0f} rows/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    resumed_at: int | None = None
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, rows=0, rate=0.0)

        def update(rows: int, done: int, total: int) -> None:
            nonlocal resumed_at
            if resumed_at is None:
                resumed_at = rows  # rows of an interrupted run do not count towards the rate
            rate = (rows - resumed_at) / (time.monotonic() - started)
            bars.update(task, completed=done, total=total or None, rows=rows, rate=rate)

        yield update
