"""Judges graphs: of those that agree with fp32 and keep within the budgets, the fastest is shipped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from crosstune.core.errors import GateError
from crosstune.core.progress import StepProgress
from crosstune.core.token_layout import TokenRow
from crosstune.core.training_facts import TaughtFacts
from crosstune_export.builder.parity import allowed_label_changes
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.expected_changes import ExpectedChanges
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.kernels import PORTABLE, fast_kernels
from crosstune_export.runtime.session import GraphSession, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Graphs within 3% of the fastest count as equally fast, and the one with the fewest label changes ships. Chosen by hand, about
#: the noise of the timing.
AS_FAST = 1.03
#: Timed texts (of evenly spaced lengths), rounds, and runs per round; chosen by hand to take a few seconds.
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
    """Limits of the shipped graph; None for no limit.

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
        variant: How the graph was built.
        facts: Section ``graph`` of the manifest.
        model: Contents of ``model.onnx``.
        passes: Number of times that each rewrite was applied.
        size_bytes: Estimated size of the bundle.
        on_texts: Compared with fp32 on the calibration texts; None for fp32 itself.
        on_truncated: Compared with fp32 on the truncated texts; None if there are none.
        by_kernels: The fast kernels compared with fp32, on texts and truncated texts together; None if they cannot run it.
        expected_changes: Labels of new texts that are expected to differ from fp32; None for fp32, or if no shots were held out.
        latency_ms: Median latency per text; None if not timed.
        verdict: ``shipped``, or the reason why not; empty while undecided.
        longest: Largest number of tokens of a text.
        taught: How a head that the build taught on fewer layers differs from the one on all layers; None for other heads.
        no_fast_kernels: Why the fast kernels cannot run the graph; empty if they can.
    """

    variant: Variant
    facts: GraphFacts
    model: bytes
    passes: Mapping[str, int]
    size_bytes: int
    on_texts: PredictionDifference | None = None
    on_truncated: PredictionDifference | None = None
    by_kernels: PredictionDifference | None = None
    expected_changes: ExpectedChanges | None = None
    latency_ms: float | None = None
    verdict: str = ""
    longest: int = 1
    taught: TaughtFacts | None = None
    no_fast_kernels: str = ""

    @property
    def label_changes(self) -> int:
        """Labels that differ from fp32, on texts and truncated texts together; of onnxruntime's and the fast kernels the most."""
        portable = sum(part.label_changes for part in (self.on_texts, self.on_truncated) if part is not None)
        return portable if self.by_kernels is None else max(portable, self.by_kernels.label_changes)

    @property
    def texts(self) -> int:
        """Number of texts and truncated texts that were compared."""
        return sum(part.texts for part in (self.on_texts, self.on_truncated) if part is not None)

    @property
    def label_change_percent(self) -> float:
        """Percent of labels that differ from fp32."""
        return 100 * self.label_changes / max(1, self.texts)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels that may run the graph and that the build judges: onnxruntime's, and the fast ones if they know it."""
        if self.facts.function is None:
            return (PORTABLE,)
        return PORTABLE, "fast" if fast_kernels().name else "plain"

    def open(self, threads: int = 1, kernels: str = "auto") -> GraphSession:
        """Open a session of the graph, with ``kernels`` out of ``KERNELS``."""
        where = f"the graph {self.variant.name!r}"
        return open_session(self.model, self.facts, where, longest=self.longest, threads=threads, kernels=kernels)


