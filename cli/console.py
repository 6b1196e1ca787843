"""Terminal output: tables on stdout, progress bars on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from crosstune.core.progress import Progress
    from crosstune_export.bulk.run import BulkProgress


def table_console(width: int) -> Console:
    """Return a console for tables on stdout, as wide as the terminal; brackets in names are not read as markup.

    Args:
        width: Width in characters if stdout is not a terminal.
    """
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False, highlight=False)


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a progress bar per stage on stderr, or nothing if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from crosstune.core.progress import no_progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, int] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield update


def _no_row_progress(rows: int, done: int, total: int) -> None:
    del rows, done, total


@contextlib.contextmanager
def row_progress() -> Iterator[BulkProgress]:
    """Show rows, rate and remaining time on stderr, or nothing if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
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
