"""How long work reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called after each step with the name of the stage, the steps done and their total number.
Progress: TypeAlias = Callable[[str, int, int], None]
#: The same within one stage: the steps done and their total number.
StepProgress: TypeAlias = Callable[[int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """A ``Progress`` that does nothing."""
    del stage, done, total


def stage_progress(progress: Progress, stage: str) -> StepProgress:
    """The progress of one stage.

    Example:
        >>> stage_progress(print, "encode")(3, 10)
        encode 3 10
    """

    def step(done: int, total: int) -> None:
        progress(stage, done, total)

    return step
