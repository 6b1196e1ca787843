"""The answers of a classifier on labelled texts, and how many of them are correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.data.examples import Example
from crosstune.evaluation.metrics import Evaluation, evaluate


@dataclass(frozen=True)
class Answers:
    """Probabilities of a classifier for N labelled texts.

    Attributes:
        examples: N texts with their labels.
        labels: L names, in the order of the columns.
        probs: float32 (N, L), rows sum to 1.
        threshold: Probability below which no label is given, or None.
        similarity: float32 (N,), similarity of each text to the nearest label (cosine), or None.
        min_similarity: Similarity below which no label is given, or None.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    probs: npt.NDArray[np.float32]
    threshold: float | None = None
    similarity: npt.NDArray[np.float32] | None = None
    min_similarity: float | None = None

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """The true labels, int64 (N,)."""
        index = {name: i for i, name in enumerate(self.labels)}
        return np.array([index[example.label] for example in self.examples], np.int64)

    @property
    def evaluation(self) -> Evaluation:
        """The metrics, without regard to the thresholds."""
        return evaluate(self.probs, self.truth.tolist(), self.labels)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the most probable label is the true one, (N,)."""
        return np.asarray(self.probs.argmax(1) == self.truth)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Whether a label is given, (N,)."""
        answered = np.ones(len(self.probs), bool)
        if self.threshold is not None:
            answered &= self.probs.max(1).astype(np.float64) >= self.threshold
        if self.similarity is not None and self.min_similarity is not None:
            answered &= self.similarity.astype(np.float64) >= self.min_similarity
        return answered

    @property
    def coverage(self) -> float | None:
        """Share of the texts that get a label, in [0, 1]; None if there is no threshold, so that all get one."""
        if self.threshold is None and self.min_similarity is None:
            return None
        return float(self.answered.mean())

    @property
    def accuracy_answered(self) -> float | None:
        """Accuracy on the texts that get a label, in [0, 1]; None if no text gets one."""
        answered = self.answered
        return float(self.right[answered].mean()) if answered.any() else None
