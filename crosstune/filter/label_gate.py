"""The gate: generated texts of a label enter only if held-out answers on the real examples get no worse with them.

With 16 real texts per label, one answer more or less is mostly luck. A gate that closes at every fall closes half the time on
useful texts. So a fall counts only when it is larger than luck explains, however many labels are looked at.
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
#: Chance that a fall of accuracy counts though it is luck, or a rise of the loss, or a fall of the F1 of one of all labels.
LUCK = 0.05
#: A standard error below this is rounding.
LEAST_ERROR = 1e-9
#: Bootstrap samples of the shots for the standard error of a difference of F1 (Efron 1979); at 200 the error of the error is 5%.
BOOTSTRAP_SAMPLES = 200

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
    limit = _errors_of_luck(len(entering))  # Bonferroni (Dunn 1961): of many labels, one falls by luck
    for trial in range(1, ROUNDS + 1):
        if not entering:
            break
        probs = measure(entering, partial(progress, f"gate {trial}"))
        after = _f1(probs, truth, weights)
        f1_with |= {name: float(after[i]) for i, name in enumerate(names) if name in entering}
        is_worse = before - after > limit * _error_of_f1(without, probs, truth, weights)
        worse = {name for i, name in enumerate(names) if name in entering and is_worse[i]}
        if not worse:
            break
        entering = entering - worse if trial < ROUNDS else frozenset()
    evidence = _evidence(without, probs, truth, weights)
    gain = _in_standard_errors((_hits(probs, truth) - _hits(without, truth)) * weights)
    if min(gain, evidence) < -_errors_of_luck(1):
        entering = frozenset()
    gates = tuple(
        LabelGate(name, counts[name], float(before[i]), f1_with.get(name, float(before[i])), name in entering)
        for i, name in enumerate(names)
    )
    return GateResult(entering, gates, probs if entering else without, evidence)


def accuracy(held_out: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> float:
    """Share of right answers, float32 (N, L) against int64 (N,), in [0, 1]; shot n counts ``weights[n]`` times."""
    return float(np.average(_hits(held_out, truth), weights=weights.astype(np.float64)))


def _errors_of_luck(tests: int) -> float:
    """Standard errors that none of some tests exceeds by luck alone, but for a chance of ``LUCK``."""
    return NormalDist().inv_cdf(1 - LUCK / max(1, tests))


def _evidence(before: Probs, after: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> float:
    """Mean fall of the loss over shots, in standard errors of that mean; 0 where nothing changed."""
    return _in_standard_errors((_losses(before, truth) - _losses(after, truth)) * weights)


def _in_standard_errors(changes: npt.NDArray[np.float64]) -> float:
    """Mean of the changes of N shots, in its standard errors; finite also where all change alike."""
    return float(changes.mean() / max(changes.std() / np.sqrt(len(changes)), LEAST_ERROR))


def _hits(held_out: Probs, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """1 for each shot that is answered rightly, else 0, float64 (N,)."""
    return np.asarray(held_out.argmax(1) == truth, np.float64)


def _losses(held_out: Probs, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Loss of each shot, float64 (N,)."""
    gold = held_out[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.maximum(gold, 1e-6)))


def _f1(held_out: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """F1 of each label, float64 (L,): recall alone does not show what a label takes from others."""
    return np.asarray(_f1_of_samples(held_out, truth, weights.astype(np.float64).reshape(1, -1))[0])


def _f1_of_samples(
    held_out: Probs, truth: npt.NDArray[np.int64], samples: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """F1 of each label where shot n counts ``samples[b, n]`` times, float64 (B, L)."""
    eye = np.eye(held_out.shape[1])
    predicted, actual = eye[held_out.argmax(1)], eye[truth]  # (N, L)
    hits = predicted * eye[truth]
    return np.asarray(2 * (samples @ hits) / np.maximum(samples @ (predicted + actual), 1))


def _error_of_f1(
    before: Probs, after: Probs, truth: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Standard error of the difference of F1 of each label, by the bootstrap over shots, float64 (L,)."""
    random = np.random.RandomState(0)
    drawn = random.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), BOOTSTRAP_SAMPLES)
    samples = np.multiply(drawn, weights, dtype=np.float64)
    return np.asarray((_f1_of_samples(after, truth, samples) - _f1_of_samples(before, truth, samples)).std(0))
