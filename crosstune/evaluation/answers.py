"""The answers of a classifier on labelled texts, and how many of them are correct."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.core.outputs import check_output, new_file
from crosstune.core.strict_text import Json
from crosstune.data.examples import Example
from crosstune.evaluation.metrics import Evaluation, evaluate
from crosstune.evaluation.report import report_page


@dataclass(frozen=True, repr=False)
class Answers:
    """Probabilities of a classifier for N labelled texts.

    Attributes:
        examples: N texts with their labels.
        labels: L names, in the order of the columns.
        probs: float32 (N, L), rows sum to 1.
        threshold: Probability below which no label is given, or None.
        similarity: float32 (N,), similarity of each text to the nearest label (cosine), or None.
        min_similarity: Similarity below which no label is given, or None.
        trained_on: Number of the texts that the classifier was trained on, or None if unknown.
        data: Human-readable name of the texts, such as a file name.
        model: Human-readable name of the classifier.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    probs: npt.NDArray[np.float32]
    threshold: float | None = None
    similarity: npt.NDArray[np.float32] | None = None
    min_similarity: float | None = None
    trained_on: int | None = None
    data: str = "examples"
    model: str = "a classifier"

    def __repr__(self) -> str:
        return f"Answers({self.evaluation!r})"

    def _repr_html_(self) -> str:
        return self.evaluation._repr_html_()

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """The true labels, int64 (N,)."""
        index = {name: i for i, name in enumerate(self.labels)}
        return np.array([index[example.label] for example in self.examples], np.int64)

    @cached_property
    def evaluation(self) -> Evaluation:
        """The metrics, without regard to the thresholds."""
        return evaluate(self.probs, self.truth.tolist(), self.labels)

    @property
    def accuracy(self) -> float:
        """Share of correct labels, in [0, 1], without regard to the thresholds."""
        return self.evaluation.accuracy

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

    def to_json(self) -> dict[str, Json]:
        """The metrics as ``evaluate --json`` prints them; with a threshold also ``coverage`` and ``accuracy_answered``."""
        body = self.evaluation.to_json()
        if self.coverage is not None:
            body |= {"coverage": self.coverage, "accuracy_answered": self.accuracy_answered}
        return body

    def report(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the report page, one HTML file.

        Args:
            path: File to write.
            force: Replace an existing file.

        Raises:
            OutputExistsError: The file exists and ``force`` is off.
            ResourceError: The file cannot be written.
        """
        check_output(Path(path), force=force, what="report")
        with new_file(Path(path)) as sink:
            sink.write(report_page(self).encode("utf-8"))
