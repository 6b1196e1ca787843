"""Texts on which every runtime's tokenizer must agree with the reference, and tokenizers whose ids show each character."""

from __future__ import annotations

import itertools
import random
import unicodedata
from functools import cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
#: Scripts and kinds of characters that the random strings are mixed from.
RANGES = (
    (0x20, 0x7F), (0x20, 0x7F), (0x20, 0x7F), (0x00, 0x20), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x530, 0x700),
    (0x900, 0xE80), (0x1000, 0x1100), (0x1100, 0x1200), (0x1A00, 0x1C00), (0x1DC0, 0x2100), (0x2000, 0x2070),
    (0x3000, 0x3100), (0x4E00, 0x5000), (0xAC00, 0xAD00), (0xF900, 0xFB00), (0xFE00, 0x10000), (0x11000, 0x11D00),
    (0x1D100, 0x1D200), (0x1E000, 0x1E030), (0x1E900, 0x1E960), (0x1F300, 0x1F700), (0x20000, 0x20100), (0xE0000, 0xE0200),
)  # fmt: skip


def random_text(random_source: random.Random) -> str:
    """Words of up to 12 characters, each word out of two ranges."""
    words = []
    for _ in range(random_source.randrange(1, 8)):
        ranges = random_source.choices(RANGES, k=2)
        words.append(
            "".join(
                chr(random_source.randrange(*random_source.choice(ranges))) for _ in range(random_source.randrange(13))
            )
        )
    return random_source.choice((" ", "", "\u00a0")).join(words)


@cache
def telling_characters() -> tuple[str, ...]:
    """What normalization turns into something else, what it makes of it, all marks, and every 64th code point besides.

    Characters that are dropped or only set apart tell so without being in the vocabulary: they leave no id or a [UNK].
    """
    normalize = normalizers.BertNormalizer(lowercase=True).normalize_str
    characters = set(map(chr, CODE_POINTS[::64]))
    for character in map(chr, CODE_POINTS):
        made = normalize(character).strip()
        if made not in ("", character) or unicodedata.category(character).startswith("M"):
            characters.update(made, character)
    return tuple(sorted(characters))


def character_tokenizer(**steps) -> Tokenizer:
    """A WordPiece whose vocabulary has single characters, so that ids show what became of each one."""
    characters = telling_characters()
    vocabulary = ["[UNK]", "[CLS]", "[SEP]", *characters, *("##" + character for character in characters)]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**steps)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def every_code_point() -> list[str]:
    """Each code point within a word and as a word, some in a text."""
    words = [f"a{chr(code)}b {chr(code)}" for code in CODE_POINTS]
    return [" ".join(words[i : i + 128]) for i in range(0, len(words), 128)]


def marks_in_any_order() -> list[str]:
    """Characters with a combining class that the reference does not strip, around others that it does."""
    marks = "\u08d4\u1b44\u302e\u302f\U0001d165\U0001d166\U0001d16d\U0001e001\U0001e94a\u0301\u0345\u0334\u0900\u20dd"
    texts = ["".join(marks) for marks in itertools.permutations(marks, 3)]
    return [f"x{text} {text}y" for text in texts]


def long_words() -> list[str]:
    """Words of about a hundred characters, where WordPiece gives up."""
    return [letter * count for letter in ("a", "é", "商", "\U0001d49c", "e\u0301") for count in (99, 100, 101, 200)]


#: The steps of BERT's normalizer, and every choice of them.
STEPS = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
ALL_STEPS = tuple(itertools.product((False, True), (False, True), (None, False, True), (False, True)))
SPECIAL_TOKENS = "[CLS] [SEP] [MASK] [PAD] [UNK] ##ing [unused1]"
