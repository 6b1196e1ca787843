"""Which words of a text speak for which label: what the log-odds of each label lose when a word is left out.

Shapes: W words, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from crosstune.core.strict_text import Json
from crosstune.core.token_layout import TokenRow
from crosstune_export.runtime.prediction import Prediction
from crosstune_export.runtime.tokenization import Word

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WordEvidence:
    """What one word says.

    Attributes:
        word: As it stands in the text.
        start: Where it begins, in code points of its text.
        end: Where it ends.
        part: 0, or 1 for a word of the second text of a pair.
        evidence: float32 (L,), what the log-odds ``log(p / (1 - p))`` of each label lose without the word: above 0 the word
            speaks for the label, below 0 against it.
    """

    word: str
    start: int
    end: int
    part: int
    evidence: Floats = field(repr=False, compare=False)


@dataclass(frozen=True)
class Explanation:
    """An answer and its reasons.

    Attributes:
        prediction: As ``Classifier.classify`` gives it.
        words: In the order of the text; words that were cut off are not among them.
        text_pair: Whether the text is two.
    """

    prediction: Prediction
    words: tuple[WordEvidence, ...]
    text_pair: bool = False

    def to_json(self, labels: Sequence[str], top_k: int | None = None) -> dict[str, Json]:
        """The answer as ``Prediction.to_json`` writes it, and the words with the evidence of the labels that it shows."""
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
    """Leave each word out once.

    Args:
        row: The whole text.
        words: W words of it.
        probs: float32 (L,), of the whole text.
        predict: Rows to probabilities, float32 (W, L).
    """
    if not words:
        return ()
    whole, without = log_odds(probs[None]), log_odds(predict([row.without(word.tokens) for word in words]))
    return tuple(
        WordEvidence(word.text, word.start, word.end, word.part, evidence)
        for word, evidence in zip(words, (whole - without).astype(np.float32), strict=True)
    )


def log_odds(probs: Floats) -> npt.NDArray[np.float64]:
    """``log p - log of the sum of the others``, float64 (N, L): exact also where p is 1 in float32.

    Example:
        >>> log_odds(np.array([[0.5, 0.5], [1.0, 1e-12]], np.float32)).round(1).tolist()
        [[0.0, 0.0], [27.6, -27.6]]
    """
    wide = np.maximum(probs.astype(np.float64), 1e-38)
    labels = wide.shape[1]
    others = wide @ (1 - np.eye(labels))
    return np.asarray(np.log(wide) - np.log(others))
