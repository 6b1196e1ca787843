"""Tokenize texts in the layout that docs/bundle_format.md describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from crosstune.core.errors import BundleContentError, DataError
from crosstune.core.panics import is_failure
from crosstune.core.token_layout import Text, TokenLayout, TokenRow, limit_text
from crosstune_export.bundle.tokenizer_check import check_tokenizer


@dataclass(frozen=True)
class Word:
    """A word, as split by the pre-tokenizer.

    Attributes:
        text: The word.
        start: Offset of its start, in code points of its text.
        end: Offset of its end.
        part: 0, or 1 for a word of the second text of a pair.
        tokens: Positions of its tokens in the row of ids.
    """

    text: str
    start: int
    end: int
    part: int
    tokens: range


@dataclass(frozen=True)
class TokenBatch:
    """B rows padded to T tokens; all arrays are int64 (B, T)."""

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    token_type_ids: npt.NDArray[np.int64]

    def feeds(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the arrays by the names of the graph inputs."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }


class TextTokenizer:
    """Tokenizes texts with the tokenizer and the token layout of a bundle.

    Attributes:
        largest_id: The largest token id that can occur in a row.
    """

    def __init__(self, data: bytes, layout: TokenLayout, text_pair: bool, where: str) -> None:
        """Read a ``tokenizer.json``.

        Args:
            data: Contents of the file.
            layout: Special ids and maximum lengths.
            text_pair: Whether inputs are pairs.
            where: Name of the file in messages.

        Raises:
            BundleContentError: The file has parts that no build writes, or the library cannot read it.
        """
        special = (*layout.prefix_ids, *layout.infix_ids, *layout.suffix_ids, layout.pad_id)
        self.largest_id = max(check_tokenizer(data, where), *special)
        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except BaseException as error:  # the library panics with a class that is not an Exception
            if not is_failure(error):
                raise
            raise BundleContentError(f"{where}: not a usable tokenizer ({error}). Build the bundle again.") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is not a special token
        self._tokenizer, self._layout, self._text_pair = tokenizer, layout, text_pair

    def rows(self, texts: Sequence[Text]) -> list[TokenRow]:
        """Tokenize each input.

        Raises:
            DataError: An item is not a string (or a pair, if the bundle classifies pairs); the message names its index.
        """
        parts: list[str] = []
        truncated: list[bool] = []
        for index, text in enumerate(texts):
            for part in self._parts(index, text):
                limited, is_truncated = limit_text(part, self._layout.max_text_bytes)
                parts.append(limited)
                truncated.append(is_truncated)
        try:
            encodings = self._tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise DataError(
                f"texts: the tokenizer failed ({error}). Classify the texts one by one to find it."
            ) from error
        ids = [encoding.ids for encoding in encodings]
        step = 2 if self._text_pair else 1
        return [
            self._layout.row(ids[i : i + step], truncated=any(truncated[i : i + step]))
            for i in range(0, len(ids), step)
        ]

    def words(self, text: Text) -> tuple[Word, ...]:
        """Return the words of one input within the maximum length; the last one may be truncated.

        Raises:
            DataError: The input is not a string (or a pair, if the bundle classifies pairs).
        """
        parts = [limit_text(part, self._layout.max_text_bytes)[0] for part in self._parts(0, text)]
        encodings = self._tokenizer.encode_batch(parts, add_special_tokens=False)
        layout = self._layout
        kept = layout.kept([len(encoding.ids) for encoding in encodings])
        words: list[Word] = []
        offset = len(layout.prefix_ids)
        for part, (part_text, encoding, count) in enumerate(zip(parts, encodings, kept, strict=True)):
            word_ids, spans, index = encoding.word_ids, encoding.offsets, 0
            while index < count:
                stop = index + 1
                while stop < count and word_ids[stop] is not None and word_ids[stop] == word_ids[index]:
                    stop += 1
                start, end = spans[index][0], spans[stop - 1][1]
                words.append(Word(part_text[start:end], start, end, part, range(offset + index, offset + stop)))
                index = stop
            offset += count + len(layout.infix_ids)
        return tuple(words)

    def batch(self, rows: Sequence[TokenRow]) -> TokenBatch:
        """Pad rows on the right to the length of the longest."""
        longest = max(len(row.ids) for row in rows)
        input_ids = np.full((len(rows), longest), self._layout.pad_id, np.int64)
        attention_mask = np.zeros((len(rows), longest), np.int64)
        token_type_ids = np.zeros((len(rows), longest), np.int64)
        for i, row in enumerate(rows):
            length = len(row.ids)
            input_ids[i, :length] = row.ids
            attention_mask[i, :length] = 1
            token_type_ids[i, :length] = row.type_ids
        return TokenBatch(input_ids, attention_mask, token_type_ids)

    def _parts(self, index: int, text: object) -> tuple[str, ...]:
        if self._text_pair:
            if isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text):
                return (text[0], text[1])
            raise DataError(f"texts[{index}]: found {_kind(text)}, expected two strings: this bundle classifies pairs.")
        if isinstance(text, str):
            return (text,)
        raise DataError(f"texts[{index}]: found {_kind(text)}, expected a string.")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
