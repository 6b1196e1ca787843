"""The switch: which generated texts to believe, text by text, and then whether a label is better off with them.

1. What can be seen without a model goes first: copies, echoes, refusals, placeholders (``screening``).
2. A teacher fitted on the real shots only must leave the label that a text was asked for twice as likely right as wrong. How
   many labels are wrong at all is estimated from what the teacher makes of all texts.
3. A gate for each label: generated texts enter only where held-out F1 on the *real* shots does not drop, and all of them
   only where held-out accuracy does not drop and the loss does not rise; what luck explains is no drop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.augmentation.endpoint import REMOVED
from crosstune.augmentation.prompts import canary, instructions
from crosstune.augmentation.screening import REASONS, Screen
from crosstune.backbone.frozen import FrozenBackbone
from crosstune.config import TrainConfig
from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import no_progress
from crosstune.core.strict_text import Json
from crosstune.data.examples import Example, example_row
from crosstune.data.labels import check_labels
from crosstune.filter.label_gate import GateResult, LabelGate, accuracy, open_gate
from crosstune.filter.teacher import Fit, Folds, HeadFit

DISAGREES, UNSURE, GATED = "teacher disagrees", "teacher unsure", "gate"
#: All reasons and what they mean; the order is that in which they are looked for.
FILTER_REASONS = {
    **REASONS,
    DISAGREES: "the teacher gives it another label, and surely enough",
    UNSURE: "the teacher gives it its label, but not surely enough where so many are wrong",
    GATED: "its label is held out better without generated texts",
}
#: How much likelier than wrong a kept label must be right.
ODDS = 2.0
#: The share of wrong labels is never taken to be less than this, nor more than the rest.
LEAST_NOISE = 0.01


@dataclass(frozen=True)
class Judged:
    """A generated text and what became of it.

    Attributes:
        example: The text with the label it was asked for.
        reason: Why it was dropped, one of ``FILTER_REASONS``; None when kept.
        teacher_label: What the teacher says.
        teacher_prob: The teacher's probability of that label, in [0, 1].
        label_prob: The teacher's probability of the label it was asked for, in [0, 1].
    """

    example: Example
    reason: str | None
    teacher_label: str
    teacher_prob: float
    label_prob: float

    def to_json(self) -> dict[str, Json]:
        """One row of the result."""
        return {
            **example_row(self.example),
            "reason": self.reason,
            "teacher_label": self.teacher_label,
            "teacher_prob": round(self.teacher_prob, 6),
            "label_prob": round(self.label_prob, 6),
        }


@dataclass(frozen=True)
class FilterResult:
    """Every generated text, judged, in the order it came.

    Attributes:
        judged: All texts; ``kept`` and ``dropped`` are the two parts of it.
        gates: One entry a label; empty when the gate was off or nothing had come to it.
        noise: Share of the texts at the teacher's that seem to be under a wrong label, in [0, 1].
        threshold: The least probability that the teacher had to give to a text's label, in [0, 1].
        teacher_accuracy: Of the teacher on shots that it had not seen, in [0, 1].
        accuracy_without: Held-out accuracy of the head on the real shots, without generated texts, in [0, 1].
        accuracy_with: The same with those that entered; equal when none did, None when the gate was off and nobody looked.
        evidence: By how many of its standard errors the held-out loss on real shots fell with the texts that knocked last.
    """

    judged: tuple[Judged, ...]
    gates: tuple[LabelGate, ...]
    noise: float
    threshold: float
    teacher_accuracy: float
    accuracy_without: float
    accuracy_with: float | None
    evidence: float

    @property
    def kept(self) -> tuple[Example, ...]:
        """Texts to train on."""
        return tuple(item.example for item in self.judged if item.reason is None)

    @property
    def dropped(self) -> tuple[Judged, ...]:
        """Texts not to train on, each with its reason."""
        return tuple(item for item in self.judged if item.reason is not None)

    @property
    def reasons(self) -> dict[str, int]:
        """Dropped texts by reason."""
        counts = {reason: sum(item.reason == reason for item in self.judged) for reason in FILTER_REASONS}
        return {reason: n for reason, n in counts.items() if n}

    @property
    def summary(self) -> dict[str, Json]:
        """The figures without the texts; a checkpoint keeps them."""
        return {
            "offered": len(self.judged),
            "kept": len(self.kept),
            "dropped": dict(self.reasons),
            "noise": self.noise,
            "threshold": self.threshold,
            "teacher_accuracy": self.teacher_accuracy,
            "accuracy_without": self.accuracy_without,
            "accuracy_with": self.accuracy_with,
            "evidence": self.evidence,
        }

    def to_json(self) -> dict[str, Json]:
        """The whole result."""
        return {
            **self.summary,
            "gates": [
                {
                    "label": gate.label,
                    "texts": gate.texts,
                    "f1_without": gate.f1_without,
                    "f1_with": gate.f1_with,
                    "enters": gate.enters,
                }
                for gate in self.gates
            ],
            "texts": [item.to_json() for item in self.judged],
        }


def filter_generated(
    generated: Sequence[Example],
    shots: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    backbone: FrozenBackbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    teacher: Fit | None = None,
    gate: bool = True,
    progress: Callable[[str, int, int], None] = no_progress,
    where: str = "generated",
) -> FilterResult:
    """Judge generated texts against real shots.

    Example:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> shots = [Example(f"where is parcel {i}", "ship") for i in "abcd"]
        >>> shots += [Example(f"thank you, {who}", "praise") for who in ("Ann", "Bob", "Cy", "Di")]
        >>> generated = [Example("where is my parcel?", "ship"), Example("where is my box?", "praise")]
        >>> result = filter_generated(generated, shots, labels, gate=False)
        >>> [item.reason for item in result.judged]
        [None, 'teacher disagrees']

    Args:
        generated: Texts with the labels they were asked for; a text may stand there more than once.
        shots: Real texts, at least two labels of them with two or more.
        labels: The labels.
        config: Settings of the head, also for the gate; the defaults when None.
        backbone: A loaded backbone; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        teacher: Fits on shots and answers texts; the head itself when None.
        gate: Whether labels have to pass the gate.
        progress: Called with the stage, the steps done and their total.
        where: What to call the generated texts in messages.

    Raises:
        DataError: A label is unknown, there are too few shots, or pairs and single texts are mixed.
        BackboneError: The backbone cannot be loaded.
    """
    config = config or TrainConfig()
    check_labels(generated, labels, where)
    check_labels(shots, labels, "shots")
    _check_shots(shots, generated, where)
    backbone = backbone or FrozenBackbone.load(
        config.backbone, device=device, max_length_tokens=config.max_length_tokens
    )
    said = [*instructions(), *labels.names, *(text for label in labels for text in label.descriptions)]
    screen = Screen([" ".join(shot.parts) for shot in shots], said, (canary(), REMOVED))
    reasons = [screen.reason(" ".join(item.parts)) for item in generated]

    folds = Folds.deal(shots, config.seed)
    head = HeadFit(labels, config, backbone, cache_path)
    contents = [item.content for item in generated]
    truth = np.array(labels.indices(shots))
    by_teacher, by_fit = folds.held_out(shots, teacher or head, contents, partial(progress, "teacher"))
    probs = by_fit.mean(0)  # (M, L)
    asked = np.array(labels.indices(generated), dtype=np.int64)
    label_probs = by_fit[:, np.arange(len(asked)), asked]  # (R * FOLDS, M)
    at_gate = [i for i, reason in enumerate(reasons) if reason is None]
    noise = share_of_wrong(label_probs.mean(0)[at_gate], len(labels))
    threshold = least_probability(noise, len(labels))
    for i in at_gate:
        if probs[i][asked[i]] < threshold:
            reasons[i] = UNSURE if probs[i].argmax() == asked[i] else DISAGREES

    without = by_teacher if teacher is None else folds.held_out(shots, head)[0]
    opened = GateResult(frozenset(labels.names), (), without, 0.0)
    if gate and any(reason is None for reason in reasons):
        # A fold's own fit decides which texts go with it: that of all folds has seen the shots that the fold is measured on.
        least = [least_probability(share_of_wrong(row[at_gate], len(labels)), len(labels)) for row in label_probs]
        offered = [
            [generated[i] for i in at_gate if row[i] >= own] for row, own in zip(label_probs, least, strict=True)
        ]
        counts = {
            name: sum(r is None and item.label == name for item, r in zip(generated, reasons, strict=True))
            for name in labels.names
        }
        opened = open_gate(offered, counts, shots, folds, head, without, truth, progress)
        reasons = [
            GATED if reason is None and item.label not in opened.entering else reason
            for item, reason in zip(generated, reasons, strict=True)
        ]
    judged = tuple(
        Judged(item, reason, labels.names[int(row.argmax())], float(row.max()), float(row[index]))
        for item, reason, row, index in zip(generated, reasons, probs, asked, strict=True)
    )
    return FilterResult(
        judged=judged,
        gates=opened.gates,
        noise=noise,
        threshold=threshold,
        teacher_accuracy=accuracy(by_teacher, truth),
        accuracy_without=accuracy(without, truth),
        accuracy_with=accuracy(opened.held_out, truth) if gate else None,
        evidence=opened.evidence,
    )


def share_of_wrong(label_probs: npt.NDArray[np.float32], labels: int) -> float:
    """The share of texts under a wrong label that makes the teacher's probabilities of their labels likeliest.

    A text of label y is taken to be asked for as y with probability 1 − ε, and as any other label with ε / (L − 1). Then
    the likelihood of ε is ``Π_m (1 − ε) p_m + ε / (L − 1) · (1 − p_m)``. Its logarithm is concave: the slope is bisected.

    Args:
        label_probs: float32 (M,), the teacher's probabilities of the labels that were asked for; M may be 0.
        labels: L, at least 2.

    Returns:
        ε, in [0.01, 0.99].
    """
    right = label_probs.astype(np.float64)
    wrong = (1 - right) / (labels - 1)
    low, high = LEAST_NOISE, 1 - LEAST_NOISE
    for _ in range(20):  # to a millionth
        noise = (low + high) / 2
        if ((wrong - right) / ((1 - noise) * right + noise * wrong)).sum() > 0:
            low = noise
        else:
            high = noise
    return low


def least_probability(noise: float, labels: int) -> float:
    """What the teacher must give a text's label, so that the label is ``ODDS`` times as likely right as wrong.

    Example:
        >>> round(least_probability(0.3, 2), 2), round(least_probability(0.3, 6), 2)
        (0.46, 0.15)

    Args:
        noise: ε, the share of texts under a wrong label, in (0, 1).
        labels: L, at least 2.

    Returns:
        In (0, 1): ``o ε / (o ε + (1 − ε) (L − 1))`` with the odds o.
    """
    return ODDS * noise / (ODDS * noise + (1 - noise) * (labels - 1))


def _check_shots(shots: Sequence[Example], generated: Sequence[Example], where: str) -> None:
    counts = Counter(shot.label for shot in shots)
    if sum(n >= 2 for n in counts.values()) < 2:
        raise DataError(
            f"{where}: the real examples have {len(counts)} labels with {len(shots)} texts, expected two labels with two texts "
            "or more. Label a few more."
        )
    if len({item.text_pair is None for item in (*shots, *generated)}) > 1:
        raise DataError(f"{where}: pairs and single texts are mixed with the real examples. Give both the same kind.")
