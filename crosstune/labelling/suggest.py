"""Suggests which texts of a log to label next, and measures what the last round of labelling brought.

The first round spreads over the labels that the descriptions alone give. Later rounds take the texts between whose two most probable
labels a head hesitates most (margin sampling; Scheffer et al. 2001). Near duplicates are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.backbone.configured import load_backbone
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint
from crosstune.config import DEFAULT_SEED, TrainConfig
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.similar_texts import SimilarTexts
from crosstune.data.task import Task
from crosstune.features.encoding import Rows, encode
from crosstune.filter.teacher import Folds, HeadFit, Probs
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.shares import log_expected, shot_weights


@dataclass(frozen=True)
class Suggestion:
    """A text to label.

    Attributes:
        text: The text, or a pair.
        guess: The most probable label.
        prob: Its probability, in [0, 1].
    """

    text: Text
    guess: str
    prob: float


@dataclass(frozen=True)
class RoundGain:
    """What the last round of labelling brought, on held-out labelled texts with labels counted as expected in use.

    Attributes:
        without: Accuracy of heads that did not learn from the last round, in [0, 1].
        with_round: Accuracy of heads that did, in [0, 1].
        standard_error: Of the difference.
    """

    without: float
    with_round: float
    standard_error: float

    @property
    def pays(self) -> bool:
        """Whether the last round gained more than chance explains (one standard error)."""
        return self.with_round - self.without > self.standard_error


def suggest_texts(
    checkpoint: Checkpoint,
    pool: Sequence[Text],
    number: int,
    *,
    seed: int = DEFAULT_SEED,
    backbone: Backbone | None = None,
    progress: Progress = no_progress,
) -> tuple[Suggestion, ...]:
    """Choose texts to label.

    Examples:
        >>> from crosstune import Example, LabelSet, train
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> examples = [Example("has my order left?", "ship"), Example("great service", "praise")]
        >>> pool = ["where is my parcel?", "Where is my parcel", "lovely, thank you", "my parcel is late"]
        >>> sorted(suggestion.guess for suggestion in suggest_texts(train(examples, labels), pool, 2))
        ['praise', 'ship']

    Args:
        checkpoint: A trained head; one without examples knows the descriptions only.
        pool: Texts without labels, or pairs. Those that the checkpoint has learned from are left out.
        number: How many to choose; fewer are returned where the pool has no more.
        seed: Decides which texts of a label are taken in the first round.
        backbone: The backbone of the checkpoint; loaded when None.
        progress: Called with the stage, the steps done and their total.

    Raises:
        BackboneError: The backbone cannot be loaded, or its digest differs.
    """
    texts = list(dict.fromkeys(pool))
    if not texts:
        return ()
    probs = checkpoint.predict_proba(texts, backbone=backbone, progress=progress)
    is_first = checkpoint.quality.cv_accuracy is None
    order = _spread(probs.argmax(1), seed) if is_first else _by_margin(probs)
    known = SimilarTexts()
    for example in checkpoint.examples:
        known.add(" ".join(example.parts))
    chosen: list[Suggestion] = []
    for i in order:
        if len(chosen) == number:
            break
        text = texts[i]
        joined = text if isinstance(text, str) else " ".join(text)
        if not known.contains(joined):
            known.add(joined)
            chosen.append(Suggestion(text, checkpoint.labels.names[int(probs[i].argmax())], float(probs[i].max())))
    return tuple(chosen)


def _spread(answers: npt.NDArray[np.int64], seed: int) -> Iterable[int]:
    """All rows: the first of each answer in an order that the seed decides, then the second of each, and so on."""
    order = np.random.RandomState(seed).permutation(len(answers))
    turn = np.zeros(len(answers), np.int64)
    for answer in np.unique(answers):
        of_answer = order[answers[order] == answer]
        turn[of_answer] = np.arange(len(of_answer))
    return (int(i) for i in order[np.argsort(turn[order], kind="stable")])


def _by_margin(probs: Probs) -> Iterable[int]:
    """All rows, those with the smallest difference of the two highest probabilities first."""
    top = np.sort(probs, 1)[:, -2:]
    return (int(i) for i in np.argsort(top[:, 1] - top[:, 0], kind="stable"))


def measure_round(
    examples: Sequence[Example],
    rounds: Sequence[int],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    progress: Progress = no_progress,
    where: str = "examples",
) -> RoundGain | None:
    """Measure what the last round of labelling brought.

    Heads are fitted with and without the texts of the last round, each on folds, and asked for the texts of the fold that is left out.

    Args:
        examples: N labelled texts of all rounds, each once.
        rounds: The round of each, N numbers.
        labels: The labels.
        config: Settings of the head; the defaults when None.
        backbone: A loaded backbone; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        progress: Called with the stage, the steps done and their total.
        where: What to call the examples in messages.

    Returns:
        The gain; None with texts of one label only, of which no head can be fitted.

    Raises:
        DataError: A label is unknown, a text has two labels, or a field cannot be used.
        BackboneError: The backbone cannot be loaded.
    """
    config = config or TrainConfig()
    if len({example.label for example in examples}) < 2:
        return None
    task = Task(labels, examples, where=where)
    backbone = backbone or load_backbone(config, device)
    encoded = encode(task, backbone, encoding_plan(config, backbone), cache_path=cache_path, progress=progress)
    is_earlier = np.array(rounds) < max(rounds)
    head = HeadFit(encoded, config)

    def without_last(shots: Rows, rows: Rows) -> Probs:
        return head(shots[is_earlier[shots]], rows)

    folds = Folds.assign(encoded.examples, config.seed)
    truth = encoded.targets
    weights = shot_weights(truth, log_expected(config.expected_shares, labels, truth)).cpu().numpy().astype(np.float64)
    hits = [
        (folds.held_out(fit)[0].argmax(-1) == truth.cpu().numpy()).mean(0) * weights for fit in (without_last, head)
    ]
    gain = hits[1] - hits[0]
    return RoundGain(float(hits[0].mean()), float(hits[1].mean()), float(gain.std() / np.sqrt(len(gain))))
