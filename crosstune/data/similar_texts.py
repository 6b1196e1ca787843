"""Finds near duplicates: texts that share most of their character 4-grams."""

from __future__ import annotations

import re
import unicodedata
from array import array

import numpy as np
import numpy.typing as npt

#: Jaccard similarity of character 4-grams from which two texts count as duplicates; chosen by hand.
DUPLICATE_SIMILARITY = 0.7

_WORD = re.compile(r"\w+")
_NO_TEXTS = array("i")


class SimilarTexts:
    """An inverted index of texts by their character 4-grams.

    Examples:
        >>> texts = SimilarTexts()
        >>> texts.add("Where is my parcel today?")
        >>> texts.contains("where is my parcel, today"), texts.contains("Thank you")
        (True, False)
    """

    def __init__(self) -> None:
        self._sizes = array("i")
        self._texts_with: dict[str, array[int]] = {}

    def add(self, text: str) -> None:
        """Add a text; texts are numbered in the order in which they are added."""
        ngrams = _ngrams(normalized(text))
        for ngram in ngrams:
            self._texts_with.setdefault(ngram, array("i")).append(len(self._sizes))
        self._sizes.append(len(ngrams))

    def near(self, text: str) -> npt.NDArray[np.int64]:
        """Numbers of the texts in the index that are a near duplicate of a text, int64 (n,), ascending."""
        ngrams = _ngrams(normalized(text))
        matches = np.concatenate([np.asarray(self._texts_with.get(ngram, _NO_TEXTS)) for ngram in ngrams])
        common = np.bincount(matches)  # n-grams shared with each text; this is most of the work
        found = np.flatnonzero(common >= DUPLICATE_SIMILARITY * len(ngrams))
        union = len(ngrams) + np.asarray(self._sizes)[found] - common[found]
        return np.asarray(found[common[found] >= DUPLICATE_SIMILARITY * union])

    def contains(self, text: str) -> bool:
        """Whether the index contains the text or a near duplicate."""
        return len(self.near(text)) > 0


def normalized(text: str) -> str:
    """Return letters and digits in lower case, with single spaces between words."""
    return " ".join(words_of(text))


def words_of(text: str) -> list[str]:
    """The words of a text in lower case."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _ngrams(normalized_text: str) -> frozenset[str]:
    padded = f" {normalized_text} "
    return frozenset(padded[i : i + 4] for i in range(max(1, len(padded) - 3)))
