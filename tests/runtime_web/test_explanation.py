"""Explanations: words are those of the reference tokenizer, and evidence is that of Python without the word."""

from __future__ import annotations

import itertools
import unicodedata

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from crosstune_export import Classifier
from tests.fixtures.edited_bundle import with_tokenizer
from tests.fixtures.golden_texts import random_text
from tests.fixtures.node_runtime import WebError
from tests.fixtures.subword_tokenizers import texts, tokenizer_of
from tests.tolerances import WEB_EVIDENCE


@pytest.fixture(scope="module")
def web(runtime, tiny_fp32_bundle_dir):
    return runtime.load(tiny_fp32_bundle_dir)


@pytest.fixture(scope="module")
def reference(tiny_fp32_bundle_dir):
    tokenizer = Tokenizer.from_str((tiny_fp32_bundle_dir / "tokenizer.json").read_text("utf-8"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def utf16_length(text: str) -> int:
    """The length of a text in JavaScript."""
    return len(text.encode("utf-16-le")) // 2


def reference_words(tokenizer: Tokenizer, text: str) -> list[tuple[str, int, int]]:
    """Each word of a text, where it starts, and its number of tokens."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    words = []
    for _, group in itertools.groupby(range(len(encoding.ids)), lambda index: encoding.word_ids[index]):
        indices = list(group)
        start, end = encoding.offsets[indices[0]][0], encoding.offsets[indices[-1]][1]
        words.append((text[start:end], start, len(indices)))
    return words


@given(text=st.text(st.sampled_from("ab parcel ,.!商é😀\t-"), max_size=60))
def test_words_are_those_of_the_reference(web, reference, text):
    expected, at = [], 1
    for word, start, count in reference_words(reference, text):
        expected.append((word, utf16_length(text[:start]), [at, at + count]))
        at += count
    found = web.explain(text)["words"]
    kept = [word for word in expected if word[2][0] < 63]  # 64 tokens, the last of them special
    assert [(word["text"], word["start"], word["tokens"][0]) for word in found] == [
        (text, at, tokens[0]) for text, at, tokens in kept
    ]


def test_it_can_be_aborted(web):
    text = "parcel " * 60
    assert len(web.explain(text)["words"]) == 60
    with pytest.raises(WebError) as caught:
        web.explain(text, abort=True)
    assert caught.value.name == "AbortError"


def test_words_cover_the_whole_row(web):
    import random

    source = random.Random(7)
    for _ in range(40):
        text = "".join(c for c in random_text(source) if unicodedata.category(c) != "Cc")
        words = web.explain(text)["words"]
        ((ids, _, _),) = web.tokenize([text])
        positions = [position for word in words for position in range(*word["tokens"])]
        assert positions == list(range(1, len(ids) - 1))
        spans = [(word["start"], word["end"]) for word in words]
        assert spans == sorted(spans)


def log_odds(probs: np.ndarray) -> np.ndarray:
    wide = probs.astype(np.float64)
    return np.log(wide) - np.log(wide.sum() - wide)


@pytest.mark.parametrize("text", ["where is my parcel, it is late", "", "zebra 42", "parcel " * 100])
def test_evidence_is_the_drop_of_the_log_odds(web, tiny_fp32_bundle_dir, text):
    python = Classifier.load(tiny_fp32_bundle_dir)
    found = web.explain(text)
    assert found["label"] == python.classify([text])[0].label
    session = onnxruntime.InferenceSession(tiny_fp32_bundle_dir / "model.onnx", providers=["CPUExecutionProvider"])

    def probs(ids):
        feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        return session.run(["probs"], feeds)[0][0]

    (ids,) = python.token_ids([text])
    for word in found["words"]:
        first, stop = word["tokens"]
        expected = log_odds(probs(ids)) - log_odds(probs(ids[:first] + ids[stop:]))
        assert np.abs(np.array(word["evidence"]) - expected).max() <= WEB_EVIDENCE


def test_words_of_a_pair(runtime, tiny_pair_bundle_dir):
    words = runtime.load(tiny_pair_bundle_dir).explain(["where is it", "the box!"])["words"]
    assert [(word["text"], word["part"]) for word in words] == [
        ("where", 0), ("is", 0), ("it", 0), ("the", 1), ("box", 1), ("!", 1),
    ]  # fmt: skip
    assert [word["tokens"][0] for word in words] == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("name", ["RoBERTa", "ModernBERT", "EuroBERT", "XLM-RoBERTa", "ALBERT", "DeBERTa"])
def test_words_of_other_tokenizers_have_no_spaces_around_them(runtime, tiny_bundle_dir, tmp_path, name):
    tokenizer = tokenizer_of(name)
    path, _ = with_tokenizer(tiny_bundle_dir, tmp_path / "x.bundle", tokenizer)
    loaded = runtime.load(path)
    tokenizer.encode_special_tokens = True
    for text in (*texts()[:4], "we're  here, it's 12345!", "naïve  [unused0] ½x", "é商😀 ok"):
        expected = [(word.strip() or word, count) for word, _, count in reference_words(tokenizer, text)]
        words = loaded.explain(text)["words"]
        assert [(word["text"], word["tokens"][1] - word["tokens"][0]) for word in words] == expected
    loaded.close()
