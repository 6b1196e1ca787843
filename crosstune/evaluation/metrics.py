"""Metrics of a classifier on labelled texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.reports.notebook import notebook_table
from crosstune.core.strict_text import Json

#: Bins of the expected calibration error, as in Guo et al. (2017).
ECE_BINS = 15


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label, each in [0, 1], and its number of texts."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Metrics over N labelled texts.

    Attributes:
        n: N.
        accuracy: Share of correct labels, in [0, 1].
        macro_f1: Mean F1 over the labels that occur among the true or the predicted labels.
        ece: Expected calibration error over 15 equal bins of the top probability, in [0, 1] (Guo et al. 2017).
        per_label: One row for each label, in the order of the labels.
        confusion: int64 (L, L), rows are true labels, columns predicted labels.
    """

    n: int
    accuracy: float
    macro_f1: float
    ece: float
    per_label: tuple[LabelScore, ...]
    confusion: npt.NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Evaluation(accuracy={self.accuracy:.3f}, macro_f1={self.macro_f1:.3f}, ece={self.ece:.3f}, n={self.n})"

    def _repr_html_(self) -> str:
        title = f"accuracy {100 * self.accuracy:.1f}%, macro-F1 {100 * self.macro_f1:.1f}%, n {self.n}"
        rows = [
            [row.label, *(f"{100 * value:.1f}" for value in (row.precision, row.recall, row.f1)), str(row.support)]
            for row in self.per_label
        ]
        return notebook_table(title, ["label", "precision (%)", "recall (%)", "F1 (%)", "texts"], rows)

    def to_json(self) -> dict[str, Json]:
        """The metrics as ``evaluate --json`` prints them."""
        return {
            "n": self.n,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "ece": self.ece,
            "per_label": {
                score.label: {
                    "precision": score.precision,
                    "recall": score.recall,
                    "f1": score.f1,
                    "support": score.support,
                }
                for score in self.per_label
            },
            "confusion": self.confusion.tolist(),
        }


def evaluate(probs: npt.NDArray[np.float32], gold: Sequence[int], labels: Sequence[str]) -> Evaluation:
    """Score probabilities against the true labels.

    Examples:
        >>> probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
        >>> result = evaluate(probs, [0, 1, 1], ["a", "b"])
        >>> round(result.accuracy, 3), result.confusion.tolist()
        (0.667, [[1, 0], [1, 1]])

    Args:
        probs: float32 (N, L), rows sum to 1.
        gold: N class indices.
        labels: L names.

    Raises:
        ValueError: The shapes do not agree or there is no text.
    """
    truth = np.asarray(gold, np.int64)
    if probs.ndim != 2 or probs.shape != (len(truth), len(labels)) or not len(truth):
        raise ValueError(f"probs {probs.shape}, expected ({len(truth)}, {len(labels)}) with at least one row")
    predicted = probs.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, predicted), 1)
    correct, support, answers = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    precision, recall = correct / np.maximum(answers, 1), correct / np.maximum(support, 1)
    f1 = 2 * correct / np.maximum(support + answers, 1)
    return Evaluation(
        n=len(truth),
        accuracy=float((predicted == truth).mean()),
        macro_f1=float(f1[support + answers > 0].mean()),
        ece=calibration_error(probs.max(1), predicted == truth),
        per_label=tuple(
            LabelScore(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        ),
        confusion=confusion,
    )


def calibration_error(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean over equal bins of |accuracy - confidence|, weighted by texts.

    Args:
        confidence: (N,), in [0, 1].
        right: (N,), whether the answer was right.
    """
    bins = reliability(confidence, right)
    return sum(one.texts * abs(one.accuracy - one.confidence) for one in bins) / len(confidence)


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers whose confidence lies in one of 15 equal parts of [0, 1].

    Attributes:
        low: Where the part begins; it is 1/15 wide.
        texts: How many there are, at least 1.
        confidence: Their mean confidence.
        accuracy: Share of them that is right.
    """

    low: float
    texts: int
    confidence: float
    accuracy: float


def reliability(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[ReliabilityBin]:
    """The parts that hold an answer, in order; arguments as of ``calibration_error``."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    return [
        ReliabilityBin(
            index / ECE_BINS, int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean())
        )
        for index in range(ECE_BINS)
        if (inside := bins == index).any()
    ]


def risk_coverage(
    scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """How often answers are wrong when only the texts of the highest scores are answered (El-Yaniv and Wiener 2010).

    Examples:
        >>> coverage, risk = risk_coverage(np.array([0.9, 0.5, 0.8, 0.5]), np.array([True, False, True, True]))
        >>> coverage.tolist(), risk.tolist()
        ([0.25, 0.5, 1.0], [0.0, 0.0, 0.25])

    Args:
        scores: (N,), N at least 1; texts of equal scores are answered together.
        right: (N,), whether the answer would be right.

    Returns:
        Share of texts answered and share of those that is wrong, float64 (M,) each, by falling score; coverage ends at 1.
    """
    order = np.argsort(-scores, kind="stable")
    answered = np.arange(1, len(order) + 1)
    wrong = np.cumsum(~right[order])
    last = np.append(scores[order][1:] < scores[order][:-1], True)
    return (answered / len(order))[last], (wrong / answered)[last]


def margins(probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Logarithm of how many times as probable the most probable label is as the second one, for each of N texts.

    Examples:
        >>> margins(np.array([[0.5, 0.5, 0.0], [0.2, 0.7, 0.1]])).round(2).tolist()
        [0.0, 1.25]

    Args:
        probs: Probabilities, (N, L), L at least 2; below 1e-38 they count as 1e-38.

    Returns:
        float64 (N,), at least 0.
    """
    logs = np.sort(np.log(np.maximum(np.asarray(probs, np.float64), 1e-38)), 1)
    return np.asarray(logs[:, -1] - logs[:, -2])


def rate_interval(hits: int, trials: int) -> tuple[float, float]:
    """A 95% interval for a rate (Wilson 1927), each end from 0 to 1.

    Examples:
        >>> [round(end, 3) for end in rate_interval(1, 100)]
        [0.002, 0.054]
    """
    if trials == 0:
        return 0.0, 1.0
    rate, z = hits / trials, 1.959963984540054  # the 97.5% quantile of the normal distribution
    middle = rate + z * z / (2 * trials)
    width = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale)
