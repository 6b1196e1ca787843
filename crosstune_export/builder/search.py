"""Tries candidates: each must answer as fp32 does and fit the budgets; the fastest that does is shipped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crosstune.core.errors import GateError
from crosstune.core.progress import StepProgress
from crosstune.core.token_layout import TokenRow
from crosstune_export.builder.parity import allowed_label_changes
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.facts import AnswerDifference
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.session import GraphSession, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Variants this close to the fastest count as equally fast; of these the one with the fewest label changes ships.
AS_FAST = 1.03
#: Texts that are timed (of evenly spread lengths), rounds, and runs per round.
TIMED_TEXTS, ROUNDS, BURST = 5, 15, 4


class OverBudgetError(GateError):
    """No graph keeps within the budgets.

    Attributes:
        trials: The graphs that were tried, with verdicts.
    """

    def __init__(self, message: str, trials: Sequence[Trial]) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


@dataclass(frozen=True)
class Budgets:
    """Limits of the shipped graph; None where there is no limit.

    Attributes:
        max_flips_percent: Percent of texts whose label may differ from fp32.
        max_size_mb: Size of the whole bundle in megabytes of 10^6 bytes.
        max_latency_ms: Median latency per text in milliseconds, one thread, at the lengths of the calibration texts.
    """

    max_flips_percent: float = 2.0
    max_size_mb: float | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True)
class Trial:
    """A variant and its measurements.

    Attributes:
        variant: How it was built.
        facts: For the manifest.
        model: The graph's bytes.
        passes: How often each rewrite fired.
        size_bytes: Of the bundle it would make.
        on_texts: Compared with fp32 on the calibration texts; None for fp32 itself.
        on_truncated: Compared with fp32 on truncated copies of them.
        latency_ms: Median; None where it was not timed.
        verdict: ``shipped``, or why not; empty while undecided.
    """

    variant: Variant
    facts: GraphFacts
    model: bytes
    passes: Mapping[str, int]
    size_bytes: int
    on_texts: AnswerDifference | None = None
    on_truncated: AnswerDifference | None = None
    latency_ms: float | None = None
    verdict: str = ""

    @property
    def label_changes(self) -> int:
        """Labels that differ from fp32, on texts and truncated texts together."""
        return sum(report.label_changes for report in (self.on_texts, self.on_truncated) if report is not None)

    @property
    def texts(self) -> int:
        """How many texts and truncated texts it was judged on."""
        return sum(report.texts for report in (self.on_texts, self.on_truncated) if report is not None)

    @property
    def label_change_percent(self) -> float:
        """Percent of labels that differ from fp32."""
        return 100 * self.label_changes / max(1, self.texts)

    def open(self, threads: int = 1) -> GraphSession:
        """A session of its graph."""
        return open_session(self.model, self.facts, f"the graph {self.variant.name!r}", threads=threads)


def choose(
    trials: Sequence[Trial],
    budgets: Budgets,
    rows: Sequence[TokenRow],
    tokenizer: TextTokenizer,
    progress: StepProgress,
) -> list[Trial]:
    """Judge, time and rank trials.

    Args:
        trials: In order of preference: of equally fast ones with equal label changes the first is taken.
        budgets: The limits.
        rows: Texts whose lengths are timed.
        tokenizer: Makes batches of them.
        progress: Called with the rounds of timing done and their number.

    Returns:
        All trials with verdicts; exactly one is ``shipped``.

    Raises:
        OverBudgetError: None keeps within the budgets; the message names the nearest.
    """
    judged = [replace(trial, verdict=over_budget(trial, budgets)) for trial in trials]
    fit = [trial for trial in judged if not trial.verdict]
    if len(trials) > 1 or budgets.max_latency_ms is not None:
        timed = iter(time_interleaved(fit or judged, rows, tokenizer, progress))
        judged = [replace(trial, latency_ms=next(timed)) if not trial.verdict or not fit else trial for trial in judged]
        judged = [replace(trial, verdict=trial.verdict or over_budget(trial, budgets)) for trial in judged]
        fit = [trial for trial in judged if not trial.verdict]
    if not fit:
        raise OverBudgetError(nearest_to(judged, budgets), judged)
    fastest = min(trial.latency_ms or 0.0 for trial in fit)
    best = min(
        (trial for trial in fit if (trial.latency_ms or 0.0) <= fastest * AS_FAST),
        key=lambda trial: trial.label_changes,
    )
    return [
        replace(trial, verdict=trial.verdict or ("shipped" if trial is best else _lost(trial, best)))
        for trial in judged
    ]


def over_budget(trial: Trial, budgets: Budgets) -> str:
    """The budget that a trial misses, in words; empty where it misses none that is measured."""
    if trial.label_changes > allowed_label_changes(trial.texts, budgets.max_flips_percent):
        return f"{trial.label_changes} of {trial.texts} labels differ from fp32, at most {budgets.max_flips_percent:g}% allowed"
    size = trial.size_bytes / 1e6
    if budgets.max_size_mb is not None and size > budgets.max_size_mb:
        return f"{-(-trial.size_bytes // 1000) / 1000:g} MB, at most {budgets.max_size_mb:g} MB allowed"
    latency = trial.latency_ms or 0.0
    if budgets.max_latency_ms is not None and latency > budgets.max_latency_ms:
        return f"{latency:.2f} ms, at most {budgets.max_latency_ms:g} ms allowed"
    return ""


def time_interleaved(
    trials: Sequence[Trial], rows: Sequence[TokenRow], tokenizer: TextTokenizer, progress: StepProgress
) -> list[float]:
    """Median milliseconds per text of each trial, timed in interleaved bursts so that noise hits all alike."""
    by_length = sorted(rows, key=lambda row: len(row.ids))
    picked = [by_length[int((index + 0.5) * len(by_length) / TIMED_TEXTS)] for index in range(TIMED_TEXTS)]
    feeds = [tokenizer.batch([row]).feeds() for row in picked]
    sessions = [trial.open() for trial in trials]
    times: list[list[list[float]]] = [[[] for _ in feeds] for _ in trials]
    for turn in range(ROUNDS):
        progress(turn, ROUNDS)
        for session, sink in zip(sessions, times, strict=True):
            for feed, into in zip(feeds, sink, strict=True):
                session.run(feed)
                for _ in range(BURST):
                    started = time.perf_counter()
                    session.run(feed)
                    into.append(time.perf_counter() - started)
    return [1e3 * float(np.mean([np.median(into) for into in sink])) for sink in times]


def _lost(trial: Trial, best: Trial) -> str:
    if trial.latency_ms is None or best.latency_ms is None:
        return "not timed"
    slower = trial.latency_ms / best.latency_ms
    if slower > AS_FAST:
        return f"{slower:.2f} times as slow as {best.variant.name}"
    return f"as fast as {best.variant.name}, which has {best.label_changes} label changes (this one: {trial.label_changes})"


def nearest_to(trials: Sequence[Trial], budgets: Budgets) -> str:
    """A message that names the trial that came nearest to the budgets."""

    def excess(trial: Trial) -> float:
        over = [trial.label_change_percent / max(budgets.max_flips_percent, 1e-9) if trial.label_changes else 0.0]
        if budgets.max_size_mb is not None:
            over.append(trial.size_bytes / 1e6 / budgets.max_size_mb)
        if budgets.max_latency_ms is not None and trial.latency_ms is not None:
            over.append(trial.latency_ms / budgets.max_latency_ms)
        return max(over)

    nearest = min(trials, key=excess)
    speed = "" if nearest.latency_ms is None else f", {nearest.latency_ms:.2f} ms per text"
    return (
        f"budget: no graph of {len(trials)} tried keeps within it; nearest is {nearest.variant.name!r} with "
        f"{nearest.size_bytes / 1e6:.1f} MB{speed} and {nearest.label_changes} of {nearest.texts} labels that differ from fp32 "
        f"({nearest.verdict}). Raise --max-flips, --max-size-mb or --max-latency-ms, or build with --precision fp32."
    )
