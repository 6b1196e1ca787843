"""Tokenizers of an attacker who can compute correct hashes are refused before the tokenizers library reads them."""

from __future__ import annotations

import base64
import json

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from crosstune.core.token_layout import MAX_TEXT_BYTES
from crosstune.core.tokenizer_rules import PATTERNS
from crosstune_export import BundleContentError, Classifier
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.tokenizer_check import check_tokenizer
from crosstune_export.bundle.write import write_bundle


def checked(body) -> int:
    return check_tokenizer(json.dumps(body).encode(), "here")


def reason(body) -> str:
    with pytest.raises(BundleContentError) as caught:
        checked(body)
    head, tail = (
        "here: the tokenizer has ",
        ", expected only what a build writes. Do not use it; build the bundle again.",
    )
    assert str(caught.value).startswith(head) and str(caught.value).endswith(tail)
    return str(caught.value)[len(head) : -len(tail)]


def saved(tokenizer) -> dict:
    return json.loads(tokenizer.to_str())


def words(**vocabulary) -> dict:
    return saved(Tokenizer(models.WordLevel(vocabulary or {"a": 0, "b": 1}, unk_token="a")))


def test_published_kinds_of_tokenizers_pass():
    bpe = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    bpe.post_processor = processors.RobertaProcessing(("b", 1), ("a", 0))
    assert checked(saved(bpe)) == 2
    pieces = Tokenizer(models.BPE({"a": 0, "##b": 1, "ab": 2}, [("a", "##b")], continuing_subword_prefix="##"))
    assert checked(saved(pieces)) == 2
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], 0))
    unigram.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    unigram.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    unigram.add_special_tokens(["[EXTRA]"])
    assert checked(saved(unigram)) == 3


