"""Tokenizers of published encoders: every runtime gives the ids of the reference, and refuses what it does not implement."""

from __future__ import annotations

import copy
import json
import random

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from crosstune.core.portable_tokenizers import needs_python
from crosstune.core.tokenizer_rules import QWEN_SPLIT
from tests.fixtures.edited_bundle import edited, with_tokenizer
from tests.fixtures.golden_texts import CODE_POINTS, random_text
from tests.fixtures.subword_tokenizers import (
    BPE,
    SPECIAL,
    UNIGRAM,
    table_of_everything,
    texts,
    tokenizer_of,
)
from tests.runtimes.every_runtime import CppRuntime, Refused, WebRuntime

# ruff: noqa: RUF001
#: Texts that fall at the edges of splits, tokens and clusters.
CORNERS = (
    "", " ", "  ", "\n", " \n \t x", "a\n\n b", "we're 'S 'ſx 'LL 'l y'all", "  <mask> x<s>", "a <tool_call> b </tool_call>",
    "|||IP_ADDRESS|||    x", "naïve nai\u0308ve tab\tx", "▁a ▁▁b", "``q'' x", " lead", "trail  ", "x\r\n\r\ny  \t z", "1234567 8½①",
    "[CLS]  [unused0] <|padding|>", "a\u0301\u0323 e\u0323\u0301", "\u1100\u1161\u11a8 각\u11a8 가\u11a8", "™\u0301 ©\u200d©\u0301 \r\n",
    "क्षि क\u094dक\u0300", "\u0600a\u0300 ﷺ", "👩\u200d👩\u200d👧 🇩🇪🇫", "\u0340\u0344 Å ﬃ", "\u0958\u0300 \u00ad\u200b\ufeff", "x" * 300,
    "商" * 80,
)  # fmt: skip


@pytest.fixture(params=["c++", "web"])
def runtime(request):
    """A runtime that has tokenizers of its own."""
    if request.param == "c++":
        return CppRuntime(request.getfixturevalue("library"))
    return WebRuntime(request.getfixturevalue("node"))


@pytest.fixture
def differing(runtime, tiny_bundle_dir, tmp_path):
    """The texts whose ids or ``truncated`` differ between a runtime and the reference."""

    def differing(tokenizer: Tokenizer, samples) -> list[str]:
        path, reference = with_tokenizer(tiny_bundle_dir, tmp_path / "x.bundle", tokenizer)
        loaded = runtime.load(path)
        rows = reference.rows(samples)
        found = [loaded.ids(text) for text in samples]
        loaded.close()
        return [
            text for text, row, ids in zip(samples, rows, found, strict=True) if ids != (tuple(row.ids), row.truncated)
        ]

    return differing


@pytest.mark.parametrize("name", [*BPE, *UNIGRAM])
def test_ids_are_those_of_the_reference(differing, name):
    source = random.Random(name)
    samples = [*CORNERS, *texts()[:40], *(random_text(source) for _ in range(200))]
    assert differing(tokenizer_of(name), samples) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ModernBERT", "EuroBERT", "ALBERT", "DeBERTa"])
def test_code_points_alone_and_in_a_word(differing, name):
    points = [*CODE_POINTS[:0x3400], *CODE_POINTS[0x3400::97]]
    samples = [
        " ".join(f"a{chr(code)}b {chr(code)}" for code in points[start : start + 40])
        for start in range(0, len(points), 40)
    ]
    assert differing(tokenizer_of(name), samples) == []


def test_grapheme_clusters_are_those_of_the_reference(differing):
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("x", -1.0), ("▁", -1.0)], unk_id=0))
    tokenizer.normalizer = normalizers.Precompiled(table_of_everything())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    source = random.Random(1)
    telling = [*"©\u0301\u200d\u200c\u094d\u0915\u0958\u1100\u1161\u11a8\uac00\u0600\u0903\r\na"]
    telling += "\U000e0001\U0001d173\U0001f44d\U0001e000\U000110bd\U00011002\U00016d63\U0001f1e9"  # four bytes each
    samples = ["".join(source.choices(telling, k=source.randrange(1, 8))) for _ in range(300)]
    samples += [
        character + marks + random_text(source) for character in telling for marks in ("\u0300", "\u0300\u0301")
    ]
    assert differing(tokenizer, samples) == []


@pytest.mark.parametrize("name", UNIGRAM)
def test_words_that_two_splits_fit_equally_well(differing, name):
    amounts = [
        f"{sign}{number},000{end}"
        for sign in ("", "$", "US$", "of $")
        for number in range(1, 400, 7)
        for end in ("", ".")
    ]
    assert differing(tokenizer_of(name), [*amounts, ",000", "60,000,000", "a000", "aaa", "---"]) == []


