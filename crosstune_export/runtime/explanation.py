"""Explanations: how much the log-odds of each label drop when a word is removed from the text.

Shapes: W words, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstune.core.reports.notebook import notebook_words
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import TokenRow
from crosstune_export.runtime.prediction import Prediction
from crosstune_export.runtime.tokenization import Word

#: Words in the short form of an explanation.
_SHOWN = 5
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WordEvidence:
    """The evidence of one word for each label.

    Attributes:
        word: The word.
        start: Offset of its start, in code points of its text.
        end: Offset of its end.
        part: 0, or 1 for a word of the second text of a pair.
        evidence: float32 (L,), by how much the log-odds ``log(p / (1 - p))`` of each label drop without the word: positive for
            the label, negative against it.
    """

    word: str
    start: int
    end: int
    part: int
    evidence: Floats = field(repr=False, compare=False)


@dataclass(frozen=True, repr=False)
class Explanation:
    """A prediction with the evidence of each word.

    Attributes:
        prediction: The result of ``Classifier.classify``.
        words: Words in text order, without those beyond the maximum length.
        text_pair: Whether the input is a pair of texts.
    """

    prediction: Prediction
    words: tuple[WordEvidence, ...]
    text_pair: bool = False

    def __repr__(self) -> str:
        strongest = sorted(self.weights, key=lambda item: -abs(item[1]))[:_SHOWN]
        return (
            f"Explanation({self.prediction.title}: {', '.join(f'{word} {weight:+.2f}' for word, weight in strongest)})"
        )

    def _repr_html_(self) -> str:
        return notebook_words(self.prediction.title, self.weights)

    @property
    def weights(self) -> list[tuple[str, float]]:
        """The words in text order, each with its evidence for the most probable label, in log-odds."""
        column = int(self.prediction.probs.argmax())
        return [(word.word, float(word.evidence[column])) for word in self.words]

    def to_json(self, labels: Sequence[str] | None = None, top_k: int | None = None) -> dict[str, Json]:
        """Return ``Prediction.to_json`` with a list ``words``, which has the evidence for the same labels.

        Args:
            labels: L names; None for those of the classifier.
            top_k: Number of labels, most probable first; None for all.
        """
        labels = self.prediction.labels if labels is None else labels
        shown = self.prediction.shown(top_k)
        rows: list[Json] = []
        for word in self.words:
            row: dict[str, Json] = {"word": word.word, "start": word.start, "end": word.end}
            if self.text_pair:
                row["of"] = ("text", "text_pair")[word.part]
            evidence: Json = {labels[i]: round(float(word.evidence[i]), 4) for i in shown}
            rows.append(row | {"evidence": evidence})
        return {**self.prediction.to_json(labels, top_k), "words": rows}


def word_evidence(
    row: TokenRow, words: Sequence[Word], probs: Floats, predict: Callable[[Sequence[TokenRow]], Floats]
) -> tuple[WordEvidence, ...]:
    """Compute the evidence of each word by removing it from the text.

    Args:
        row: Token ids of the complete text.
        words: W words of the text.
        probs: float32 (L,), probabilities of the complete text.
        predict: Computes probabilities, float32 (W, L), of W rows.
    """
    if not words:
        return ()
    complete, without = log_odds(probs[None]), log_odds(predict([row.without(word.tokens) for word in words]))
    return tuple(
        WordEvidence(word.text, word.start, word.end, word.part, evidence)
        for word, evidence in zip(words, (complete - without).astype(np.float32), strict=True)
    )


def log_odds(probs: Floats) -> npt.NDArray[np.float64]:
    """Return ``log p - log(sum of the other probabilities)``, float64 (N, L), which stays finite if p rounds to 1 in float32.

    Examples:
        >>> log_odds(np.array([[0.5, 0.5], [1.0, 1e-12]], np.float32)).round(1).tolist()
        [[0.0, 0.0], [27.6, -27.6]]
    """
    p = np.maximum(probs.astype(np.float64), 1e-38)  # the smallest normal float32, to avoid log(0)
    others = p @ (1 - np.eye(p.shape[1]))
    return np.asarray(np.log(p) - np.log(others))
