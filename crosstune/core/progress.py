"""Types of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called after each step with the name of the stage, the steps done and their total number.
Progress: TypeAlias = Callable[[str, int, int], None]
#: Called after each step of one stage with the steps done and their total number.
StepProgress: TypeAlias = Callable[[int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Ignore the progress; a ``Progress`` callback."""
    del stage, done, total


def stage_progress(progress: Progress, stage: str) -> StepProgress:
    """Return a callback for one stage.

    Examples:
        >>> stage_progress(print, "encode")(3, 10)
        encode 3 10
    """

    def step(done: int, total: int) -> None:
        progress(stage, done, total)

    return step
