"""What the noise filter decided for each generated text, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.augmentation.screening import REASONS
from crosstune.core.strict_text import Json
from crosstune.core.training_facts import FilterFacts
from crosstune.data.examples import Example, example_row
from crosstune.filter.label_gate import LabelGate

DISAGREES, UNSURE, GATED = "teacher disagrees", "teacher unsure", "gate"
#: All reasons and their meaning, in the order in which they are checked.
FILTER_REASONS = {
    **REASONS,
    DISAGREES: "the teacher gives it another label, and surely enough",
    UNSURE: "the teacher gives it its label, but not surely enough where so many are wrong",
    GATED: "its label is held out better without generated texts",
}


@dataclass(frozen=True)
class Judged:
    """A generated text and the filter's decision.

    Attributes:
        example: The text with the requested label.
        reason: Why it was dropped, one of ``FILTER_REASONS``; None when kept.
        teacher_label: The label that the teacher gives.
        teacher_prob: The teacher's probability of that label, in [0, 1].
        label_prob: The teacher's probability of the requested label, in [0, 1].
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
        gates: One entry a label; empty when the gate was off or no text came to it.
        noise: Estimated share of mislabelled texts among those that the teacher judged, in [0, 1].
        threshold: Probability that the teacher had to give a text's label, in [0, 1].
        teacher_accuracy: Accuracy of the teacher on held-out shots, in [0, 1].
        accuracy_without: Held-out accuracy of the head on the shots without generated texts, in [0, 1].
        accuracy_with: The same with the kept texts; equal when none was kept, None when the gate was off and nothing was measured.
        evidence: Standard errors by which the held-out loss on the shots fell in the gate's last measurement.
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
    def kept_rows(self) -> npt.NDArray[np.int64]:
        """Their places among the judged texts, int64 (K,)."""
        return np.flatnonzero([item.reason is None for item in self.judged])

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
    def facts(self) -> FilterFacts:
        """The figures without the texts; a checkpoint keeps them."""
        return FilterFacts(
            offered=len(self.judged),
            kept=len(self.kept),
            dropped=self.reasons,
            noise=self.noise,
            threshold=self.threshold,
            teacher_accuracy=self.teacher_accuracy,
            accuracy_without=self.accuracy_without,
            accuracy_with=self.accuracy_with,
            evidence=self.evidence,
        )

    def to_json(self) -> dict[str, Json]:
        """The whole result."""
        return {
            **self.facts.to_json(),
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
