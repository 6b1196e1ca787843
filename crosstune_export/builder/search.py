"""Tries candidates: each must answer as fp32 does and fit the budgets; the fastest that does is shipped."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crosstune.core.errors import GateError
from crosstune.core.token_layout import TokenRow
from crosstune_export.builder.parity import ParityReport, allowed_label_changes
from crosstune_export.builder.variants import Candidate
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.session import GraphSession, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Candidates this close to the fastest count as equally fast: then the one with fewer flips is taken.
AS_FAST = 1.03
#: Texts whose lengths stand for all, and how often each is timed.
TIMED_TEXTS, ROUNDS, BURST = 5, 15, 4


class OverBudgetError(GateError):
    """No graph keeps to the budgets.

    Attributes:
        trials: What was tried, with verdicts.
    """

    def __init__(self, message: str, trials: Sequence[Trial]) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


@dataclass(frozen=True)
class Budgets:
    """What the shipped graph must keep to; None where there is no limit.

    Attributes:
        max_flips_percent: Share of the texts, in percent, whose label may differ from fp32.
        max_size_mb: Size of the whole bundle in megabytes of a million bytes.
        max_latency_ms: Median milliseconds a text, one thread, at the lengths of the calibration texts.
    """

    max_flips_percent: float = 2.0
    max_size_mb: float | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True)
class Trial:
    """A candidate and how it did.

    Attributes:
        candidate: What was tried.
        facts: For the manifest.
        model: The graph's bytes.
        passes: How often each rewrite fired.
        size_bytes: Of the bundle it would make.
        on_texts: Against fp32 on the calibration texts; None for fp32 itself.
        on_halves: Against fp32 on halves of them.
        latency_ms: Median; None where it was not timed.
        verdict: ``shipped``, or why not; empty while undecided.
    """

    candidate: Candidate
    facts: GraphFacts
    model: bytes
    passes: Mapping[str, int]
    size_bytes: int
    on_texts: ParityReport | None = None
    on_halves: ParityReport | None = None
    latency_ms: float | None = None
    verdict: str = ""

    @property
    def flips(self) -> int:
        """Labels that differ from fp32, on texts and halves together."""
        return sum(report.flips for report in (self.on_texts, self.on_halves) if report is not None)

    @property
    def texts(self) -> int:
        """How many texts and halves it was judged on."""
        return sum(report.texts for report in (self.on_texts, self.on_halves) if report is not None)

    @property
    def flip_percent(self) -> float:
        """Share of differing labels, in percent."""
        return 100 * self.flips / max(1, self.texts)

    def open(self, threads: int = 1) -> GraphSession:
        """A session of its graph."""
        return open_session(self.model, self.facts, f"the graph {self.candidate.name!r}", threads=threads)


def choose(
    trials: Sequence[Trial],
    budgets: Budgets,
    rows: Sequence[TokenRow],
    tokenizer: TextTokenizer,
    report: Callable[[int, int], None],
) -> list[Trial]:
    """Judge, time and rank trials.

    Args:
        trials: In the order of trust: of equally fast ones with equal flips the first is taken.
        budgets: What to keep to.
        rows: Texts whose lengths are timed.
        tokenizer: Makes batches of them.
        report: Hears rounds of timing done and their number.

    Returns:
        All trials with verdicts; exactly one is ``shipped``.

    Raises:
        OverBudgetError: None keeps to the budgets; the message names the nearest.
    """
    judged = [replace(trial, verdict=over_budget(trial, budgets)) for trial in trials]
    fit = [trial for trial in judged if not trial.verdict]
    if len(trials) > 1 or budgets.max_latency_ms is not None:
        timed = iter(time_interleaved(fit or judged, rows, tokenizer, report))
        judged = [replace(trial, latency_ms=next(timed)) if not trial.verdict or not fit else trial for trial in judged]
        judged = [replace(trial, verdict=trial.verdict or over_budget(trial, budgets)) for trial in judged]
        fit = [trial for trial in judged if not trial.verdict]
    if not fit:
        raise OverBudgetError(nearest_to(judged, budgets), judged)
    fastest = min(trial.latency_ms or 0.0 for trial in fit)
    best = min(
        (trial for trial in fit if (trial.latency_ms or 0.0) <= fastest * AS_FAST), key=lambda trial: trial.flips
    )
    return [
        replace(trial, verdict=trial.verdict or ("shipped" if trial is best else _lost(trial, best)))
        for trial in judged
    ]


def over_budget(trial: Trial, budgets: Budgets) -> str:
    """What of the budgets a trial does not keep to, as a sentence; empty where it keeps to all that is known."""
    if trial.flips > allowed_label_changes(trial.texts, budgets.max_flips_percent):
        return f"{trial.flips} of {trial.texts} labels differ from fp32, at most {budgets.max_flips_percent:g} % may"
    size = trial.size_bytes / 1e6
    if budgets.max_size_mb is not None and size > budgets.max_size_mb:
        return f"{-(-trial.size_bytes // 1000) / 1000:g} MB, at most {budgets.max_size_mb:g} MB allowed"
    latency = trial.latency_ms or 0.0
    if budgets.max_latency_ms is not None and latency > budgets.max_latency_ms:
        return f"{latency:.2f} ms, at most {budgets.max_latency_ms:g} ms allowed"
    return ""


def time_interleaved(
    trials: Sequence[Trial], rows: Sequence[TokenRow], tokenizer: TextTokenizer, report: Callable[[int, int], None]
) -> list[float]:
    """Median milliseconds a text of each trial: bursts in turn, so that a noisy moment hits all, with warm caches."""
    by_length = sorted(rows, key=lambda row: len(row.ids))
    picked = [by_length[int((index + 0.5) * len(by_length) / TIMED_TEXTS)] for index in range(TIMED_TEXTS)]
    feeds = [tokenizer.batch([row]).feeds() for row in picked]
    sessions = [trial.open() for trial in trials]
    times: list[list[list[float]]] = [[[] for _ in feeds] for _ in trials]
    for turn in range(ROUNDS):
        report(turn, ROUNDS)
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
        return f"{slower:.2f} times as slow as {best.candidate.name}"
    return f"as fast as {best.candidate.name}, which has {best.flips} flips where this has {trial.flips}"


def nearest_to(trials: Sequence[Trial], budgets: Budgets) -> str:
    """A message that names the trial that came nearest to the budgets."""

    def excess(trial: Trial) -> float:
        over = [trial.flip_percent / max(budgets.max_flips_percent, 1e-9) if trial.flips else 0.0]
        if budgets.max_size_mb is not None:
            over.append(trial.size_bytes / 1e6 / budgets.max_size_mb)
        if budgets.max_latency_ms is not None and trial.latency_ms is not None:
            over.append(trial.latency_ms / budgets.max_latency_ms)
        return max(over)

    nearest = min(trials, key=excess)
    speed = "" if nearest.latency_ms is None else f", {nearest.latency_ms:.2f} ms a text"
    return (
        f"budget: no graph of {len(trials)} tried keeps to it; nearest is {nearest.candidate.name!r} with "
        f"{nearest.size_bytes / 1e6:.1f} MB{speed} and {nearest.flips} of {nearest.texts} labels unlike fp32 "
        f"({nearest.verdict}). Raise --max-flips, --max-size-mb or --max-latency-ms, or build with --precision fp32."
    )
