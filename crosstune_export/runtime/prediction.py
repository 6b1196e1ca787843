"""Predictions, and the decision rule that derives them from probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.reports.notebook import notebook_bars
from crosstune.core.strict_text import Json

#: Labels that a notebook shows.
_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Prediction:
    """The prediction for one text.

    Examples:
        >>> from crosstune_export import Classifier
        >>> prediction = Classifier.load("support.bundle").classify(["where is my parcel?"])[0]
        >>> [label for label, _ in prediction.top(1)]
        ['shipping']

    Attributes:
        label: The most probable label; None if its probability or ``similarity`` is below a threshold.
        prob: Probability of the most probable label, in [0, 1], also if ``label`` is None.
        probs: Probabilities of all labels, float32 (L,), in the order of the classifier's labels.
        truncated: Whether the text was truncated to the maximum length.
        similarity: Similarity of the text to the nearest label: a cosine, in [-1, 1], to which the graph adds what texts of this
            length lack; above 1 only for very short texts. None if the graph has no such output.
        labels: The L labels of the classifier.
    """

    label: str | None
    prob: float
    probs: npt.NDArray[np.float32] = field(compare=False)
    truncated: bool
    similarity: float | None = None
    labels: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        similarity = "" if self.similarity is None else f", similarity={self.similarity:.2f}"
        truncated = ", truncated" if self.truncated else ""
        return f"Prediction({self.label!r}, prob={self.prob:.3f}{similarity}{truncated})"

    def _repr_html_(self) -> str:
        return notebook_bars(self.title, self.top(_SHOWN))

    @property
    def title(self) -> str:
        """Label, probability and similarity in one line."""
        similarity = "" if self.similarity is None else f", similarity {self.similarity:.2f}"
        return f"{'no label' if self.label is None else self.label} ({100 * self.prob:.1f}%{similarity})"

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` most probable labels, each with its probability; all labels if there are fewer."""
        return [(self.labels[i], float(self.probs[i])) for i in self.shown(k)]

    def to_json(self, labels: Sequence[str] | None = None, top_k: int | None = None) -> dict[str, Json]:
        """Return the prediction as the command line and the server write it.

        Args:
            labels: The L labels of the classifier; None for the prediction's own.
            top_k: Number of labels in ``probs``, most probable first; None for all, in label order.
        """
        names = self.labels if labels is None else labels
        return {
            "label": self.label,
            "prob": self.prob,
            "probs": {names[i]: float(self.probs[i]) for i in self.shown(top_k)},
            "truncated": self.truncated,
            "similarity": self.similarity,
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


def check_min_similarity(value: float | None, has_similarity: bool) -> float | None:
    """Return a smallest similarity that is None or in [-1, 1].

    Args:
        value: The smallest similarity; None for none.
        has_similarity: Whether the bundle measures similarity.

    Raises:
        DataError: The value is out of range.
        ConfigError: The bundle measures no similarity.
    """
    if value is None:
        return None
    if not -1 <= value <= 1:
        raise DataError(f"min_similarity: found {value}, expected a number from -1 to 1.")
    if not has_similarity:
        raise ConfigError(
            f"min_similarity: found {value}, expected none: this bundle measures no similarity. Train with the default head."
        )
    return value


def require_finite(probs: npt.NDArray[np.float32]) -> None:
    """Check that probabilities, float32 (B, L), are finite; a column of similarities may be appended.

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
    similarities: npt.NDArray[np.float32] | None = None,
    min_similarity: float | None = None,
) -> list[Prediction]:
    """Derive predictions from probabilities; of equally probable labels the first is chosen.

    Args:
        probs: float32 (B, L); each row sums to 1.
        truncated: B flags.
        labels: L names.
        threshold: Probability below which a text gets no label; None for none.
        similarities: float32 (B,), similarities to the nearest label; None if the graph has no such output.
        min_similarity: Similarity below which a text gets no label; None for none.

    Raises:
        DataError: A probability or similarity is not finite.
    """
    require_finite(probs if similarities is None else np.column_stack((probs, similarities)))
    best = probs.argmax(axis=1)
    predictions = []
    for index, (row, column, is_truncated) in enumerate(zip(probs, best, truncated, strict=True)):
        prob = float(row[column])
        similarity = None if similarities is None else float(similarities[index])
        unsure = threshold is not None and prob < threshold
        outside = min_similarity is not None and similarity is not None and similarity < min_similarity
        label = None if unsure or outside else labels[column]
        predictions.append(Prediction(label, prob, row, is_truncated, similarity, tuple(labels)))
    return predictions
