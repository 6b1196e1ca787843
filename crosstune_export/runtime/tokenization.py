"""Text to ids, as ``docs/bundle_format.md`` lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from crosstune_export.bundle.manifest import TokenLayout
from crosstune_export.bundle.tokenizer_check import check_tokenizer
from crosstune_export.errors import BundleContentError, InputError

#: One text, or the two texts of a pair.
Text: TypeAlias = "str | tuple[str, str]"

#: The library's class for a thread of its own that ended; no Exception, and exported nowhere. Others are signals.
_PANIC = "PanicException"


@dataclass(frozen=True)
class TokenRow:
    """The ids of one input, special ids included, not padded."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    truncated: bool

    def without(self, tokens: range) -> TokenRow:
        """The row with these positions left out."""
        ids, types = (row[: tokens.start] + row[tokens.stop :] for row in (self.ids, self.type_ids))
        return TokenRow(ids, types, self.truncated)


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
            InputError: An item is not a string, or not a pair where the bundle wants pairs; names its index.
        """
        parts: list[str] = []
        cut: list[bool] = []
        for index, text in enumerate(texts):
            for part in self._parts(index, text):
                whole, was_cut = _limit(part, self._layout.max_text_bytes)
                parts.append(whole)
                cut.append(was_cut)
        try:
            encodings = self._tokenizer.encode_batch_fast(parts, add_special_tokens=False)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
                raise
            raise InputError(
                f"texts: the tokenizer failed ({error}). Classify the texts one by one to find it."
            ) from error
        ids = [encoding.ids for encoding in encodings]
        if self._text_pair:
            return [self._pair(ids[i], ids[i + 1], cut[i] or cut[i + 1]) for i in range(0, len(ids), 2)]
        return [self._single(row, was_cut) for row, was_cut in zip(ids, cut, strict=True)]

    def words(self, text: Text) -> tuple[Word, ...]:
        """The words of one input that its row of ids holds; a word that is cut in two is there with what is left of it.

        Raises:
            InputError: The input is not a string, or not a pair where the bundle wants pairs.
        """
        parts = [_limit(part, self._layout.max_text_bytes)[0] for part in self._parts(0, text)]
        encodings = self._tokenizer.encode_batch(parts, add_special_tokens=False)
        layout, counts = self._layout, [len(encoding.ids) for encoding in encodings]
        special = len(layout.prefix_ids) + len(layout.suffix_ids)
        kept: tuple[int, ...]
        if self._text_pair:
            budget = layout.max_length_tokens - special - len(layout.infix_ids)
            kept = longest_first(counts[0], counts[1], budget)
        else:
            kept = (min(counts[0], layout.max_length_tokens - special),)
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
            raise InputError(
                f"texts[{index}]: found {_kind(text)}, expected two strings: this bundle classifies pairs."
            )
        if isinstance(text, str):
            return (text,)
        raise InputError(f"texts[{index}]: found {_kind(text)}, expected a string.")

    def _single(self, ids: list[int], cut: bool) -> TokenRow:
        layout = self._layout
        budget = layout.max_length_tokens - len(layout.prefix_ids) - len(layout.suffix_ids)
        row = (*layout.prefix_ids, *ids[:budget], *layout.suffix_ids)
        return TokenRow(row, (0,) * len(row), cut or len(ids) > budget)

    def _pair(self, first: list[int], second: list[int], cut: bool) -> TokenRow:
        layout = self._layout
        special = len(layout.prefix_ids) + len(layout.infix_ids) + len(layout.suffix_ids)
        keep_first, keep_second = longest_first(len(first), len(second), layout.max_length_tokens - special)
        head = (*layout.prefix_ids, *first[:keep_first], *layout.infix_ids)
        tail = (*second[:keep_second], *layout.suffix_ids)
        truncated = cut or keep_first < len(first) or keep_second < len(second)
        return TokenRow(head + tail, (0,) * len(head) + (layout.second_type_id,) * len(tail), truncated)


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """How many tokens of each text of a pair are kept, the longer one giving way first.

    The rule is that of the ``tokenizers`` library (``TruncationStrategy::LongestFirst``).

    Example:
        >>> longest_first(3, 100, 10)
        (3, 7)
        >>> longest_first(50, 100, 11)
        (5, 6)
    """
    if first + second <= budget:
        return first, second
    short, long = min(first, second), max(first, second)
    keep_short = short
    keep_long = keep_short if keep_short > budget else max(keep_short, budget - keep_short)
    if keep_short + keep_long > budget:
        keep_short = budget // 2
        keep_long = keep_short + budget % 2
    keep_short, keep_long = min(keep_short, short), min(keep_long, long)
    return (keep_short, keep_long) if first <= second else (keep_long, keep_short)


def whole_text(text: str) -> str:
    r"""A text with U+FFFD in place of unpaired surrogates, which UTF-8 cannot hold: file names may have them.

    Example:
        >>> whole_text("caf\udce9.bundle")
        'caf�.bundle'
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _limit(text: str, max_text_bytes: int) -> tuple[str, bool]:
    """Replace unpaired surrogates and cut to a number of UTF-8 bytes; True where something was cut."""
    if len(text) * 4 <= max_text_bytes and text.isascii():
        return text, False
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        text = whole_text(text)
        data = text.encode("utf-8")
    if len(data) <= max_text_bytes:
        return text, False
    return data[:max_text_bytes].decode("utf-8", "ignore"), True


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
