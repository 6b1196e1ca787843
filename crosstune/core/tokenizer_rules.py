"""The tokenizers that a bundle may contain; portable_tokenizers.py says which runtimes read them.

The tokenizers library runs any regular expression in a ``tokenizer.json``, and panics on some files that are valid JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import cast

from crosstune.core.strict_text import Json

MODELS = frozenset({"WordPiece", "BPE", "Unigram", "WordLevel"})
_PARTS = (
    "BertNormalizer Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Sequence Strip StripAccents "  # normalizers
    "BertPreTokenizer ByteLevel Digits Metaspace Punctuation Split UnicodeScripts Whitespace WhitespaceSplit "
    "BertProcessing RobertaProcessing TemplateProcessing "  # special tokens: not used, the manifest lists them
    "BPEDecoder ByteFallback Fuse WordPiece"  # decoders: not used
)
#: Parts that occur in the tokenizers of published encoders.
PARTS = frozenset(_PARTS.split())
#: How much longer the normalizers together may make a text; Metaspace and quotation marks need no growth, NFKC is not counted.
MOST_GROWTH = 16
#: Longest text that a normalizer puts before every text, or in the place of one character; published encoders: "▁", and 18.
MOST_ADDED_CHARACTERS = 64
#: Most normalizers, pre-tokenizers, processors or decoders; published encoders have up to 7.
MOST_PARTS = 32
#: Longest word of a WordPiece vocabulary that is looked up, which costs its square; BERT: 100.
MOST_WORD_CHARACTERS = 1000
#: Most tokens, and size of a table of characters; the largest published ones have 262,145 and 316,720.
MOST_TOKENS, MOST_TABLE_CHARACTERS = 1 << 21, 1 << 21
#: Largest score of a Unigram token, by size, so that the sum over any text is finite; published ones are below 100.
MOST_SCORE = 1e6
#: The expressions in published encoders; other ones may take exponential time. Of XLM-RoBERTa and relatives:
SPACES = " {2,}"
#: Of DeBERTa-v2 and v3.
DEBERTA_SPACES = r"\s{2,}|[\n\r\t]"
#: Of Qwen.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
#: Of Llama 3 and EuroBERT.
LLAMA_SPLIT = QWEN_SPLIT.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
PATTERNS = frozenset({SPACES, DEBERTA_SPACES, QWEN_SPLIT, LLAMA_SPLIT})


def largest_id(body: Json) -> int:
    """Return the largest token id of a tokenizer that a bundle may contain.

    Args:
        body: A parsed ``tokenizer.json``.

    Raises:
        ValueError: A part is not on the lists, or an id is invalid; the message names it, such as ``a model 'X'``.
    """
    if not isinstance(body, dict) or not isinstance(body.get("model"), dict):
        raise ValueError("no model")
    model = cast("dict[str, Json]", body["model"])
    _check_parts(body)
    _check_model(model)
    ids = list(_vocabulary_ids(model))
    for token in _array(body.get("added_tokens") or [], "added_tokens"):
        if not isinstance(token, dict):
            raise ValueError("an added token that is no object")
        if not token.get("content"):
            raise ValueError("an added token without text")
        ids.append(_id(token.get("id")))
    if not 0 < len(ids) <= MOST_TOKENS:
        raise ValueError(f"{len(ids)} tokens" if ids else "no vocabulary")
    _check_merges(model)
    return max(ids)


def _check_parts(body: dict[str, Json]) -> None:
    kind = cast("dict[str, Json]", body["model"]).get("type")
    if not _listed(kind, MODELS):
        raise ValueError(f"a model {kind!r:.60}")
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        parts = list(_objects(body.get(key)))
        if len(parts) > MOST_PARTS:
            raise ValueError(f"{len(parts)} parts in its {key}")
        for part in parts:
            if "type" in part and not _listed(part["type"], PARTS):
                raise ValueError(f"a part {part['type']!r:.60} in its {key}")
            pattern = part.get("pattern")
            if isinstance(pattern, dict) and "Regex" in pattern and not _listed(pattern["Regex"], PATTERNS):
                raise ValueError(f"the expression {pattern['Regex']!r:.60} in its {key}")
        _check_growth(parts)


def _check_growth(parts: list[dict[str, Json]]) -> None:
    """Refuse normalizers that together make a text much longer, such as one that doubles a letter, forty times over."""
    growth, added = 1.0, 0
    for part in parts:
        pattern = part.get("pattern")
        for found in pattern.values() if isinstance(pattern, dict) else ():
            content = part.get("content", "")
            if not isinstance(found, str) or not found or not isinstance(content, str):
                raise ValueError("a pattern without text")
            growth *= max(1.0, len(content) / (1 if found in PATTERNS else len(found)))
        prefix = part.get("prepend", "")
        added += len(prefix) if isinstance(prefix, str) else 0
        _check_table(part)
    if growth > MOST_GROWTH or added > MOST_ADDED_CHARACTERS:
        raise ValueError("normalizers that make texts much longer")


def _check_table(part: dict[str, Json]) -> None:
    """Check the table of a ``Precompiled`` normalizer: its size, and the longest text that it puts in the place of a character."""
    table = part.get("precompiled_charsmap") or ""
    if not isinstance(table, str) or len(table) > MOST_TABLE_CHARACTERS:
        raise ValueError("a table of characters that is too large")
    if not table:
        return
    data = base64.b64decode(table)
    size = int.from_bytes(data[:4], "little")  # of the tree that finds the texts behind it
    if size % 4 or not 4 <= size <= len(data) - 4:
        raise ValueError("a table of characters that is cut short")
    texts = data[4 + size :]
    if max(map(len, texts.split(b"\0"))) > MOST_ADDED_CHARACTERS:
        raise ValueError("normalizers that make texts much longer")


def _check_model(model: dict[str, Json]) -> None:
    """Check the numbers of a model: no chance, no word so long that looking it up takes minutes, no score that adds up to infinity."""
    if model.get("dropout"):
        raise ValueError(f"the dropout {model['dropout']!r:.40}, which answers by chance")
    characters = model.get("max_input_chars_per_word", 0)
    if type(characters) is not int or not 0 <= characters <= MOST_WORD_CHARACTERS:
        raise ValueError(f"words of {characters!r:.40} characters")
    if model.get("type") != "Unigram":
        return
    for piece in _array(model.get("vocab"), "vocabulary"):
        score = piece[1] if isinstance(piece, list) and len(piece) == 2 else None
        if not isinstance(score, (int, float)) or not abs(score) <= MOST_SCORE:
            raise ValueError(f"the token {piece!r:.60}")


def _listed(value: Json, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def _objects(value: Json) -> Iterator[dict[str, Json]]:
    """Yield a part and all parts nested in it, without the special tokens of a template."""
    if isinstance(value, dict):
        yield value
        for key in ("normalizers", "pretokenizers", "processors", "decoders"):
            yield from _objects(value.get(key))
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


def _vocabulary_ids(model: dict[str, Json]) -> Iterator[int]:
    vocabulary = model.get("vocab")
    if model.get("type") == "Unigram":  # the index in the list is the id
        yield from range(len(_array(vocabulary, "vocabulary")))
    elif isinstance(vocabulary, dict):
        yield from map(_id, vocabulary.values())
    else:
        raise ValueError("a vocabulary that is no object")


def _check_merges(model: dict[str, Json]) -> None:
    """Check that both sides of each merge and its result are tokens; the library panics otherwise."""
    if model.get("type") != "BPE":
        return
    vocabulary = cast("dict[str, Json]", model["vocab"])
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in _array(model.get("merges"), "merges"):
        left, right = _sides(merge)
        outcome = left + right.removeprefix(prefix if isinstance(prefix, str) else "")
        if not {left, right, outcome} <= vocabulary.keys():
            raise ValueError(f"the merge {merge!r:.60} of tokens that are not there")


def _sides(merge: Json) -> tuple[str, str]:
    """Return both sides of a merge, which is a list of two or, in older files, a string with a space between them."""
    sides = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(sides, list) or len(sides) != 2:
        raise ValueError(f"the merge {merge!r:.60}")
    left, right = sides
    if not isinstance(left, str) or not isinstance(right, str):
        raise ValueError(f"the merge {merge!r:.60}")
    return left, right


def _array(value: Json, what: str) -> list[Json]:
    if not isinstance(value, list):
        raise ValueError(f"{what} that is no array")
    return value


def _id(value: Json) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError(f"the id {value!r:.40}")
    return value
