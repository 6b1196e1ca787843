"""Scores of a Unigram tokenizer that all readers of its file read alike."""

from __future__ import annotations

from tokenizers import Tokenizer, models

#: Times that a file is written and read again, at most. One was enough for every tokenizer tried.
_MOST_ROUNDS = 8


def with_settled_scores(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer whose scores are exactly those that its file states.

    The tokenizers library reads some numbers of 17 digits as the number next to them, which other readers read exactly. Where a word can be
    split in two ways of the same score, as 000 into "0" and "00" or the reverse, the last bit of a score decides. So the file is
    written and read until it states what the library has read.

    Args:
        tokenizer: Any tokenizer; only that of a Unigram is replaced.

    Returns:
        The same tokenizer, or one that is read from its file.
    """
    if not isinstance(tokenizer.model, models.Unigram):
        return tokenizer
    text = tokenizer.to_str()
    for _ in range(_MOST_ROUNDS):
        tokenizer = Tokenizer.from_str(text)
        before, text = text, tokenizer.to_str()
        if text == before:
            break
    return tokenizer
