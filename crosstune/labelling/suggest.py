"""Suggests which texts of a log to label next, and measures what the last round of labelling brought.

The first round gives each label in turn the text that represents the texts with this guess best (transductive experimental design;
Yu et al. 2006). Later rounds take texts whose two most probable labels are about equally probable, since the head is least sure of
them (margin sampling; Scheffer et al. 2001). No round has near duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from crosstune.backbone.configured import load_backbone
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import BATCH_SIZE, Checkpoint
from crosstune.config import TrainConfig
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.similar_texts import SimilarTexts
from crosstune.data.task import Task
from crosstune.features.encoding import Rows, encode
from crosstune.features.pooling import pool_tokens, unit_length
from crosstune.filter.teacher import Folds, HeadFit, Probs
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.shares import log_chosen, log_expected, shot_weights

#: Penalty of the regression that the first round is the best for, as a share of the mean square of a text. Not ablated.
DESIGN_PENALTY = 0.1

#: Vectors of N texts, float64 (N, D).
Vectors: TypeAlias = npt.NDArray[np.float64]


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
        backbone: The backbone of the checkpoint; loaded when None.
        progress: Called with the stage, the steps done and their total.

    Raises:
        BackboneError: The backbone cannot be loaded, or its digest differs.
    """
    texts = list(dict.fromkeys(pool))
    if not texts:
        return ()
    probs, vectors = _probs_and_vectors(checkpoint, backbone or checkpoint.load_backbone(), texts, progress)
    guesses, joined = probs.argmax(1), [text if isinstance(text, str) else " ".join(text) for text in texts]
    known = SimilarTexts()
    for example in checkpoint.examples:
        known.add(" ".join(example.parts))

    def distinct(order: Iterable[int]) -> Iterator[int]:
        """Those that resemble no known text; each is known from then on."""
        for row in order:
            if not known.contains(joined[row]):
                known.add(joined[row])
                yield row

    shots = checkpoint.examples[: checkpoint.facts.shots]
    if shots:  # margins where labels count alike: shares of the log that few texts have shown would move them
        targets = torch.tensor(checkpoint.labels.indices(shots))
        chosen_more = log_chosen(checkpoint.config.log_shares, checkpoint.labels, targets)
        chosen = distinct(_by_margin(probs * (-chosen_more).exp().numpy()))
    else:
        by_guess = sorted((np.flatnonzero(guesses == label) for label in np.unique(guesses)), key=len, reverse=True)
        turns = zip_longest(*(distinct(_representative(vectors, rows)) for rows in by_guess))
        chosen = (row for turn in turns for row in turn if row is not None)
    return tuple(
        Suggestion(texts[row], checkpoint.labels.names[guesses[row]], float(probs[row].max()))
        for row in islice(chosen, number)
    )


def _probs_and_vectors(
    checkpoint: Checkpoint, backbone: Backbone, texts: Sequence[Text], progress: Progress
) -> tuple[Probs, Vectors]:
    """Class probabilities (N, L), and the mean state of each text in the last layer, of length 1, (N, D)."""
    probs, vectors = (
        np.empty((len(texts), len(checkpoint.labels)), np.float32),
        np.empty((len(texts), backbone.hidden_size)),
    )
    head, done = checkpoint.head.to(backbone.device), 0
    with torch.inference_mode():
        for chunk, hidden in backbone.batches(texts, BATCH_SIZE, checkpoint.tokens):
            probs[chunk] = head(hidden.states, hidden.mask)[0].cpu().numpy()
            mean = pool_tokens(hidden.states[-1].unsqueeze(2), hidden.mask, "mean", head.positions).squeeze(1)
            vectors[chunk] = unit_length(mean).cpu().numpy()
            done += len(chunk)
            progress("classify", done, len(texts))
    return probs, vectors


def _representative(vectors: Vectors, rows: Rows) -> Iterator[int]:
    """Some rows, each the one that explains most of what those before it leave unexplained, as a ridge regression would.

    With the products K of the rows, centred, the next row i has the greatest ``Σ_j K_ij² / (K_ii + λ)``; then its part
    ``K_·i K_i· / (K_ii + λ)`` is taken off K. K itself is not computed: it is ``M Vᵀ``, and only M changes.
    """
    vectors = vectors[rows] - vectors[rows].mean(0)
    squares = vectors.T @ vectors
    penalty = DESIGN_PENALTY * float(np.trace(squares)) / len(rows) + 1e-12
    m, m_squares = vectors.copy(), vectors @ squares
    left = np.ones(len(vectors), bool)
    while left.any():
        size = (m * vectors).sum(1) + penalty
        chosen = int(np.where(left, (m_squares * m).sum(1) / size, -np.inf).argmax())
        left[chosen] = False
        yield int(rows[chosen])
        row = m[chosen].copy()
        share = vectors @ row / size[chosen]
        m -= np.outer(share, row)
        m_squares -= np.outer(share, squares @ row)


def _by_margin(probs: Probs) -> Iterable[int]:
    """All rows, those with the smallest difference of the two highest probabilities first."""
    top = np.sort(probs / probs.sum(1, keepdims=True), 1)[:, -2:]
    return (int(i) for i in np.argsort(top[:, -1] - top[:, 0], kind="stable"))


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
