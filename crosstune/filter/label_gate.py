"""The gate: which labels' generated texts make held-out answers on the real examples no worse, as far as these can tell.

With 16 real texts a label one answer more or less is a matter of luck, and a gate that closes at each closes half the time on texts
that do good. So a fall counts when it is more than luck explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from crosstune.data.examples import Example
from crosstune.filter.teacher import Folds, HeadFit

#: How often labels are taken out before all of them are.
ROUNDS = 3
#: A fall of F1 or accuracy counts from so many standard errors on (one-sided, at 5 %), a rise of the loss, which sees more, earlier.
FALL, RISE = 1.64, 1.0
#: Below this a standard error is the rounding of numbers that are the same.
LEAST_ERROR = 1e-9
#: Draws of the shots with replacement from which the standard error of a difference of F1 is taken (Efron 1979).
DRAWS = 200


@dataclass(frozen=True)
class LabelGate:
    """What the gate saw of a label: how many texts knocked, and held-out F1 on real shots without and with them."""

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
        gates: What was seen of each label.
        held_out: Answers on the shots with what entered, float32 (R, N, L).
        evidence: By how many of its standard errors the held-out loss fell with the texts that knocked last.
    """

    entering: frozenset[str]
    gates: tuple[LabelGate, ...]
    held_out: npt.NDArray[np.float32]
    evidence: float


def open_gate(
    offered: Sequence[Sequence[Example]],
    counts: Mapping[str, int],
    shots: Sequence[Example],
    folds: Folds,
    head: HeadFit,
    without: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int64],
    progress: Callable[[str, int, int], None],
) -> GateResult:
    """Measure the shots with generated texts, take out the labels that got worse, and measure again.

    Args:
        offered: For each of the R · ``FOLDS`` fits the texts that go with it. They must not be chosen by anything that has
            seen the shots which that fit is measured on, or the gate opens to everything.
        counts: How many texts of each label would enter.
        shots: N shots.
        folds: Their folds.
        head: What is fitted.
        without: Held-out answers without generated texts, float32 (R, N, L).
        truth: int64 (N,).
        progress: Called with the stage, the steps done and their total.
    """
    names = head.labels.names
    entering = {name for name in names if counts[name]}
    before = _f1(without, truth)
    seen: dict[str, float] = {}
    answers = without
    for trial in range(ROUNDS):
        if not entering:
            break
        heads = [replace(head, generated=tuple(item for item in texts if item.label in entering)) for texts in offered]
        answers, _ = folds.held_out(shots, heads, (), partial(progress, f"gate {trial + 1}"))
        after = _f1(answers, truth)
        seen |= {name: float(after[i]) for i, name in enumerate(names) if name in entering}
        fallen = before - after > FALL * _error_of_f1(without, answers, truth)
        worse = {name for i, name in enumerate(names) if name in entering and fallen[i]}
        if not worse:
            break
        entering = entering - worse if trial + 1 < ROUNDS else set()
    evidence = _evidence(without, answers, truth)
    if _standard(_right(answers, truth) - _right(without, truth)) < -FALL or evidence < -RISE:
        entering = set()
    gates = tuple(
        LabelGate(name, counts[name], float(before[i]), seen.get(name, float(before[i])), name in entering)
        for i, name in enumerate(names)
    )
    return GateResult(frozenset(entering), gates, answers if entering else without, evidence)


def accuracy(held_out: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Share of right answers, float32 (..., N, L) against int64 (N,), in [0, 1]."""
    return float((held_out.argmax(-1) == truth).mean())


def _evidence(before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """Mean fall of the loss over shots, in standard errors of that mean; 0 where nothing changed."""
    return _standard(_losses(before, truth) - _losses(after, truth))


def _standard(changes: npt.NDArray[np.float64]) -> float:
    """Mean of the shots' changes, in its standard errors; finite also where all change alike."""
    return float(changes.mean() / max(changes.std() / np.sqrt(len(changes)), LEAST_ERROR))


def _right(held_out: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of repeats in which each shot is answered rightly, float64 (N,)."""
    return np.asarray((held_out.argmax(-1) == truth).mean(0))


def _losses(held_out: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Loss of each shot on the mean of repeats, float64 (N,)."""
    gold = held_out[:, np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.maximum(gold, 1e-6)).mean(0))


def _f1(held_out: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """F1 of each label over all repeats, float64 (L,): recall alone would not see what a label takes from others."""
    return np.asarray(_f1_of_draws(held_out, truth, np.ones((1, len(truth))))[0])


def _f1_of_draws(
    held_out: npt.NDArray[np.float32], truth: npt.NDArray[np.int64], draws: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """F1 of each label where shot n counts ``draws[b, n]`` times, float64 (B, L)."""
    eye = np.eye(held_out.shape[-1])
    given, there = eye[held_out.argmax(-1)].sum(0), len(held_out) * eye[truth]  # (N, L): answers and truth over repeats
    hits = given * eye[truth]
    return np.asarray(2 * (draws @ hits) / np.maximum(draws @ (given + there), 1))


def _error_of_f1(
    before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Standard error of the difference of F1 of each label, by drawing the shots anew, float64 (L,)."""
    random = np.random.RandomState(0)
    draws = random.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), DRAWS).astype(np.float64)
    return np.asarray((_f1_of_draws(after, truth, draws) - _f1_of_draws(before, truth, draws)).std(0))
