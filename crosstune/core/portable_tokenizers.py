"""Which runtimes read a tokenizer: all read those of BERT, SentencePiece's Unigram and byte-level BPE with the parts listed here.

The C++ and the web runtime implement these parts, and refuse others when they load a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from crosstune.core.strict_text import Json
from crosstune.core.tokenizer_rules import (
    DEBERTA_SPACES,
    LLAMA_SPLIT,
    MOST_PARTS,
    QWEN_SPLIT,
    SPACES,
)

#: The runtimes of a bundle.
RUNTIMES = ("python", "cpp", "web", "mobile")
_BERT = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
_NORMALIZERS = frozenset(
    ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "Replace", "Precompiled", "BertNormalizer"]
)
#: Longest token, in bytes.
_MOST_TOKEN_BYTES = 512
#: The characters that stand for bytes in a byte-level vocabulary: printable ones of Latin-1, and U+0100 to U+0143 for the others.
_PRINTABLE = frozenset((*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)))
#: Bytes that never occur in UTF-8.
_NOT_UTF8 = frozenset((0xC0, 0xC1, *range(0xF5, 0x100)))


def needs_python(body: Json) -> str | None:
    """Return why only the Python runtime reads a tokenizer; None if all runtimes read it.

    Args:
        body: A parsed ``tokenizer.json`` that a bundle may contain.

    Examples:
        >>> needs_python({"model": {"type": "WordLevel"}})
        'its model is WordLevel, expected WordPiece, Unigram or byte-level BPE'
    """
    parts = body if isinstance(body, dict) else {}
    return next(_reasons(parts), None)


def runtimes(body: Json) -> tuple[str, ...]:
    """Return the names of the runtimes that read a tokenizer, of ``RUNTIMES``.

    The tokenizer alone decides: all runtimes accept the same graphs in every precision.

    Args:
        body: A parsed ``tokenizer.json`` that a bundle may contain.

    Examples:
        >>> runtimes({"model": {"type": "WordLevel"}})
        ('python',)
    """
    return RUNTIMES if needs_python(body) is None else RUNTIMES[:1]


def _reasons(body: dict[str, Json]) -> Iterator[str]:
    model = _object(body.get("model"))
    kind = _type(body.get("model"))
    if kind == "WordPiece":
        for name, expected in _BERT.items():
            if _type(body.get(name)) != expected:
                yield f"its {name} is {_type(body.get(name))}, expected {expected}"
        for token in _added(body):
            if token.get("special") is not True:
                yield f"it adds the token {_text(token.get('content'))}, which is not special, expected special ones only"
    elif kind == "Unigram":
        yield from _unigram_reasons(model)
        yield from _part_reasons(body)
        yield from _added_reasons(body, _unigram_ids(model))
    elif kind == "BPE":
        yield from _bpe_reasons(model)
        yield from _part_reasons(body)
        yield from _added_reasons(body, _object(model.get("vocab")))
    else:
        yield f"its model is {kind}, expected WordPiece, Unigram or byte-level BPE"


def _part_reasons(body: dict[str, Json]) -> Iterator[str]:
    for key, nested in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers")):
        parts = list(_parts(body.get(key), nested))
        if len(parts) > MOST_PARTS:
            yield f"its {key} has more than {MOST_PARTS} parts"
        parts = [part for part in parts if _type(part) != "Sequence"]
        yield from _normalizer_reasons(parts) if key == "normalizer" else _pre_tokenizer_reasons(parts)
        if key == "pre_tokenizer":
            byte_level = [index for index, part in enumerate(parts) if _type(part) == "ByteLevel"]
            needed = [len(parts) - 1] if _type(body.get("model")) == "BPE" else []
            if byte_level != needed:
                yield "its pre_tokenizer needs a ByteLevel as the last part for BPE, and nowhere else"


def _normalizer_reasons(parts: list[dict[str, Json]]) -> Iterator[str]:
    for part in parts:
        kind = _type(part)
        expression = _object(part.get("pattern")).get("Regex")
        if kind not in _NORMALIZERS:
            yield f"its normalizer has the part {_text(kind)}"
        elif kind == "Replace" and expression is not None and expression not in (SPACES, DEBERTA_SPACES):
            yield f"its normalizer has the expression {_text(expression)}"
        elif kind == "Precompiled" and not part.get("precompiled_charsmap"):
            yield "its normalizer has a Precompiled without a table"


def _pre_tokenizer_reasons(parts: list[dict[str, Json]]) -> Iterator[str]:
    for part in parts:
        kind, scheme = _type(part), part.get("prepend_scheme")
        is_isolated = part.get("behavior") == "Isolated"
        expression = _object(part.get("pattern")).get("Regex")
        if kind == "Metaspace" and part.get("replacement") == "▁":
            if scheme not in ("always", "never"):
                yield f"its Metaspace has the prepend_scheme {_text(scheme)}"
        elif kind == "Split" and is_isolated and part.get("invert") is False and expression is not None:
            if expression not in (QWEN_SPLIT, LLAMA_SPLIT):
                yield f"its pre_tokenizer has the expression {_text(expression)}"
        elif kind not in ("WhitespaceSplit", "ByteLevel") and not (kind == "Punctuation" and is_isolated):
            yield f"its pre_tokenizer has the part {_text(kind)}"


def _unigram_reasons(model: dict[str, Json]) -> Iterator[str]:
    if model.get("unk_id") is None:
        yield "its Unigram has no unknown token"
    if any(len(token.encode()) > _MOST_TOKEN_BYTES for token in _unigram_ids(model)):
        yield f"its Unigram has a token of more than {_MOST_TOKEN_BYTES} bytes"


def _bpe_reasons(model: dict[str, Json]) -> Iterator[str]:
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            yield f"its BPE has the {key} {_text(model[key])}"
    vocabulary = _object(model.get("vocab"))
    others = iter(range(0x100, 0x200))
    for byte in range(256):
        character = chr(byte if byte in _PRINTABLE else next(others))
        if character not in vocabulary and byte not in _NOT_UTF8:
            yield f"its BPE has no token for the byte {byte}"


def _added_reasons(body: dict[str, Json], ids: dict[str, Json]) -> Iterator[str]:
    """The reasons in the added tokens, unless all of them are special: those are ordinary text."""
    tokens = list(_added(body))
    if all(token.get("special") is True for token in tokens):
        return
    seen: set[Json] = set()
    next_id = len(ids) if _type(body.get("model")) == "BPE" else len(_list(_object(body["model"]).get("vocab")))
    for token in tokens:
        content = token.get("content")
        own = ids.get(content) if isinstance(content, str) else None
        if own is None:  # the tokenizers library numbers them itself, whatever the file says
            own, next_id = next_id, next_id + 1
        if content in seen:
            yield f"it adds the token {_text(content)} twice"
        seen.add(content)
        if len(str(content).encode()) > _MOST_TOKEN_BYTES:
            yield f"it adds a token of more than {_MOST_TOKEN_BYTES} bytes"
        if token.get("special") is True:
            continue
        for key in ("lstrip", "rstrip", "single_word"):
            if token.get(key) is not False:
                yield f"it adds the token {_text(content)} with {key}"
        if token.get("id") != own:
            yield f"it adds the token {_text(content)} with an id of another token"


def _unigram_ids(model: dict[str, Json]) -> dict[str, Json]:
    """The id of each token of a Unigram; of one that stands twice, the last id."""
    pairs = (pair for pair in _list(model.get("vocab")))
    return {pair[0]: index for index, pair in enumerate(pairs) if isinstance(pair, list) and isinstance(pair[0], str)}


def _parts(value: Json, nested: str) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
        if _type(value) == "Sequence":
            for item in _list(value.get(nested)):
                yield from _parts(item, nested)


def _added(body: dict[str, Json]) -> Iterator[dict[str, Json]]:
    return (_object(token) for token in _list(body.get("added_tokens")))


def _type(value: Json) -> str:
    kind = _object(value).get("type")
    return kind if isinstance(kind, str) else "missing"


def _object(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)[:80]