def test_scores_decide_even_where_unknown_characters_are_a_token(differing):
    vocabulary = [
        ("<unk>", 0.0),
        ("a", 50.0),
        ("b", 60.0),
        ("ab", 40.0),
        ("▁", 45.0),
        ("xy", 40.0),
        ("", 1.0),
        ("a", 55.0),
    ]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    assert differing(tokenizer, ["ab", "abxyab", "xy", "xyz zyx", "<unk>", "x<unk>y", "aabb"]) == []


def _bpe() -> dict:
    return json.loads(tokenizer_of("Qwen3").to_str())


def _unigram() -> dict:
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -2.0)], unk_id=0))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "_")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(SPECIAL[3:4])
    return json.loads(tokenizer.to_str())


def _added(**fields):
    token = {
        "content": "(:",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }
    return lambda body: body["added_tokens"].append(token | fields)


def _set(*keys, value):
    def change(body):
        for key in keys[:-1]:
            body = body[key]
        body[keys[-1]] = value

    return change


def _without_space(model: dict) -> dict:
    return model | {"merges": [], "vocab": {token: index for token, index in model["vocab"].items() if token != "Ġ"}}


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
EDITS = {
    "a Unigram": (_unigram, lambda body: None),
    "a BPE": (_bpe, lambda body: None),
    "no normalizer": (_unigram, _set("normalizer", value=None)),
    "no pre-tokenizer": (_unigram, _set("pre_tokenizer", value=None)),
    "WordLevel": (_unigram, _set("model", value={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"})),
    "Nmt": (_unigram, _set("normalizer", value={"type": "Nmt"})),
    "an empty table": (_unigram, _set("normalizer", value={"type": "Precompiled", "precompiled_charsmap": ""})),
    "Digits": (_unigram, _set("pre_tokenizer", value={"type": "Digits", "individual_digits": True})),
    "a prefix for the first": (_unigram, _set("pre_tokenizer", "prepend_scheme", value="first")),
    "another space": (_unigram, _set("pre_tokenizer", "replacement", value="_")),
    "bytes for a Unigram": (_unigram, _set("pre_tokenizer", value=_BYTES)),
    "removed punctuation": (_unigram, _set("pre_tokenizer", value={"type": "Punctuation", "behavior": "Removed"})),
    "no unknown token": (_unigram, _set("model", "unk_id", value=None)),
    "a long token": (_unigram, lambda body: body["model"]["vocab"].append(["a" * 513, -1.0])),
    "no bytes": (_bpe, _set("pre_tokenizer", value={"type": "WhitespaceSplit"})),
    "no pre-tokenizer for bytes": (_bpe, _set("pre_tokenizer", value=None)),
    "an expression removed": (_bpe, _set("pre_tokenizer", "pretokenizers", 0, "behavior", value="Removed")),
    "a prefix of later tokens": (_bpe, _set("model", "continuing_subword_prefix", value="##")),
    "a byte without a token": (_bpe, lambda body: body.update(added_tokens=[], model=_without_space(body["model"]))),
    "an added token": (_unigram, _added(id=3)),
    "one with another id": (_unigram, _added(id=7)),
    "one with spaces": (_unigram, _added(id=3, lstrip=True)),
    "one as a whole word": (_unigram, _added(id=3, single_word=True)),
    "one that is in the vocabulary": (_unigram, _added(id=2, content="a")),
    "one twice": (_unigram, lambda body: [_added(id=3)(body), _added(id=3)(body)]),
    "one that is special": (_unigram, _added(id=9, special=True, lstrip=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_runtime_refuses_what_the_rules_leave_to_python(runtime, tiny_bundle_dir, tmp_path, name):
    make, edit = EDITS[name]
    body = copy.deepcopy(make())
    edit(body)
    reason = needs_python(body)
    path, _ = with_tokenizer(tiny_bundle_dir, tmp_path / "a.bundle", tokenizer_of("Qwen3"))
    path = edited(path, tmp_path / "x.bundle", files={"tokenizer.json": json.dumps(body).encode()})
    if reason is None:
        runtime.load(path).close()
        return
    with pytest.raises(
        Refused, match=r"Use the Python runtime for this bundle|expected .* Build the bundle again"
    ) as caught:
        runtime.load(path)
    assert caught.value.code == 5
    if "Build the bundle again" not in caught.value.message:
        assert f"tokenizer.json: {reason}" in caught.value.message


def test_the_expressions_of_a_bundle_are_compared_as_text(runtime, tiny_bundle_dir, tmp_path):
    body = _bpe()
    body["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": QWEN_SPLIT.replace(r"\s+(?!\S)|", "")}
    path = edited(tiny_bundle_dir, tmp_path / "x.bundle", files={"tokenizer.json": json.dumps(body).encode()})
    with pytest.raises(Refused, match="its pre_tokenizer has the expression"):
        runtime.load(path)
