"""One answer, and the rule that makes it from a row of probabilities."""

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
    """What a classifier says of one text.

    Attributes:
        label: The most probable label, or None when its probability or the scope of the text is below its threshold.
        prob: Its probability, in [0, 1]; that of the most probable label also when ``label`` is None.
        probs: Probabilities of all labels, float32 of shape (L,), in the order of the classifier's labels.
        truncated: Whether the text was longer than the backbone reads.
        scope: How near the text is to the nearest label, a cosine in [-1, 1]; None where the bundle does not say.
    """

    label: str | None
    prob: float
    probs: npt.NDArray[np.float32] = field(repr=False, compare=False)
    truncated: bool
    scope: float | None = None

    def to_json(self, labels: Sequence[str], top_k: int | None = None) -> dict[str, Json]:
        """The answer as the command line and the server write it.

        Args:
            labels: The classifier's labels.
            top_k: Only so many of the most probable labels in ``probs``, the best first; all in their order when None.
        """
        return {
            "label": self.label,
            "prob": self.prob,
            "probs": {labels[i]: float(self.probs[i]) for i in self.shown(top_k)},
            "truncated": self.truncated,
        }

    def shown(self, top_k: int | None) -> Sequence[int]:
        """Columns of the labels to show: all in their order, or so many of the most probable ones."""
        every = range(len(self.probs))
        return every if top_k is None else sorted(every, key=lambda i: -self.probs[i])[:top_k]


def check_threshold(threshold: float | None) -> float | None:
    """Return a threshold that is None or in [0, 1].

    Raises:
        DataError: It is something else.
    """
    if threshold is not None and not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise DataError(f"threshold: found {threshold}, expected a probability from 0 to 1.")
    return threshold


def require_finite(probs: npt.NDArray[np.float32]) -> None:
    """Raise unless probabilities, float32 of shape (B, L), perhaps with a column of scopes, are finite.

    Raises:
        DataError: A row is not finite.
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
    """Turn rows of probabilities into answers; the first of equal labels wins.

    Args:
        probs: float32 of shape (B, L), rows sum to 1.
        truncated: B flags.
        labels: L names.
        threshold: Probability below which no label is given, or None.
        scope: float32 of shape (B,), or None.
        scope_threshold: Scope below which no label is given, or None.

    Raises:
        DataError: A row is not finite.
    """
    require_finite(probs if scope is None else np.column_stack((probs, scope)))
    best = probs.argmax(axis=1)
    answers = []
    for index, (row, column, cut) in enumerate(zip(probs, best, truncated, strict=True)):
        prob = float(row[column])
        near = None if scope is None else float(scope[index])
        unsure = threshold is not None and prob < threshold
        outside = scope_threshold is not None and near is not None and near < scope_threshold
        answers.append(Prediction(None if unsure or outside else labels[column], prob, row, cut, near))
    return answers
