"""What the reference tokenizer does with every code point, found by running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from charsmap import Node, packed
from tokenizers import Regex
from tokenizers.normalizers import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    Lowercase,
    Precompiled,
    Replace,
    Strip,
    StripAccents,
)
from tokenizers.pre_tokenizers import BertPreTokenizer, Punctuation, WhitespaceSplit

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
BLOCK = 256
#: Property bits of a code point; ``characters.hpp`` and ``characters.ts`` use the same names.
REMOVED, SPACE, CHINESE, STRIPPED, MARK, DECOMPOSES, LOWERS, WHITESPACE, PUNCTUATION = (1 << i for i in range(9))
LETTER, NUMBER, COMBINES, COMPATIBLE, COMPOSES = (1 << i for i in range(9, 14))
#: Classes of code points for grapheme clusters; ``graphemes.hpp`` and ``graphemes.ts`` use the same order.
(OTHER, CONTROL, PREPEND, EXTEND, LINKER, NON_JOINER, JOINER, SPACING, PICTOGRAPH, HANGUL_L, HANGUL_V, HANGUL_T, HANGUL_LV,
 HANGUL_LVT, CONSONANT) = range(15)  # fmt: skip
HANGUL = range(0xAC00, 0xD7A4)
#: A mark of the lowest and one of the highest combining class: next to one of them, every other mark changes places.
LOWEST_MARK, HIGHEST_MARK = "\u0334", "\u0345"

_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
nfc, nfd, nfkc, nfkd = (form().normalize_str for form in (NFC, NFD, NFKC, NFKD))
clean = BertNormalizer(**_OFF | {"clean_text": True}).normalize_str
chinese = BertNormalizer(**_OFF | {"handle_chinese_chars": True}).normalize_str
strip = BertNormalizer(**_OFF | {"strip_accents": True}).normalize_str
lower = BertNormalizer(**_OFF | {"lowercase": True}).normalize_str
trim = Strip().normalize_str
pieces = BertPreTokenizer().pre_tokenize_str


@dataclass(frozen=True)
class Characters:
    """Everything that the runtimes need to know of the code points.

    Attributes:
        properties: Property bits of each code point.
        graphemes: Its class for grapheme clusters.
        decompositions: Full canonical decompositions.
        compatible: Full compatibility decompositions, where they differ from the canonical ones.
        pairs: Canonical compositions: what two code points become.
        lowered: Lower case.
        ranks: The rank of each mark: marks are sorted by rank.
    """

    properties: list[int]
    graphemes: list[int]
    decompositions: dict[int, str]
    compatible: dict[int, str]
    pairs: dict[tuple[int, int], int]
    lowered: dict[int, str]
    ranks: dict[int, int]


def characters() -> Characters:
    """Ask the reference about every code point.

    Raises:
        SystemExit: The reference does something that the runtimes do not do.
    """
    flags = [0] * 0x110000
    for code, replacement in changed(clean):
        expect(replacement in ("", " "), code, replacement, "nothing or a space")
        flags[code] |= SPACE if replacement else REMOVED
    flags[ord(" ")] |= SPACE
    for code, replacement in changed(chinese):
        expect(replacement == f" {chr(code)} ", code, replacement, "spaces around it")
        flags[code] |= CHINESE
    decompositions, lowered = dict(changed(nfd)), dict(changed(lower))
    compatible = {code: text for code, text in changed(nfkd) if decompositions.get(code) != text}
    mark(flags, lowered, LOWERS)
    mark(flags, decompositions, DECOMPOSES)
    mark(flags, compatible, COMPATIBLE)
    mark(flags, removed(StripAccents().normalize_str), COMBINES)
    mark(flags, removed(Replace(Regex(r"\p{L}"), "").normalize_str), LETTER)
    mark(flags, removed(Replace(Regex(r"\p{N}"), "").normalize_str), NUMBER)
    stripped = set(removed(strip))
    for code in CODE_POINTS:
        if code not in decompositions:
            flags[code] |= (STRIPPED if code in stripped else 0) | (MARK if is_mark(chr(code)) else 0)
    for code, decomposition in decompositions.items():
        kept = "".join(part for part in decomposition if not flags[ord(part)] & STRIPPED)
        expect(strip(chr(code)) == kept, code, strip(chr(code)), kept)
        expect(code not in HANGUL or decomposition == hangul(code), code, decomposition, hangul(code))
    for code, parts in words(pieces):
        flags[code] |= {2: WHITESPACE, 3: PUNCTUATION}[parts]
    pairs = compositions(decompositions)
    mark(flags, (code for code, _ in changed(nfc)), COMPOSES)
    mark(flags, (code for code in CODE_POINTS if flags[code] & MARK), COMPOSES)
    mark(flags, (*(second for _, second in pairs), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3)), COMPOSES)
    check_same(flags, lowered)
    return Characters(flags, grapheme_classes(), decompositions, compatible, pairs, lowered, ranks(flags))


def changed(function: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    """The code points that a normalizer changes, each with its replacement."""
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if function(block) != block:  # otherwise none of them changes
            for character in block:
                if (replacement := function(character)) != character:
                    yield ord(character), replacement


def removed(function: Callable[[str], str]) -> Iterator[int]:
    """The code points that a normalizer removes."""
    return (code for code, replacement in changed(function) if replacement == "")


def words(split: Callable[[str], list[tuple[str, tuple[int, int]]]]) -> Iterator[tuple[int, int]]:
    """The code points at which a pre-tokenizer splits a word, and into how many parts."""
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if [piece for piece, _ in split(block)] != [block]:
            for character in block:
                if (parts := len(split(f"a{character}a"))) > 1:
                    yield ord(character), parts


def mark(flags: list[int], codes: Iterable[int], bit: int) -> None:
    """Set a bit in the flags of some code points."""
    for code in codes:
        flags[code] |= bit


def expect(holds: bool, code: int, actual: str, expected: str) -> None:
    """Stop unless the reference does what the runtimes do."""
    if not holds:
        raise SystemExit(f"U+{code:04X}: found {actual!r}, expected {expected!r}. Extend this script.")


def check_same(flags: list[int], lowered: dict[int, str]) -> None:
    """Stop unless parts of the reference agree with each other, for which the runtimes have one property."""
    whitespace = {code for code in CODE_POINTS if flags[code] & WHITESPACE}
    punctuation = {code for code in CODE_POINTS if flags[code] & PUNCTUATION}
    same = {
        "WhitespaceSplit": whitespace == {code for code, _ in words(WhitespaceSplit().pre_tokenize_str)},
        r"\s": whitespace == set(removed(Replace(Regex(r"\s"), "").normalize_str)),
        "Strip": whitespace == {code for code in CODE_POINTS if trim(chr(code)) == ""},
        "Punctuation": punctuation == {code for code, _ in words(Punctuation("isolated").pre_tokenize_str)},
        "Lowercase": lowered == dict(changed(Lowercase().normalize_str)),
        "s in any case": set(removed(Replace(Regex("(?i:s)"), "").normalize_str)) == set(map(ord, "sS\u017f")),
        "others in any case": set(removed(Replace(Regex("(?i:[tredvml])"), "").normalize_str))
        == set(map(ord, "tredvmlTREDVML")),
    }
    for name, holds in same.items():
        if not holds:
            raise SystemExit(f"{name}: found other code points than expected. Extend this script.")


def is_mark(character: str) -> bool:
    """Whether it is a combining mark, that is, whether normalization sorts it."""
    return (
        nfd(character + LOWEST_MARK) != character + LOWEST_MARK
        or nfd(HIGHEST_MARK + character) != HIGHEST_MARK + character
    )


def ranks(flags: list[int]) -> dict[int, int]:
    """The rank of each mark, from 1; marks of equal rank keep their order."""
    marks = [code for code in CODE_POINTS if flags[code] & MARK]
    lower_marks = {
        code: sum(nfd(chr(code) + chr(other)) != chr(code) + chr(other) for other in marks) for code in marks
    }
    order = sorted(set(lower_marks.values()))
    return {code: 1 + order.index(count) for code, count in lower_marks.items()}


def hangul(code: int) -> str:
    """The decomposition of a Hangul syllable by the formula of the Unicode standard, which the runtimes use as well."""
    leading, rest = divmod(code - 0xAC00, 588)
    vowel, trailing = divmod(rest, 28)
    return chr(0x1100 + leading) + chr(0x1161 + vowel) + (chr(0x11A7 + trailing) if trailing else "")


def compositions(decompositions: dict[int, str]) -> dict[tuple[int, int], int]:
    """What two code points become in NFC, without Hangul."""
    pairs: dict[tuple[int, int], int] = {}
    for code, decomposition in decompositions.items():
        if code in HANGUL or nfc(chr(code)) != chr(code):
            continue
        first, second = nfc(decomposition[:-1]), decomposition[-1]
        expect(len(first) == 1 and nfc(first + second) == chr(code), code, first + second, "two code points")
        pairs[ord(first), ord(second)] = code
    return pairs


def grapheme_classes() -> list[int]:
    """The class of each code point for grapheme clusters.

    A ``Precompiled`` normalizer replaces a grapheme cluster of at most five bytes at once, and a longer one character by character.
    With a table that maps every character to "x", the length of the result tells where clusters end. Only classes that change the
    clusters of at most five bytes can be told apart, and only they matter.
    """
    length = _one_x_for_each()
    classes = [OTHER] * 0x110000
    joins = {code for code in CODE_POINTS[1:] if length("a" + chr(code)) == 1}
    prepend = {code for code in CODE_POINTS[1:] if length(chr(code) + "a") == 1}
    other = [code for code in CODE_POINTS[1:] if code not in joins and code not in prepend]
    narrow = [code for code in other if code < 0x10000]
    control = {code for code in other if length(chr(code) + "\u0300\u0300") == 2}
    extend = {code for code in joins if length(f"©{chr(code)}\u200d©\u0300") == 5}
    linker = {code for code in extend if length(f"क{chr(code)}क\u0300") == 4}
    conjunct = {code for code in joins if length(f"क\u094d{chr(code)}क\u0300") == 5}
    if conjunct ^ extend != {0x200C, 0x200D} or length("\r\n") != 1:
        raise SystemExit("grapheme clusters: found other joiners than expected. Extend this script.")
    other = [code for code in other if code not in control]
    after = [
        {code for code in narrow if code not in control and length(jamo + chr(code) + "\u0300") == 3}
        for jamo in "\u1100\u1161\u11a8"
    ]
    before = [{code for code in other if length(chr(code) + jamo + "\u0300") == 3} for jamo in "\u1161\u11a8"]
    classes[0] = CONTROL
    for code in CODE_POINTS[1:]:
        jamo = tuple(code in group for group in (*after, *before))
        if code in control:
            classes[code] = CONTROL
        elif code in prepend:
            classes[code] = PREPEND
        elif code in joins:
            classes[code] = LINKER if code in linker else EXTEND if code in extend else SPACING
        elif any(jamo):
            classes[code] = _jamo_class(code, jamo)
    for code in other:
        if classes[code] == OTHER and length(f"{chr(code)}\u200d©\u0300") == 4:
            classes[code] = PICTOGRAPH
        elif classes[code] == OTHER and length(f"{chr(code)}\u094dक\u0300") == 4:
            classes[code] = CONSONANT
    classes[0x200C], classes[0x200D] = NON_JOINER, JOINER
    return classes


def _jamo_class(code: int, jamo: tuple[bool, ...]) -> int:
    """The class by what a code point joins: after a leading, vowel and trailing jamo; before a vowel and a trailing one."""
    known = {
        (True, False, False, True, False): HANGUL_L,
        (True, True, False, True, True): HANGUL_V,
        (False, False, False, True, True): HANGUL_V,  # of four bytes: what comes before does not matter
        (False, True, True, False, True): HANGUL_T,
        (True, False, False, True, True): HANGUL_LV,
        (True, False, False, False, True): HANGUL_LVT,
    }
    expect(jamo in known, code, str(jamo), "a class of Hangul")
    return known[jamo]


def _one_x_for_each() -> Callable[[str], int]:
    """A function that normalizes with a table of all characters and returns the length of the result."""
    leaf = Node(text=0)
    tails = [leaf]
    for _ in range(3):
        tails.append(Node(dict.fromkeys(range(0x80, 0xC0), tails[-1])))
    leads = {
        byte: tails[size]
        for size, bytes_ in enumerate((range(1, 0x80), range(0xC2, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF5)))
        for byte in bytes_
    }
    normalize = Precompiled(packed(Node(leads), ["x"])).normalize_str
    return lambda text: len(normalize(text))
