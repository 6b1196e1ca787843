"""Chooses the graph to ship: with all layers, or with fewer if no graph with all layers keeps within the budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from crosstune.core.progress import Progress, no_progress
from crosstune.core.training_facts import TaughtFacts
from crosstune_export.builder.search import Budgets, OverBudgetError, Trial, nearest_to

#: Largest loss of held-out accuracy (0.03 is three points) for which fewer layers are tried; chosen by hand.
MAX_ACCURACY_LOSS = 0.03

_Source = TypeVar("_Source")


@dataclass(frozen=True)
class Depth:
    """A head on some of the backbone's layers.

    Attributes:
        layers: Layers that it uses.
        accuracy: Its accuracy on held-out folds, from 0 to 1; None if not measured.
        taught: How it differs from the head on all layers, if this one taught it.
    """

    layers: int
    accuracy: float | None
    taught: TaughtFacts | None = None


@dataclass(frozen=True)
class Choice(Generic[_Source]):
    """The graph to ship.

    Attributes:
        source: Source of the shipped graph.
        trials: All graphs that were tried, with verdicts; exactly one is ``shipped``.
    """

    source: _Source
    trials: tuple[Trial, ...]

    @property
    def shipped(self) -> Trial:
        """The graph to ship."""
        return next(trial for trial in self.trials if trial.verdict == "shipped")


@dataclass(frozen=True)
class DepthOption(Generic[_Source]):
    """A depth, and how to try graphs with it.

    Attributes:
        depth: The depth.
        open: Creates the source of the graphs; called only if the depth is tried.
        trials: Builds and measures graphs from the source.
    """

    depth: Depth
    open: Callable[[], _Source]
    trials: Callable[[_Source], Sequence[Trial]]


def choose_depth(
    full: DepthOption[_Source],
    shallower: Iterable[DepthOption[_Source]],
    budgets: Budgets,
    rank: Callable[[Sequence[Trial]], list[Trial]],
    progress: Progress = no_progress,
) -> Choice[_Source]:
    """Choose a graph with all layers, or otherwise with as many layers as the budgets allow.

    A depth that was taught is judged by its label changes, another one by its held-out accuracy.

    Args:
        full: The head on all layers.
        shallower: Heads on fewer layers, deepest first; read only if the full head exceeds a size or latency budget.
        budgets: Limits of the shipped graph.
        rank: Times and ranks trials; raises ``OverBudgetError`` if none keeps within the budgets.
        progress: Called for each depth that is tried.

    Raises:
        OverBudgetError: No graph keeps within the budgets; the message names the nearest one.
    """
    source = full.open()
    try:
        return Choice(source, tuple(rank(full.trials(source))))
    except OverBudgetError as error:
        if budgets.max_size_mb is None and budgets.max_latency_ms is None:
            raise
        tried, cause = list(error.trials), error
    best, layers = full.depth.accuracy or 0.0, full.depth.layers
    note = ""
    for option in shallower:
        depth = option.depth
        reached = depth.accuracy or 0.0
        if depth.taught is None and reached < best - MAX_ACCURACY_LOSS:
            note = (
                f" With {depth.layers} of {layers} layers held-out accuracy falls from {100 * best:.1f}% to "
                f"{100 * reached:.1f}%; at most {100 * MAX_ACCURACY_LOSS:g} points are allowed."
            )
            continue
        name = f"{depth.layers} of {layers} layers"
        progress(f"try {name}", layers - depth.layers, layers)
        source = option.open()
        trials = [
            replace(trial, variant=replace(trial.variant, name=f"{trial.variant.name}, {name}"), taught=depth.taught)
            for trial in option.trials(source)
        ]
        try:
            return Choice(source, (*tried, *rank(trials)))
        except OverBudgetError as error:
            tried += error.trials
    raise OverBudgetError(nearest_to(tried, budgets) + note, tried) from cause
