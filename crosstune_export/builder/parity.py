"""Measures whether a graph gives the same probabilities as the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import GateError
from crosstune.core.token_layout import Text, TokenRow
from crosstune.evaluation.metrics import rate_interval
from crosstune_export.bundle.expected_changes import ExpectedChanges
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.runtime.session import GraphSession
from crosstune_export.runtime.tokenization import TextTokenizer

#: Largest absolute difference of a probability between torch and onnxruntime in fp32; chosen by hand, far above rounding.
FP32_TOLERANCE = 1e-4
#: Batch sizes at which a graph is compared; batches mix lengths, so padding is checked too.
BATCH_SIZES = (1, 8, 32)
#: Number of texts on which batch invariance is measured; chosen by hand to take a few seconds.
INVARIANCE_TEXTS = 64


def allowed_label_changes(texts: int, percent: float) -> int:
    """Return how many labels may differ, rounded up to a whole text.

    Args:
        texts: Number of texts.
        percent: Percent that may differ, from 0 to 100.

    Examples:
        >>> allowed_label_changes(50, 5.0), allowed_label_changes(8, 2.0)
        (3, 1)
    """
    return math.ceil(texts * Decimal(str(percent)) / 100)


def check_ids(tokenizer: TextTokenizer, texts: Sequence[Text], expected: Sequence[Sequence[int]]) -> list[TokenRow]:
    """Tokenize texts as the runtime does, and compare the ids with those of training.

    Raises:
        GateError: The ids of a text differ.
    """
    rows = tokenizer.rows(texts)
    for text, row, ids in zip(texts, rows, expected, strict=True):
        if row.ids != tuple(ids):
            raise GateError(
                f"parity: the bundle's tokenizer gives other ids for {text!r:.60} than training did. Report this."
            )
    return rows


def graph_probs(
    session: GraphSession, tokenizer: TextTokenizer, rows: Sequence[TokenRow], batch_size: int
) -> npt.NDArray[np.float32]:
    """Return probabilities, float32 (N, L); rows are batched in their order, so a batch mixes lengths."""
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = tokenizer.batch(rows[start : start + batch_size])
        parts.append(session.run(batch.feeds())[0])
    return np.concatenate(parts)


def compare(
    session: GraphSession,
    tokenizer: TextTokenizer,
    rows: Sequence[TokenRow],
    expected: npt.NDArray[np.float32],
    batch_sizes: Sequence[int] = (1,),
) -> PredictionDifference:
    """Compare a graph with expected probabilities.

    Args:
        session: The graph.
        tokenizer: Batches the rows.
        rows: N texts.
        expected: Probabilities, float32 (N, L).
        batch_sizes: Batch sizes to run the graph at.
    """
    largest = 0.0
    changed = np.zeros(len(rows), np.bool_)
    for batch_size in batch_sizes:
        probs = graph_probs(session, tokenizer, rows, batch_size)
        difference = np.abs(probs - expected)
        largest = max(largest, float(difference.max())) if np.isfinite(difference).all() else float("inf")
        changed |= probs.argmax(1) != expected.argmax(1)
    moved = margin_change(probs, expected)
    return PredictionDifference(len(rows), tuple(batch_sizes), largest, int(changed.sum()), moved)


def sum_of(parts: Iterable[PredictionDifference | None]) -> PredictionDifference:
    """Add up the differences of several sets of texts; skip those that are None."""
    measured = [part for part in parts if part is not None]
    return PredictionDifference(
        sum(part.texts for part in measured),
        measured[0].batch_sizes,
        max(part.max_difference for part in measured),
        sum(part.label_changes for part in measured),
        sum(part.margin_change * part.texts for part in measured) / max(1, sum(part.texts for part in measured)),
    )


def margin_change(probs: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    """By how much the log-odds of the two labels that are expected to be the most probable differ, at most 1, on the mean of N texts.

    Args:
        probs: float32 (N, L).
        expected: float32 (N, L).
    """
    two = np.argsort(expected, 1)[:, -2:]
    odds = [
        np.log(np.maximum(np.take_along_axis(part, two, 1).astype(np.float64), 1e-38)) for part in (probs, expected)
    ]
    moved = np.abs(np.diff(odds[0]) - np.diff(odds[1]))
    return float(np.minimum(np.nan_to_num(moved, nan=1.0), 1.0).mean()) if len(probs) else 0.0


def expected_changes(margin_change: float, close_shots: int, shots: int, close_margin: float = 1.0) -> ExpectedChanges:
    """How many labels of new texts will differ from fp32.

    A label changes if rounding moves the log-odds of its two most probable labels by more than there is. How far it moves, ``d``, is
    measured on any texts; how often there is little, only on texts that the head did not learn from: k of N held-out shots have less
    than m. Below m, all values are taken to be equally frequent. As rounding is as likely to move them up as down,
    ``E[min(|d|, 1)] / 2 · k / (N m)`` of the labels change. The interval is that of k / N (Wilson 1927).

    Examples:
        >>> expected_changes(margin_change=0.05, close_shots=20, shots=100).summary
        '0.5% of the labels of new texts are expected to change (95% interval 0.3% to 0.7%)'

    Args:
        margin_change: ``E[min(|d|, 1)]``, in [0, 1].
        close_shots: k.
        shots: N, at least 1.
        close_margin: m, in (0, 1].
    """
    ends = (close_shots / shots, *rate_interval(close_shots, shots))
    return ExpectedChanges(*(min(1.0, margin_change / 2 * end / close_margin) for end in ends))


def require_parity(difference: PredictionDifference) -> None:
    """Raise an error unless an fp32 graph agrees with torch.

    Raises:
        GateError: A probability differs by more than ``FP32_TOLERANCE``.
    """
    if not difference.max_difference <= FP32_TOLERANCE:
        raise GateError(
            f"parity: the fp32 graph differs from torch by {difference.max_difference:.2e} on {difference.texts} texts, "
            f"expected at most {FP32_TOLERANCE:.0e}. Nothing was written; report this with the backbone's name."
        )


def invariance(
    open_with: Callable[[int], GraphSession], tokenizer: TextTokenizer, rows: Sequence[TokenRow]
) -> PredictionDifference:
    """Measure batch invariance: compare padded batches, and two threads, with one text at a time on one thread.

    Args:
        open_with: Opens a session with a number of threads.
        tokenizer: Batches the texts.
        rows: Texts; about ``INVARIANCE_TEXTS`` evenly spaced ones are used.
    """
    rows = rows[:: max(1, len(rows) // INVARIANCE_TEXTS)]
    session = open_with(1)
    single = graph_probs(session, tokenizer, rows, 1)
    batched = compare(session, tokenizer, rows, single, BATCH_SIZES[1:])
    threaded = compare(open_with(2), tokenizer, rows, single)
    return PredictionDifference(
        len(rows),
        BATCH_SIZES,
        max(batched.max_difference, threaded.max_difference),
        max(batched.label_changes, threaded.label_changes),
    )
