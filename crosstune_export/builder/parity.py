"""Measures whether a graph gives the same probabilities as the checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import GateError
from crosstune.core.token_layout import Text, TokenRow
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
    return PredictionDifference(len(rows), tuple(batch_sizes), largest, int(changed.sum()))


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