def choose(
    trials: Sequence[Trial],
    budgets: Budgets,
    rows: Sequence[TokenRow],
    tokenizer: TextTokenizer,
    progress: StepProgress,
) -> list[Trial]:
    """Judge, time and rank trials.

    Args:
        trials: Trials in order of preference, which breaks ties.
        budgets: Limits of the shipped graph.
        rows: Texts to time graphs on.
        tokenizer: Batches the texts.
        progress: Called with the rounds of timing done and their number.

    Returns:
        All trials with verdicts; exactly one is ``shipped``.

    Raises:
        OverBudgetError: No graph keeps within the budgets; the message names the nearest one.
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
        replace(trial, verdict=trial.verdict or ("shipped" if trial is best else _reason_not_shipped(trial, best)))
        for trial in judged
    ]


def over_budget(trial: Trial, budgets: Budgets) -> str:
    """Describe the budget that a trial exceeds; empty if it exceeds none that was measured."""
    taught = trial.taught
    if taught is not None and taught.label_changes > allowed_label_changes(taught.texts, budgets.max_flips_percent):
        return f"compared with {taught.layers} layers on held-out texts {taught.summary}, at most {budgets.max_flips_percent:g}% allowed"
    if trial.label_changes > allowed_label_changes(trial.texts, budgets.max_flips_percent):
        return f"{trial.label_changes} of {trial.texts} labels differ from fp32, at most {budgets.max_flips_percent:g}% allowed"
    if trial.expected_changes is not None and 100 * trial.expected_changes.low > budgets.max_flips_percent:
        return f"{trial.expected_changes.summary}, at most {budgets.max_flips_percent:g}% allowed"
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
    """Return the median latency per text of each trial in milliseconds; bursts are interleaved, so noise affects all alike."""
    by_length = sorted(rows, key=lambda row: len(row.ids))
    timed_rows = [by_length[int((index + 0.5) * len(by_length) / TIMED_TEXTS)] for index in range(TIMED_TEXTS)]
    feeds = [tokenizer.batch([row]).feeds() for row in timed_rows]
    sessions = [trial.open() for trial in trials]
    times: list[list[list[float]]] = [[[] for _ in feeds] for _ in trials]
    for turn in range(ROUNDS):
        progress(turn, ROUNDS)
        for session, by_text in zip(sessions, times, strict=True):
            for feed, seconds in zip(feeds, by_text, strict=True):
                session.run(feed)
                for _ in range(BURST):
                    started = time.perf_counter()
                    session.run(feed)
                    seconds.append(time.perf_counter() - started)
    return [1e3 * float(np.mean([np.median(seconds) for seconds in by_text])) for by_text in times]


def _reason_not_shipped(trial: Trial, best: Trial) -> str:
    if trial.latency_ms is None or best.latency_ms is None:
        return "not timed"
    slower = trial.latency_ms / best.latency_ms
    if slower > AS_FAST:
        return f"{slower:.2f} times as slow as {best.variant.name}"
    return f"as fast as {best.variant.name}, which has {best.label_changes} label changes (this one: {trial.label_changes})"


def nearest_to(trials: Sequence[Trial], budgets: Budgets) -> str:
    """Return an error message that names the trial nearest to the budgets.

    Of several taught heads that are fast enough, the one with the fewest label changes is the nearest.
    """

    def excess(trial: Trial) -> float:
        ratios = [trial.label_change_percent / max(budgets.max_flips_percent, 1e-9) if trial.label_changes else 0.0]
        if budgets.max_size_mb is not None:
            ratios.append(trial.size_bytes / 1e6 / budgets.max_size_mb)
        if budgets.max_latency_ms is not None and trial.latency_ms is not None:
            ratios.append(trial.latency_ms / budgets.max_latency_ms)
        return max(ratios)

    def changed(trial: Trial) -> int:
        return 0 if trial.taught is None else trial.taught.label_changes

    nearest = min(trials, key=lambda trial: (max(1.0, excess(trial)), changed(trial), excess(trial)))
    speed = "" if nearest.latency_ms is None else f", {nearest.latency_ms:.2f} ms per text"
    return (
        f"budget: no graph of {len(trials)} tried keeps within it; nearest is {nearest.variant.name!r} with "
        f"{nearest.size_bytes / 1e6:.1f} MB{speed} and {nearest.label_changes} of {nearest.texts} labels that differ from fp32 "
        f"({nearest.verdict}). {_advice(nearest, budgets)}"
    )


def _advice(trial: Trial, budgets: Budgets) -> str:
    """Say which budgets would have to be raised for a trial."""
    only_labels = Budgets(budgets.max_flips_percent)
    options = {
        "--max-flips": only_labels,
        "--max-size-mb": replace(budgets, max_flips_percent=100.0, max_latency_ms=None),
        "--max-latency-ms": replace(budgets, max_flips_percent=100.0, max_size_mb=None),
    }
    exceeded = [option for option, alone in options.items() if over_budget(trial, alone)]
    other = ", or build with --precision fp32" if exceeded == ["--max-flips"] and budgets == only_labels else ""
    return f"Raise {' and '.join(exceeded)}{other}."
