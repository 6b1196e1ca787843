"""How good a classifier is on labelled texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.strict_text import Json

ECE_BINS = 15
#: Standard errors to either side of a mean that make an interval of 95 %.
Z95 = 1.96


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall and F1 of one label, each in [0, 1], and its number of texts."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Figures over N labelled texts.

    Attributes:
        n: N.
        accuracy: Share of right labels, in [0, 1].
        macro_f1: Mean F1 over the labels that occur among the texts or the answers.
        ece: Expected calibration error over 15 equal bins of the top probability, in [0, 1] (Guo et al. 2017).
        per_label: One row a label, in the order of the labels.
        confusion: int64 (L, L), rows the true label, columns the answer.
    """

    n: int
    accuracy: float
    macro_f1: float
    ece: float
    per_label: tuple[LabelScore, ...]
    confusion: npt.NDArray[np.int64]

    def to_json(self) -> dict[str, Json]:
        """The figures as ``evaluate --json`` prints them."""
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

    Example:
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
    answers = probs.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, answers), 1)
    scores = []
    for i, label in enumerate(labels):
        hit = int(confusion[i, i])
        given, there = int(confusion[:, i].sum()), int(confusion[i].sum())
        scores.append(
            LabelScore(
                label,
                precision=hit / given if given else 0.0,
                recall=hit / there if there else 0.0,
                f1=2 * hit / (given + there) if given + there else 0.0,
                support=there,
            )
        )
    seen = [score.f1 for i, score in enumerate(scores) if confusion[i].sum() + confusion[:, i].sum()]
    return Evaluation(
        n=len(truth),
        accuracy=float((answers == truth).mean()),
        macro_f1=float(np.mean(seen)),
        ece=calibration_error(probs.max(1), answers == truth),
        per_label=tuple(scores),
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

    Example:
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


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """A 95 % interval for a rate (Wilson 1927).

    Example:
        >>> [round(end, 3) for end in wilson(1, 100)]
        [0.002, 0.054]
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = hits / trials, Z95 * Z95 / trials
    middle = (rate + square / 2) / (1 + square)
    half = Z95 * math.sqrt(rate * (1 - rate) / trials + square / trials / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)
