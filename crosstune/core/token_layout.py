"""The layout of token ids around a text, the same in training and in every runtime (docs/bundle_format.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

#: A text, or a pair of texts.
Text: TypeAlias = "str | tuple[str, str]"

#: Longer texts are truncated to this many bytes of UTF-8 before they are tokenized; chosen by hand, to bound the time.
MAX_TEXT_BYTES = 65_536


@dataclass(frozen=True)
class TokenRow:
    """Token ids of one input, with special ids and without padding.

    Attributes:
        ids: T token ids.
        type_ids: T token types, 0 for the first text of a pair.
        truncated: Whether a text was truncated.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    truncated: bool

    def without(self, tokens: range) -> TokenRow:
        """Return the row without the tokens at a range of positions."""
        ids, types = (row[: tokens.start] + row[tokens.stop :] for row in (self.ids, self.type_ids))
        return TokenRow(ids, types, self.truncated)


@dataclass(frozen=True)
class TokenLayout:
    """Layout of token ids around a text or a pair of texts.

    Attributes:
        max_length_tokens: Maximum length of a row, with special ids.
        prefix_ids: Ids before the (first) text.
        infix_ids: Ids between the texts of a pair.
        suffix_ids: Ids at the end.
        pad_id: Id of padding.
        max_text_bytes: Longer texts are truncated to this many bytes of UTF-8 before they are tokenized.
        second_type_id: Token type of the second text; 0 if the backbone has no token types.

    Examples:
        >>> layout = TokenLayout(8, (1,), (2,), (2,), 0, second_type_id=1)
        >>> layout.row([[5, 6]], truncated=False).ids
        (1, 5, 6, 2)
        >>> layout.row([[5, 6, 7, 8], [9]], truncated=False)
        TokenRow(ids=(1, 5, 6, 7, 8, 2, 9, 2), type_ids=(0, 0, 0, 0, 0, 0, 1, 1), truncated=False)
    """

    max_length_tokens: int
    prefix_ids: tuple[int, ...]
    infix_ids: tuple[int, ...]
    suffix_ids: tuple[int, ...]
    pad_id: int
    max_text_bytes: int = MAX_TEXT_BYTES
    second_type_id: int = 0

    def kept(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return how many tokens of a text, or of each text of a pair, fit into a row.

        Args:
            counts: Number of tokens of each text.
        """
        budget = self.max_length_tokens - len(self.prefix_ids) - len(self.suffix_ids)
        if len(counts) == 1:
            return (min(counts[0], budget),)
        return longest_first(counts[0], counts[1], budget - len(self.infix_ids))

    def row(self, ids: Sequence[Sequence[int]], *, truncated: bool) -> TokenRow:
        """Lay out the ids of a text, or of the two texts of a pair.

        Args:
            ids: Ids of each text, without special ids.
            truncated: Whether a text was already truncated before it was tokenized.
        """
        kept = self.kept([len(part) for part in ids])
        truncated = truncated or any(count < len(part) for count, part in zip(kept, ids, strict=True))
        if len(ids) == 1:
            row = (*self.prefix_ids, *ids[0][: kept[0]], *self.suffix_ids)
            return TokenRow(row, (0,) * len(row), truncated)
        first = (*self.prefix_ids, *ids[0][: kept[0]], *self.infix_ids)
        second = (*ids[1][: kept[1]], *self.suffix_ids)
        return TokenRow(first + second, (0,) * len(first) + (self.second_type_id,) * len(second), truncated)


def longest_first(first: int, second: int, budget: int) -> tuple[int, int]:
    """Return how many tokens of each text of a pair are kept; the longer text is truncated first.

    The rule is that of the ``tokenizers`` library (``TruncationStrategy::LongestFirst``).

    Examples:
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


def replace_surrogates(text: str) -> str:
    r"""Replace unpaired surrogates, which UTF-8 cannot encode and file names may contain, by U+FFFD.

    Examples:
        >>> replace_surrogates("caf\udce9.bundle")
        'caf�.bundle'
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def limit_text(text: str, max_text_bytes: int) -> tuple[str, bool]:
    """Replace unpaired surrogates, and truncate a text to a number of bytes of UTF-8.

    Returns:
        The text, and whether it was truncated.

    Examples:
        >>> limit_text("naïve", 3)
        ('na', True)
    """
    if len(text) * 4 <= max_text_bytes and text.isascii():
        return text, False
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        text = replace_surrogates(text)
        data = text.encode("utf-8")
    if len(data) <= max_text_bytes:
        return text, False
    return data[:max_text_bytes].decode("utf-8", "ignore"), True
