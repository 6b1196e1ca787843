"""``--isolate``: the same command in a process with limits of memory and time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crosstune_export.runtime.isolation import ProcessLimits

#: Starts the program as its installed script does, whose place need not be known.
_PROGRAM = "from crosstune_cli.entry import crosstune_export; crosstune_export()"

Isolate = Annotated[
    bool,
    typer.Option(
        "--isolate",
        help="Run the bundle in a process of its own with limits of memory and time, for bundles from people you do not know.",
    ),
]
MaxMemory = Annotated[
    int | None,
    typer.Option("--max-memory-mb", min=256, help="With --isolate: maximum MB of data per process; default: 4096."),
]


def process_limits(isolate: bool, max_memory_mb: int | None, max_seconds: float | None) -> ProcessLimits | None:
    """Return the limits that the options ask for; None if they do not isolate.

    Raises:
        ConfigError: A limit is given without ``--isolate``.
    """
    from crosstune_export import ConfigError
    from crosstune_export.runtime.isolation import ProcessLimits

    given = {"max_memory_mb": max_memory_mb, "max_seconds": max_seconds}
    given = {name: value for name, value in given.items() if value is not None}
    if isolate:
        return ProcessLimits(**given)  # type: ignore[arg-type]
    for name in given:
        raise ConfigError(f"--{name.replace('_', '-')}: found no --isolate, expected it. Add --isolate.")
    return None


def this_command() -> list[str]:
    """The command line of this process, for another one."""
    return [sys.executable, "-c", _PROGRAM, *sys.argv[1:]]
