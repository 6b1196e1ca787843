"""Measures whether a built graph answers as the checkpoint does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import GateError
from crosstune.core.token_layout import Text, TokenRow
from crosstune_export.bundle.facts import AnswerDifference
from crosstune_export.runtime.session import GraphSession
from crosstune_export.runtime.tokenization import TextTokenizer

#: Largest absolute difference of a probability between torch and onnxruntime in fp32.
FP32_TOLERANCE = 1e-4
#: Batch sizes at which a graph is compared; rows of unlike length stand side by side, so padding is tried too.
BATCH_SIZES = (1, 8, 32)
#: Texts on which padding, batches and threads are tried.
INVARIANCE_TEXTS = 64


def allowed_label_changes(texts: int, percent: float) -> int:
    """How many of N labels may differ, rounded up to a whole text.

    Args:
        texts: N.
        percent: From 0 to 100.

    Example:
        >>> allowed_label_changes(50, 5.0), allowed_label_changes(8, 2.0)
        (3, 1)
    """
    return math.ceil(texts * Decimal(str(percent)) / 100)


def check_ids(tokenizer: TextTokenizer, texts: Sequence[Text], expected: Sequence[Sequence[int]]) -> list[TokenRow]:
    """Rows of ids as the runtime makes them.

    Raises:
        GateError: A text's ids are not those of training.
    """
    rows = tokenizer.rows(texts)
    for text, row, ids in zip(texts, rows, expected, strict=True):
        if row.ids != tuple(ids):
            raise GateError(
                f"parity: the bundle's tokenizer reads {text!r:.60} as other ids than training did. Report this."
            )
    return rows


def graph_probs(
    session: GraphSession, tokenizer: TextTokenizer, rows: Sequence[TokenRow], batch_size: int
) -> npt.NDArray[np.float32]:
    """Probabilities of rows in their order, so that unlike lengths share a batch: float32 (N, L)."""
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
) -> AnswerDifference:
    """Compare a graph with expected probabilities, float32 (N, L), alone and in padded batches of these sizes."""
    worst = 0.0
    flipped = np.zeros(len(rows), np.bool_)
    for batch_size in batch_sizes:
        found = graph_probs(session, tokenizer, rows, batch_size)
        difference = np.abs(found - expected)
        worst = max(worst, float(difference.max())) if np.isfinite(difference).all() else float("inf")
        flipped |= found.argmax(1) != expected.argmax(1)
    return AnswerDifference(len(rows), tuple(batch_sizes), worst, int(flipped.sum()))


def require_parity(report: AnswerDifference) -> None:
    """Raise unless an fp32 graph agrees with torch.

    Raises:
        GateError: A probability differs by more than ``FP32_TOLERANCE``.
    """
    if not report.max_difference <= FP32_TOLERANCE:
        raise GateError(
            f"parity: the fp32 graph differs from torch by {report.max_difference:.2e} on {report.texts} texts, "
            f"expected at most {FP32_TOLERANCE:.0e}. Nothing was written; report this with the backbone's name."
        )


def invariance(
    open_with: Callable[[int], GraphSession], tokenizer: TextTokenizer, rows: Sequence[TokenRow]
) -> AnswerDifference:
    """Compare texts in padded batches, and on two threads, with each text alone on one.

    Args:
        open_with: Makes a session with so many threads.
        tokenizer: Makes the batches.
        rows: Texts; some ``INVARIANCE_TEXTS`` from all over the list are used.
    """
    rows = rows[:: max(1, len(rows) // INVARIANCE_TEXTS)]
    session = open_with(1)
    alone = graph_probs(session, tokenizer, rows, 1)
    together = compare(session, tokenizer, rows, alone, BATCH_SIZES[1:])
    threads = compare(open_with(2), tokenizer, rows, alone)
    return AnswerDifference(
        len(rows),
        BATCH_SIZES,
        max(together.max_difference, threads.max_difference),
        max(together.label_changes, threads.label_changes),
    )
