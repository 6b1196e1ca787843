"""Text to ids, as ``docs/bundle_format.md`` lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from crosstune.core.errors import BundleContentError, DataError
from crosstune.core.token_layout import Text, TokenLayout, TokenRow, limit_text
from crosstune_export.bundle.tokenizer_check import check_tokenizer

#: The library's class for a thread of its own that ended; no Exception, and exported nowhere. Others are signals.
_PANIC = "PanicException"


@dataclass(frozen=True)
class Word:
    """A word as the tokenizer splits text before it makes tokens of it.

    Attributes:
        text: As it stands in the input.
        start: Where it begins, in code points of its text.
        end: Where it ends.
        part: 0, or 1 for a word of the second text of a pair.
        tokens: Its positions in the row of ids.
    """

    text: str
    start: int
    end: int
    part: int
    tokens: range


@dataclass(frozen=True)
class TokenBatch:
    """Rows padded to one length T; all arrays int64 of shape (B, T)."""

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    token_type_ids: npt.NDArray[np.int64]

    def feeds(self) -> dict[str, npt.NDArray[np.int64]]:
        """The arrays by the names that graphs give their inputs."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }


class TextTokenizer:
    """The bundle's tokenizer with the manifest's layout around it.

    Attributes:
        largest_id: The largest id that a row can hold.
    """

    def __init__(self, data: bytes, layout: TokenLayout, text_pair: bool, where: str) -> None:
        """Read a ``tokenizer.json``.

        Raises:
            BundleContentError: It has parts that no build writes, or the library cannot read it.
        """
        special = (*layout.prefix_ids, *layout.infix_ids, *layout.suffix_ids, layout.pad_id)
        self.largest_id = max(check_tokenizer(data, where), *special)
        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except BaseException as error:  # the library panics with a class that is not an Exception
            if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
                raise
            raise BundleContentError(f"{where}: not a usable tokenizer ({error}). Build the bundle again.") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        self._tokenizer, self._layout, self._text_pair = tokenizer, layout, text_pair

    def rows(self, texts: Sequence[Text]) -> list[TokenRow]:
        """Tokenize each input.

        Raises:
            DataError: An item is not a string, or not a pair where the bundle wants pairs; names its index.
        """
        parts: list[str] = []
        cut: list[bool] = []
        for index, text in enumerate(texts):
            for part in self._parts(index, text):
                whole, was_cut = limit_text(part, self._layout.max_text_bytes)
                parts.append(whole)
                cut.append(was_cut)
        try:
            encodings = self._tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
                raise
            raise DataError(
                f"texts: the tokenizer failed ({error}). Classify the texts one by one to find it."
            ) from error
        ids = [encoding.ids for encoding in encodings]
        step = 2 if self._text_pair else 1
        return [self._layout.row(ids[i : i + step], truncated=any(cut[i : i + step])) for i in range(0, len(ids), step)]

    def words(self, text: Text) -> tuple[Word, ...]:
        """The words of one input that its row of ids holds; a word that is cut in two is there with what is left of it.

        Raises:
            DataError: The input is not a string, or not a pair where the bundle wants pairs.
        """
        parts = [limit_text(part, self._layout.max_text_bytes)[0] for part in self._parts(0, text)]
        encodings = self._tokenizer.encode_batch(parts, add_special_tokens=False)
        layout = self._layout
        kept = layout.kept([len(encoding.ids) for encoding in encodings])
        found: list[Word] = []
        at = len(layout.prefix_ids)
        for part, (whole, encoding, count) in enumerate(zip(parts, encodings, kept, strict=True)):
            of_word, offsets, index = encoding.word_ids, encoding.offsets, 0
            while index < count:
                stop = index + 1
                while stop < count and of_word[stop] is not None and of_word[stop] == of_word[index]:
                    stop += 1
                start, end = offsets[index][0], offsets[stop - 1][1]
                found.append(Word(whole[start:end], start, end, part, range(at + index, at + stop)))
                index = stop
            at += count + len(layout.infix_ids)
        return tuple(found)

    def batch(self, rows: Sequence[TokenRow]) -> TokenBatch:
        """Pad rows on the right to their longest."""
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
