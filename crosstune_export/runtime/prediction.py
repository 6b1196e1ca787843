"""Predictions, and the decision rule that derives them from probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import DataError
from crosstune.core.strict_text import Json


@dataclass(frozen=True)
class Prediction:
    """The prediction for one text.

    Attributes:
        label: The most probable label; None if its probability or ``scope`` is below a threshold.
        prob: Probability of the most probable label, in [0, 1], also if ``label`` is None.
        probs: Probabilities of all labels, float32 (L,), in the order of the classifier's labels.
        truncated: Whether the text was truncated to the maximum length.
        scope: Similarity of the text to the nearest label, a cosine in [-1, 1]; None if the graph has no such output.
    """

    label: str | None
    prob: float
    probs: npt.NDArray[np.float32] = field(repr=False, compare=False)
    truncated: bool
    scope: float | None = None

    def to_json(self, labels: Sequence[str], top_k: int | None = None) -> dict[str, Json]:
        """Return the prediction as the command line and the server write it.

        Args:
            labels: The L labels of the classifier.
            top_k: Number of labels in ``probs``, most probable first; None for all, in label order.
        """
        return {
            "label": self.label,
            "prob": self.prob,
            "probs": {labels[i]: float(self.probs[i]) for i in self.shown(top_k)},
            "truncated": self.truncated,
        }

    def shown(self, top_k: int | None) -> Sequence[int]:
        """Return the columns of the ``top_k`` most probable labels; None for all, in label order."""
        columns = range(len(self.probs))
        return columns if top_k is None else sorted(columns, key=lambda i: -self.probs[i])[:top_k]


def check_threshold(threshold: float | None) -> float | None:
    """Return a threshold that is None or in [0, 1].

    Raises:
        DataError: The threshold is out of range.
    """
    if threshold is not None and not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise DataError(f"threshold: found {threshold}, expected a probability from 0 to 1.")
    return threshold


def require_finite(probs: npt.NDArray[np.float32]) -> None:
    """Check that probabilities, float32 (B, L), are finite; a column of scopes may be appended.

    Raises:
        DataError: A number is not finite; the message names the row.
    """
    if not np.isfinite(probs).all():
        row = int(np.flatnonzero(~np.isfinite(probs).all(axis=1))[0])
        raise DataError(f"texts[{row}]: the graph gave probabilities that are not finite. Verify the bundle.")


def decide(
    probs: npt.NDArray[np.float32],
    truncated: Sequence[bool],
    labels: Sequence[str],
    threshold: float | None,
    scope: npt.NDArray[np.float32] | None = None,
    scope_threshold: float | None = None,
) -> list[Prediction]:
    """Derive predictions from probabilities; of equally probable labels the first is chosen.

    Args:
        probs: float32 (B, L); each row sums to 1.
        truncated: B flags.
        labels: L names.
        threshold: Probability below which a text gets no label; None for none.
        scope: float32 (B,), similarities to the nearest label; None if the graph has no such output.
        scope_threshold: Scope below which a text gets no label; None for none.

    Raises:
        DataError: A probability or scope is not finite.
    """
    require_finite(probs if scope is None else np.column_stack((probs, scope)))
    best = probs.argmax(axis=1)
    predictions = []
    for index, (row, column, is_truncated) in enumerate(zip(probs, best, truncated, strict=True)):
        prob = float(row[column])
        similarity = None if scope is None else float(scope[index])
        unsure = threshold is not None and prob < threshold
        outside = scope_threshold is not None and similarity is not None and similarity < scope_threshold
        label = None if unsure or outside else labels[column]
        predictions.append(Prediction(label, prob, row, is_truncated, similarity))
    return predictions
