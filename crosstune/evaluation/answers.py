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

#: Numbers of words at which the parts of ``Answers.by_length`` begin; chosen by hand.
LENGTHS = (0, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class LengthCoverage:
    """How many texts of a range of lengths get a label.

    Attributes:
        low: Fewest words.
        high: Number of words at which the next range begins; None for the last range.
        texts: Number of texts, at least 1.
        coverage: Share of these that get a label, in [0, 1].
        accuracy: Accuracy on the texts that get a label, in [0, 1]; None if none gets one.
    """

    low: int
    high: int | None
    texts: int
    coverage: float
    accuracy: float | None

    @property
    def title(self) -> str:
        """The range in words.

        Examples:
            >>> LengthCoverage(4, 8, 10, 0.9, 1.0).title, LengthCoverage(64, None, 3, 1.0, 1.0).title
            ('4 to 7 words', '64 words or more')
        """
        return f"{self.low} words or more" if self.high is None else f"{self.low} to {self.high - 1} words"


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

    @property
    def by_length(self) -> tuple[LengthCoverage, ...]:
        """Coverage for short and long texts, in order of length; parts without a text are left out."""
        words = np.array([sum(len(part.split()) for part in example.parts) for example in self.examples])
        parts = []
        for low, high in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
            inside = (words >= low) & (words < (np.inf if high is None else high))
            if inside.any():
                given = self.answered & inside
                accuracy = float(self.right[given].mean()) if given.any() else None
                parts.append(LengthCoverage(low, high, int(inside.sum()), float(given.sum() / inside.sum()), accuracy))
        return tuple(parts)

    def to_json(self) -> dict[str, Json]:
        """The metrics as ``evaluate --json`` prints them.

        With a threshold also ``coverage``, ``accuracy_answered`` and ``by_length``.
        """
        body = self.evaluation.to_json()
        if self.coverage is not None:
            body |= {"coverage": self.coverage, "accuracy_answered": self.accuracy_answered}
            body["by_length"] = [
                {"words": part.title, "texts": part.texts, "coverage": part.coverage, "accuracy": part.accuracy}
                for part in self.by_length
            ]
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
