"""Refuses a tokenizer.json with parts that no build writes, before the tokenizers library reads it.

The library runs any regular expression in the file, and panics on some files that are valid JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from crosstune.core.errors import BundleContentError
from crosstune.core.strict_text import Json
from crosstune_export.bundle.strict_json import strict_json

MODELS = frozenset({"WordPiece", "BPE", "Unigram", "WordLevel"})
_PARTS = (
    "BertNormalizer Lowercase NFC NFD NFKC NFKD Nmt Precompiled Prepend Replace Sequence Strip StripAccents "  # normalizers
    "BertPreTokenizer ByteLevel Digits Metaspace Punctuation Split UnicodeScripts Whitespace WhitespaceSplit "
    "BertProcessing RobertaProcessing TemplateProcessing "  # special tokens: not used, the manifest lists them
    "BPEDecoder ByteFallback Fuse WordPiece"  # decoders: not used
)
#: Parts that occur in the tokenizers of published encoders.
PARTS = frozenset(_PARTS.split())
#: The only expression in a published encoder (XLM-RoBERTa and relatives). Other ones may take exponential time.
PATTERNS = frozenset({" {2,}"})


def check_tokenizer(data: bytes, where: str) -> int:
    """Read a ``tokenizer.json`` and refuse it unless all its parts are on the lists.

    Args:
        data: Contents of the file.
        where: Name of the file in messages.

    Returns:
        The largest token id.

    Raises:
        BundleContentError: A part is not on the lists, or an id is invalid.
    """
    body = strict_json(data, where)
    try:
        if not isinstance(body, dict) or not isinstance(body.get("model"), dict):
            raise ValueError("no model")
        model = cast("dict[str, Json]", body["model"])
        _check_parts(body)
        ids = list(_vocabulary_ids(model))
        for token in _array(body.get("added_tokens") or [], "added_tokens"):
            if not isinstance(token, dict):
                raise ValueError("an added token that is no object")
            ids.append(_id(token.get("id")))
        if not ids:
            raise ValueError("no vocabulary")
        _check_merges(model)
        return max(ids)
    except ValueError as error:
        raise BundleContentError(
            f"{where}: the tokenizer has {error}, expected only what a build writes. Do not use it; build the bundle again."
        ) from error


def _check_parts(body: dict[str, Json]) -> None:
    kind = cast("dict[str, Json]", body["model"]).get("type")
    if not _listed(kind, MODELS):
        raise ValueError(f"a model {kind!r:.60}")
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for part in _objects(body.get(key)):
            if "type" in part and not _listed(part["type"], PARTS):
                raise ValueError(f"a part {part['type']!r:.60} in its {key}")
            pattern = part.get("pattern")
            if isinstance(pattern, dict) and "Regex" in pattern and not _listed(pattern["Regex"], PATTERNS):
                raise ValueError(f"the expression {pattern['Regex']!r:.60} in its {key}")


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