@pytest.mark.fault("G14")
def test_an_expression_that_takes_for_ever():
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("(a+)+$"), "isolated")])
    assert reason(saved(tokenizer)) == "the expression '(a+)+$' in its pre_tokenizer"
    tokenizer.pre_tokenizer = pre_tokenizers.Split("a", "isolated")
    assert checked(saved(tokenizer)) == 0


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_expressions_of_published_tokenizers_are_linear(pattern):
    """Each reads the longest allowed text of one kind of character, and of kinds that take turns; more than linear would not end."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.normalizer = normalizers.Replace(Regex(pattern), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    assert checked(saved(tokenizer)) == 0
    for unit in (" ", "\n", "a", "1", "'", "!", " \n", " a", "\t!", "'l", "  1"):
        text = unit * (MAX_TEXT_BYTES // len(unit))
        for ending in ("", "!"):
            tokenizer.encode(text + ending)


def test_the_expressions_are_those_of_transformers():
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert PRETOKENIZE_REGEX in PATTERNS
    assert PRETOKENIZE_REGEX.replace(r"|\p{N}|", r"|\p{N}{1,3}|") in PATTERNS


@pytest.mark.fault("G14")
def test_a_merge_that_ends_the_thread():
    body = saved(Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])))
    body["model"]["vocab"] = {"a": 0, "b": 1}
    assert reason(body) == "the merge ['a', 'b'] of tokens that are not there"
    body["model"]["merges"] = ["a b"]
    assert reason(body) == "the merge 'a b' of tokens that are not there"
    body["model"]["merges"] = ["a b c"]
    assert reason(body) == "the merge 'a b c'"


@pytest.mark.fault("G14")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model": None}, "no model"),
        ({"model": {"type": "Script", "vocab": {}}}, "a model 'Script'"),
        ({"model": {"type": {}, "vocab": {}}}, "a model {}"),
        ({"normalizer": {"type": []}}, "a part [] in its normalizer"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": {}}}}, "the expression {} in its normalizer"),
        ({"normalizer": {"type": "Script"}}, "a part 'Script' in its normalizer"),
        ({"decoder": {"type": "Sequence", "decoders": [{"type": "Script"}]}}, "a part 'Script' in its decoder"),
        ({"model": {"type": "WordLevel", "vocab": {}}}, "no vocabulary"),
        ({"model": {"type": "WordLevel", "vocab": []}}, "a vocabulary that is no object"),
        ({"model": {"type": "WordLevel", "vocab": {"a": -1}}}, "the id -1"),
        ({"model": {"type": "WordLevel", "vocab": {"a": True}}}, "the id True"),
        ({"added_tokens": {}, "model": {"type": "WordLevel", "vocab": {"a": 1}}}, None),
        ({"added_tokens": [7]}, "an added token that is no object"),
        ({"added_tokens": [{"id": 1 << 40, "content": "x"}]}, "the id 1099511627776"),
    ],
)
def test_parts_that_no_build_writes(change, expected):
    if expected is None:
        assert checked(words() | change) == 1
    else:
        assert reason(words() | change) == expected


def _replace(pattern: dict, content: str, times: int = 1) -> dict:
    part = {"type": "Replace", "pattern": pattern, "content": content}
    return {"normalizer": {"type": "Sequence", "normalizers": [part] * times}}


@pytest.mark.fault("L18")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_replace({"String": "a"}, "aa", 5), "normalizers that make texts much longer"),
        (_replace({"String": "a"}, "b" * 17), "normalizers that make texts much longer"),
        (_replace({"Regex": " {2,}"}, "b" * 17), "normalizers that make texts much longer"),
        (_replace({"String": ""}, "x"), "a pattern without text"),
        (_replace({"String": "a"}, "a", 33), "34 parts in its normalizer"),
        ({"normalizer": {"type": "Prepend", "prepend": "a " * 33}}, "normalizers that make texts much longer"),
        (
            {
                "normalizer": {
                    "type": "Precompiled",
                    "precompiled_charsmap": base64.b64encode(b"\x04" + bytes(7) + b"a" * 65).decode(),
                }
            },
            "normalizers that make texts much longer",
        ),
        (
            {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 40).decode()}},
            "a table of characters that is cut short",
        ),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"String": ""}}}, "a pattern without text"),
        ({"added_tokens": [{"id": 1, "content": ""}]}, "an added token without text"),
        (
            {"model": {"type": "BPE", "dropout": 0.5, "vocab": {"a": 0}, "merges": []}},
            "the dropout 0.5, which answers by chance",
        ),
        (
            {"model": {"type": "WordPiece", "max_input_chars_per_word": 10**9, "vocab": {"a": 0}}},
            "words of 1000000000 characters",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", -1e308]]}}, "the token ['a', -1e+308]"),
        ({"model": {"type": "Unigram", "vocab": [["a"]]}}, "the token ['a']"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0.0, 0.0]]}}, "the token ['a', 0.0, 0.0]"),
        ({"model": {"type": "Unigram", "vocab": ["ab", 7]}}, "the token 'ab'"),
    ],
)
def test_texts_that_would_take_minutes_or_answers_by_chance(change, expected):
    assert reason(words() | change) == expected


@pytest.mark.fault("L18")
def test_growth_that_published_tokenizers_need():
    assert checked(words() | _replace({"String": " "}, "▁")) == 1
    assert checked(words() | _replace({"String": "a"}, "aa", 4)) == 1
    assert checked(words() | {"normalizer": {"type": "Prepend", "prepend": "▁"}}) == 1


@pytest.mark.fault("G14")
def test_json_that_is_none():
    with pytest.raises(
        BundleContentError, match=r"^here: not valid JSON \(key 'model' twice\)\. Build the bundle again\.$"
    ):
        check_tokenizer(b'{"model": {}, "model": {}}', "here")


@pytest.mark.fault("G14")
def test_ids_within_the_vocabulary_of_the_graph(tmp_path, tiny_fp32_bundle_dir):
    files = read_bundle(tiny_fp32_bundle_dir)
    body = json.loads(files.tokenizer)
    size = len(body["model"]["vocab"])
    body["model"]["vocab"]["beyond"] = size
    folder = tmp_path / "x.bundle"
    write_bundle(folder, files.manifest, files.model, json.dumps(body).encode(), files.selftest)
    with pytest.raises(BundleContentError) as caught:
        Classifier.load(folder)
    assert str(caught.value) == (
        f"{folder / 'tokenizer.json'}: has the id {size}, expected ids below {size}. Build the bundle again."
    )
