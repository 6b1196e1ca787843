"""Write the character tables of the C++ and the web tokenizer by asking the reference tokenizer about every code point.

Nothing here knows Unicode: what counts as a control character, an accent or punctuation, and in which order accents stand,
is what the installed ``tokenizers`` library does. Run it again with a newer library, and the tables follow.

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
#: Bits of a code point's properties; ``characters.hpp`` and ``characters.ts`` have the same names.
REMOVED, SPACE, CHINESE, STRIPPED, MARK, DECOMPOSES, LOWERS, WHITESPACE, PUNCTUATION = (1 << i for i in range(9))
HANGUL = range(0xAC00, 0xD7A4)
#: Marks of the lowest and of the highest combining class, between which every other one is put by the reference.
LOWEST_MARK, HIGHEST_MARK = "\u0334", "\u0345"

_OFF = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
nfd = NFD().normalize_str
clean = BertNormalizer(**_OFF | {"clean_text": True}).normalize_str
chinese = BertNormalizer(**_OFF | {"handle_chinese_chars": True}).normalize_str
strip = BertNormalizer(**_OFF | {"strip_accents": True}).normalize_str
lower = BertNormalizer(**_OFF | {"lowercase": True}).normalize_str
pieces = BertPreTokenizer().pre_tokenize_str


def changed(function: Callable[[str], str]) -> Iterator[tuple[int, str]]:
    """Code points that a normalizer changes, with what it makes of them."""
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if function(block) != block:  # else it changes none of them
            for character in block:
                if (found := function(character)) != character:
                    yield ord(character), found


def is_mark(character: str) -> bool:
    """Whether it has a combining class, that is, whether it moves among other marks."""
    return (
        nfd(character + LOWEST_MARK) != character + LOWEST_MARK
        or nfd(HIGHEST_MARK + character) != HIGHEST_MARK + character
    )


def hangul(code: int) -> str:
    """The decomposition of a syllable by the arithmetic of the Unicode standard, which the C++ code uses as well."""
    leading, rest = divmod(code - 0xAC00, 588)
    vowel, trailing = divmod(rest, 28)
    return chr(0x1100 + leading) + chr(0x1161 + vowel) + (chr(0x11A7 + trailing) if trailing else "")


def tables() -> tuple[list[int], dict[int, str], dict[int, str], dict[int, int]]:
    """Properties of every code point, decompositions, lower case, and the rank of marks that are kept."""
    flags = [0] * 0x110000
    for code, found in changed(clean):
        if found not in ("", " "):
            raise SystemExit(
                f"U+{code:04X}: clean_text gives {found!r}, expected nothing or a space. Extend this script."
            )
        flags[code] |= SPACE if found else REMOVED
    flags[ord(" ")] |= SPACE
    for code, found in changed(chinese):
        if found != f" {chr(code)} ":
            raise SystemExit(f"U+{code:04X}: found {found!r}, expected spaces around it. Extend this script.")
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
    for code, found in decompositions.items():
        kept = "".join(part for part in found if not flags[ord(part)] & STRIPPED)
        if strip(chr(code)) != kept or (code in HANGUL and found != hangul(code)):
            raise SystemExit(f"U+{code:04X}: stripped to {strip(chr(code))!r}, expected {kept!r}. Extend this script.")
    for start in range(0, len(CODE_POINTS), BLOCK):
        block = "".join(map(chr, CODE_POINTS[start : start + BLOCK]))
        if [piece for piece, _ in pieces(block)] == [block]:
            continue
        for character in block:
            found = [piece for piece, _ in pieces(f"a{character}a")]
            flags[ord(character)] |= {1: 0, 2: WHITESPACE, 3: PUNCTUATION}[len(found)]
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
    """Three C++ arrays: sorted code points, where the texts of each begin (and the last ends), and all texts."""
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
    """The whole file for C++."""
    flags, decompositions, lowered, ranks = tables()
    blocks: dict[tuple[int, ...], int] = {}
    index = [
        blocks.setdefault(tuple(flags[start : start + BLOCK]), len(blocks)) for start in range(0, len(flags), BLOCK)
    ]
    body = (
        array("std::uint8_t", "kBlockOf", index)
        + array("std::uint16_t", "kProperties", [flag for block in blocks for flag in block])
        + mapping("Decomposition", {code: found for code, found in decompositions.items() if code not in HANGUL})
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
    """A number as JavaScript's parseInt(text, 36) reads it."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


def typescript_source() -> str:
    """The whole file for TypeScript: strings, which ``characters.ts`` unpacks."""
    flags, decompositions, lowered, ranks = tables()
    runs = (f"{base36(len(list(run)))} {base36(flag)}" for flag, run in groupby(flags))
    outside_hangul = (chr(code) + found for code, found in decompositions.items() if code not in HANGUL)
    strings: dict[str, Iterable[str]] = {
        "PROPERTY_RUNS": runs,
        "DECOMPOSITIONS": outside_hangul,
        "LOWER": (chr(code) + found for code, found in lowered.items()),
        "RANKS": (chr(mark) + chr(0x100 + rank) for mark, rank in ranks.items()),  # only their order counts
    }
    lines = [f'export const REFERENCE = "tokenizers {tokenizers.__version__}";']
    lines += (f"export const {name} = {json.dumps(' '.join(words))};" for name, words in strings.items())
    return "// Generated by runtime_cpp/tools/make_character_tables.py. Do not edit.\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Write the file that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    part = output.with_name(output.name + ".part")
    part.write_text(typescript_source() if output.suffix == ".ts" else cpp_source(), "utf-8")
    part.replace(output)


if __name__ == "__main__":
    main()
