"""The gate: generated texts of a label enter only if held-out answers on the real examples get no worse with them.

With 16 real texts per label, one answer more or less is mostly luck. A gate that closes at every loss closes half the time on
useful texts. So the gate looks at probabilities, which tell more than right and wrong, and a loss counts only when it is larger than
luck explains, however many labels are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from crosstune.core.progress import Progress, StepProgress

#: How often labels are taken out before all of them are. Chosen by hand; not ablated.
ROUNDS = 3
#: Chance that a rise of the loss counts though it is luck: of the loss of all labels, or of that of at least one. Texts that the teacher
#: believes rarely do harm: docs/development/experiments.md has what the gate sees of them.
LUCK = 0.01
#: A standard error below this is rounding.
LEAST_ERROR = 1e-9
#: Probabilities below this, and above its rest to 1, count as this: one wrong answer must not decide alone.
LEAST_PROBABILITY = 1e-6

Probs: TypeAlias = npt.NDArray[np.float32]
#: Held-out probabilities of the N shots, float32 (N, L), by heads that also learned generated texts of some labels.
Measure: TypeAlias = Callable[[frozenset[str], StepProgress], Probs]


@dataclass(frozen=True)
class LabelGate:
    """What the gate measured for a label.

    Attributes:
        label: Its name.
        texts: Generated texts of the label that came to the gate.
        f1_without: Held-out F1 on real shots without generated texts, in [0, 1].
        f1_with: The same with them.
        enters: Whether they enter.
    """

    label: str
    texts: int
    f1_without: float
    f1_with: float
    enters: bool


@dataclass(frozen=True)
class GateResult:
    """What the gate decided.

    Attributes:
        entering: Labels whose texts enter.
        gates: One entry a label.
        held_out: Probabilities of the shots with the texts that entered, float32 (N, L).
        evidence: Standard errors by which the held-out loss fell in the last round of measuring.
    """

    entering: frozenset[str]
    gates: tuple[LabelGate, ...]
    held_out: Probs
    evidence: float


def open_gate(
    measure: Measure,
    names: Sequence[str],
    counts: Mapping[str, int],
    without: Probs,
    truth: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32],
    progress: Progress,
) -> GateResult:
    """Measure the shots with generated texts, take out the labels that got worse, and measure again.

    Args:
        measure: Fits with generated texts of some labels.
        names: L label names.
        counts: How many texts of each label would enter.
        without: Held-out probabilities without generated texts, float32 (N, L).
        truth: int64 (N,).
        weights: float32 (N,), how much each shot counts, of mean 1 (``heads.shares.shot_weights``).
        progress: Called with the stage, the steps done and their total.
    """
    entering = frozenset(name for name in names if counts[name])
    before = _f1(without, truth, weights)
    f1_with: dict[str, float] = {}
    probs = without
    limit = _errors_of_luck(len(entering))  # Bonferroni (Dunn 1961): of many labels, one gets worse by luck
    for trial in range(1, ROUNDS + 1):
        if not entering:
            break
        probs = measure(entering, partial(progress, f"gate {trial}"))
        after = _f1(probs, truth, weights)
        f1_with |= {name: float(after[i]) for i, name in enumerate(names) if name in entering}
        falls = _in_standard_errors(_label_losses(without, truth) - _label_losses(probs, truth), weights)
        worse = {name for name, fall in zip(names, falls, strict=True) if name in entering and fall < -limit}
        if not worse:
            break
        entering = entering - worse if trial < ROUNDS else frozenset()
    evidence = float(_in_standard_errors(_losses(without, truth) - _losses(probs, truth), weights))
    if evidence < -_errors_of_luck(1):
        entering = frozenset()
    gates = tuple(
        LabelGate(name, counts[name], float(before[i]), f1_with.get(name, float(before[i])), name in entering)
        for i, name in enumerate(names)
    )
    return GateResult(entering, gates, probs if entering else without, evidence)


def accuracy(held_out: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> float:
    """Share of right answers, float32 (N, L) against int64 (N,), in [0, 1]; shot n counts ``weights[n]`` times."""
    return float(np.average(held_out.argmax(1) == truth, weights=weights.astype(np.float64)))


def _errors_of_luck(tests: int) -> float:
    """Standard errors that none of some tests exceeds by luck alone, but for a chance of ``LUCK``."""
    return NormalDist().inv_cdf(1 - LUCK / max(1, tests))


def _in_standard_errors(changes: npt.NDArray[np.float64], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Weighted mean over the first axis, N shots, in its standard errors; finite also where all change alike."""
    weighted = (changes.T * weights).T
    return np.asarray(weighted.mean(0) / np.maximum(weighted.std(0) / np.sqrt(len(weighted)), LEAST_ERROR))


def _losses(held_out: Probs, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Loss of each shot, float64 (N,)."""
    gold = held_out[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.maximum(gold, LEAST_PROBABILITY)))


def _label_losses(held_out: Probs, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Loss of each shot in telling each label from the rest, float64 (N, L): also what a label takes from others."""
    is_gold = np.eye(held_out.shape[1], dtype=bool)[truth]
    right = np.where(is_gold, held_out, 1 - held_out.astype(np.float64))
    return np.asarray(-np.log(np.maximum(right, LEAST_PROBABILITY)))


def _f1(held_out: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """F1 of each label, float64 (L,)."""
    eye = np.eye(held_out.shape[1])
    predicted, actual = eye[held_out.argmax(1)], eye[truth]  # (N, L)
    return np.asarray(2 * (weights @ (predicted * actual)) / np.maximum(weights @ (predicted + actual), 1))
