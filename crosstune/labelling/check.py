"""Finds labels that look wrong: by the head's own held-out answers, by near duplicates, and by the descriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from crosstune.backbone.configured import load_backbone
from crosstune.backbone.frozen import Backbone
from crosstune.config import TrainConfig
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress, stage_progress
from crosstune.core.strict_text import Json
from crosstune.data.checks import check_fields
from crosstune.data.examples import Example
from crosstune.data.labels import check_labels
from crosstune.data.similar_texts import SimilarTexts, normalized
from crosstune.data.task import Task
from crosstune.features.encoding import encode
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.fit import fit_head

#: Share of the examples, those with the highest loss, among which suspects are looked for. With 10% of the labels wrong, it holds 74%
#: of them (``benchmarks/accuracy/wrong_labels.py``).
REVIEWED_SHARE = 0.2
#: A label with fewer examples cannot be judged on folds, and its suspects mean little. Chosen by hand.
FEW_EXAMPLES = 4
#: Area under the ROC curve below which the descriptions do not tell two labels apart; 0.5 is chance. Chosen by hand.
LEAST_AUC = 0.65


@dataclass(frozen=True)
class Suspect:
    """An example whose label looks wrong.

    Attributes:
        example: The example.
        suggested: The label that a head gives which did not learn from the example.
        suggested_prob: Its probability, in [0, 1].
        label_prob: The probability of the example's own label, in [0, 1].
    """

    example: Example
    suggested: str
    suggested_prob: float
    label_prob: float


@dataclass(frozen=True)
class Conflict:
    """Two examples with the same text, or nearly so, under two labels."""

    one: Example
    other: Example

    @property
    def is_exact(self) -> bool:
        """Whether the texts differ in case, punctuation and white space at most."""
        return _joined(self.one) == _joined(self.other)


@dataclass(frozen=True)
class Confusable:
    """Two labels that their descriptions do not tell apart.

    Attributes:
        one: A label.
        other: Another one.
        auc: Area under the ROC curve with which the descriptions alone separate their examples, in [0, 1]; 0.5 is chance.
    """

    one: str
    other: str
    auc: float


@dataclass(frozen=True)
class LabelCheck:
    """What was found.

    Attributes:
        examples: How many examples were checked.
        suspects: Examples whose label looks wrong, the most suspect first.
        conflicts: All pairs of examples with almost the same text and different labels.
        confusable: Pairs of labels that descriptions do not tell apart.
        few: Labels with fewer than ``FEW_EXAMPLES`` examples, and how many they have.
        held_out_accuracy: Accuracy on held-out folds with labels counted alike, in [0, 1]; None where it cannot be measured.
    """

    examples: int
    suspects: tuple[Suspect, ...]
    conflicts: tuple[Conflict, ...]
    confusable: tuple[Confusable, ...]
    few: tuple[tuple[str, int], ...]
    held_out_accuracy: float | None

    def to_json(self) -> dict[str, Json]:
        """All findings, as ``crosstune check --output`` writes them."""
        return {
            "examples": self.examples,
            "held_out_accuracy": self.held_out_accuracy,
            "suspects": [
                {
                    **_row(found.example),
                    "suggested": found.suggested,
                    "suggested_prob": round(found.suggested_prob, 4),
                    "label_prob": round(found.label_prob, 4),
                }
                for found in self.suspects
            ],
            "conflicts": [
                {
                    "kind": "same text" if found.is_exact else "near duplicate",
                    "rows": [_row(found.one), _row(found.other)],
                }
                for found in self.conflicts
            ],
            "confusable": [
                {"labels": [found.one, found.other], "auc": round(found.auc, 4)} for found in self.confusable
            ],
            "few": [{"label": label, "examples": count} for label, count in self.few],
        }


def check_examples(
    examples: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    progress: Progress = no_progress,
    where: str = "examples",
) -> LabelCheck:
    """Look for wrong labels. Nothing is changed: the findings are for a person to look through.

    Examples:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> rows = [Example("where is it", "ship"), Example("so happy", "praise"), Example("Where is it?", "praise")]
        >>> check_examples(rows, labels).conflicts[0].other.text
        'Where is it?'

    Args:
        examples: Labelled texts; a text may stand under several labels.
        labels: The labels and their descriptions.
        config: Settings of the default head; the defaults when None.
        backbone: A loaded backbone; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        progress: Called with the stage, the steps done and their total.
        where: What to call the examples in messages.

    Raises:
        DataError: A label is unknown, or a field cannot be used.
        BackboneError: The backbone cannot be loaded.
        ResourceError: The cache cannot be written.
    """
    config = config or TrainConfig()
    check_fields(examples, where)
    check_labels(examples, labels, where)
    counts = Counter(example.label for example in examples)
    distinct = list({(example.content, example.label): example for example in reversed(examples)}.values())[::-1]
    of_text = Counter(example.content for example in distinct)
    task = Task(labels, [example for example in distinct if of_text[example.content] == 1], where=where)
    backbone = backbone or load_backbone(config, device)
    encoded = encode(task, backbone, encoding_plan(config, backbone), cache_path=cache_path, progress=progress)
    fitted = fit_head(encoded, np.arange(encoded.shots), config, stage_progress(progress, "fit head"))
    by_descriptions = fit_head(encoded, np.arange(0), config).probs(encoded.texts)
    targets = np.array(labels.indices(encoded.examples), np.int64)
    return LabelCheck(
        examples=len(examples),
        suspects=_suspects(encoded.examples, fitted.held_out, targets, labels.names),
        conflicts=_conflicts(distinct),
        confusable=_confusable(by_descriptions, targets, labels.names),
        few=tuple((name, counts[name]) for name in labels.names if counts[name] < FEW_EXAMPLES),
        held_out_accuracy=fitted.facts.quality.cv_accuracy,
    )


def _suspects(
    examples: Sequence[Example],
    held_out: npt.NDArray[np.float32],
    targets: npt.NDArray[np.int64],
    names: Sequence[str],
) -> tuple[Suspect, ...]:
    """Of the examples with the highest held-out loss those to which the head gives another label."""
    if not len(held_out):
        return ()
    label_probs = held_out[np.arange(len(targets)), targets]
    order = np.argsort(label_probs, kind="stable")[: int(np.ceil(REVIEWED_SHARE * len(targets)))]
    answers = held_out.argmax(1)
    return tuple(
        Suspect(examples[i], names[answers[i]], float(held_out[i].max()), float(label_probs[i]))
        for i in order
        if answers[i] != targets[i]
    )


def _conflicts(examples: Sequence[Example]) -> tuple[Conflict, ...]:
    index, found = SimilarTexts(), []
    for example in examples:
        text = " ".join(example.parts)
        near = [examples[i] for i in index.near(text)]
        found += [Conflict(other, example) for other in near if other.label != example.label]
        index.add(text)
    return tuple(sorted(found, key=lambda conflict: not conflict.is_exact))


def _confusable(
    probs: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], names: Sequence[str]
) -> tuple[Confusable, ...]:
    """Pairs of labels whose examples the descriptions alone do not tell apart, the least separated first."""
    logs = np.log(np.maximum(probs.astype(np.float64), 1e-30))
    rows = [np.flatnonzero(targets == label) for label in range(len(names))]
    found = []
    for one in range(len(names)):
        for other in range(one + 1, len(names)):
            n, m = len(rows[one]), len(rows[other])
            if min(n, m) < FEW_EXAMPLES:
                continue
            both = np.concatenate([rows[one], rows[other]])
            ranks = rankdata(np.round(logs[both, one] - logs[both, other], 4))  # the same description is a tie
            auc = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)  # Mann-Whitney
            if auc < LEAST_AUC:
                found.append(Confusable(names[one], names[other], float(auc)))
    return tuple(sorted(found, key=lambda pair: pair.auc))


def _joined(example: Example) -> str:
    return "\n".join(map(normalized, example.parts))


def _row(example: Example) -> dict[str, Json]:
    row: dict[str, Json] = {"line": example.line, "text": example.text, "label": example.label}
    return row if example.text_pair is None else row | {"text_pair": example.text_pair}
