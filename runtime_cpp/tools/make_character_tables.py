"""Generate the character tables of the C++ and the web tokenizer by running the reference tokenizer on every code point.

The installed ``tokenizers`` library decides what is a control character, an accent or punctuation, and how accents are sorted.
Run the script again after an upgrade of the library.

    python make_character_tables.py character_tables.inc    for C++
    python make_character_tables.py character_tables.ts     for TypeScript
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

import tokenizers
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]
BLOCK = 256
#: Property bits of a code point; ``characters.hpp`` and ``characters.ts`` use the same names.
REMOVED, SPACE, CHINESE, STRIPPED, MARK, DECOMPOSES, LOWERS, WHITESPACE, PUNCTUATION = (1 << i for i in range(9))
HANGUL = range(0xAC00, 0xD7A4)
#: A mark of the lowest and one of the highest combining class: next to one of them, every other mark changes places.
LOWEST_MARK, HIGHEST_MARK = "\u0334", "\u0345"

_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
nfd = NFD().normalize_str
clean = BertNormalizer(**_OFF | {"clean_text": True}).normalize_str
chinese = BertNormalizer(**_OFF | {"handle_chinese_chars": True}).normalize_str
strip = BertNormalizer(**_OFF | {"strip_accents": True}).normalize_str
lower = BertNormalizer(**_OFF | {"lowercase": True}).normalize_str
pieces = BertPreTokenizer().pre_tokenize_str


def changed(function: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    """The code points that a normalizer changes, each with its replacement."""
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if function(block) != block:  # otherwise none of them changes
            for character in block:
                if (replacement := function(character)) != character:
                    yield ord(character), replacement


def is_mark(character: str) -> bool:
    """Whether it is a combining mark, that is, whether normalization sorts it."""
    return (
        nfd(character + LOWEST_MARK) != character + LOWEST_MARK
        or nfd(HIGHEST_MARK + character) != HIGHEST_MARK + character
    )


def hangul(code: int) -> str:
    """The decomposition of a Hangul syllable by the formula of the Unicode standard, which the runtimes use as well."""
    leading, rest = divmod(code - 0xAC00, 588)
    vowel, trailing = divmod(rest, 28)
    return chr(0x1100 + leading) + chr(0x1161 + vowel) + (chr(0x11A7 + trailing) if trailing else "")


def tables() -> tuple[list[int], dict[int, str], dict[int, str], dict[int, int]]:
    """Properties of every code point, decompositions, lower case, and the ranks of the marks that are kept."""
    flags = [0] * 0x110000
    for code, replacement in changed(clean):
        if replacement not in ("", " "):
            raise SystemExit(
                f"U+{code:04X}: clean_text gives {replacement!r}, expected nothing or a space. Extend this script."
            )
        flags[code] |= SPACE if replacement else REMOVED
    flags[ord(" ")] |= SPACE
    for code, replacement in changed(chinese):
        if replacement != f" {chr(code)} ":
            raise SystemExit(f"U+{code:04X}: found {replacement!r}, expected spaces around it. Extend this script.")
        flags[code] |= CHINESE
    decompositions = dict(changed(nfd))
    lowered = dict(changed(lower))
    for code in lowered:
        flags[code] |= LOWERS
    for code in decompositions:
        flags[code] |= DECOMPOSES
    for code in CODE_POINTS:
        character = chr(code)
        if code not in decompositions:
            if strip(character) == "":
                flags[code] |= STRIPPED
            if is_mark(character):
                flags[code] |= MARK
    for code, decomposition in decompositions.items():
        kept = "".join(part for part in decomposition if not flags[ord(part)] & STRIPPED)
        if strip(chr(code)) != kept or (code in HANGUL and decomposition != hangul(code)):
            raise SystemExit(f"U+{code:04X}: stripped to {strip(chr(code))!r}, expected {kept!r}. Extend this script.")
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if [piece for piece, _ in pieces(block)] == [block]:
            continue
        for character in block:
            split = [piece for piece, _ in pieces(f"a{character}a")]
            flags[ord(character)] |= {1: 0, 2: WHITESPACE, 3: PUNCTUATION}[len(split)]
    kept_marks = [code for code in CODE_POINTS if flags[code] & MARK and not flags[code] & STRIPPED]
    ranks = {
        mark: 1 + sum(nfd(chr(mark) + chr(other)) != chr(mark) + chr(other) for other in kept_marks)
        for mark in kept_marks
    }
    return flags, decompositions, lowered, ranks


def array(kind: str, name: str, values: list[int]) -> str:
    """A C++ array."""
    rows = [", ".join(map(str, values[i : i + 24])) for i in range(0, len(values), 24)]
    return f"constexpr {kind} {name}[] = {{\n  " + ",\n  ".join(rows) + "};\n"


def mapping(name: str, entries: dict[int, str]) -> str:
    """A mapping as three C++ arrays: sorted code points, the start of each replacement (and the end), all replacements."""
    codes = sorted(entries)
    starts, pool = [0], []
    for code in codes:
        pool += map(ord, entries[code])
        starts.append(len(pool))
    return (
        array("char32_t", f"k{name}Codes", codes)
        + array("std::uint16_t", f"k{name}Starts", starts)
        + array("char32_t", f"k{name}Pool", pool)
    )


def cpp_source() -> str:
    """The contents of the C++ file."""
    flags, decompositions, lowered, ranks = tables()
    blocks: dict[tuple[int, ...], int] = {}
    index = [
        blocks.setdefault(tuple(flags[start : start + BLOCK]), len(blocks)) for start in range(0, len(flags), BLOCK)
    ]
    body = (
        array("std::uint8_t", "kBlockOf", index)
        + array("std::uint16_t", "kProperties", [flag for block in blocks for flag in block])
        + mapping("Decomposition", {code: text for code, text in decompositions.items() if code not in HANGUL})
        + mapping("Lower", lowered)
        + array("char32_t", "kRankedMarks", list(ranks))
        + array("std::uint8_t", "kRanks", list(ranks.values()))
    )
    assert len(blocks) < 256 and max(ranks.values()) < 256
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (
        "// Generated by tools/make_character_tables.py. Do not edit.\n"
        f'constexpr char kReference[] = "tokenizers {tokenizers.__version__}";\n'
        f'constexpr char kTablesDigest[] = "{digest}";\n' + body
    )


def base36(number: int) -> str:
    """A number in base 36, for JavaScript's ``parseInt(text, 36)``."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


def typescript_source() -> str:
    """The contents of the TypeScript file: strings, which ``characters.ts`` unpacks."""
    flags, decompositions, lowered, ranks = tables()
    runs = (f"{base36(len(list(run)))} {base36(flag)}" for flag, run in groupby(flags))
    outside_hangul = (chr(code) + text for code, text in decompositions.items() if code not in HANGUL)
    strings: dict[str, Iterable[str]] = {
        "PROPERTY_RUNS": runs,
        "DECOMPOSITIONS": outside_hangul,
        "LOWER": (chr(code) + text for code, text in lowered.items()),
        "RANKS": (chr(mark) + chr(0x100 + rank) for mark, rank in ranks.items()),  # only the order matters
    }
    lines = [f'export const REFERENCE = "tokenizers {tokenizers.__version__}";']
    lines += (f"export const {name} = {json.dumps(' '.join(words))};" for name, words in strings.items())
    return "// Generated by runtime_cpp/tools/make_character_tables.py. Do not edit.\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    part = output.with_name(output.name + ".part")
    part.write_text(typescript_source() if output.suffix == ".ts" else cpp_source(), "utf-8")
    part.replace(output)


if __name__ == "__main__":
    main()
