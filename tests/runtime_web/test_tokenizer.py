"""The web tokenizer gives exactly the ids of the reference."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.fixtures.edited_bundle import edited, with_tokenizer
from tests.fixtures.golden_texts import (
    ALL_STEPS,
    SPECIAL_TOKENS,
    STEPS,
    character_tokenizer,
    every_code_point,
    long_words,
    marks_in_any_order,
    random_text,
)
from tests.fixtures.node_runtime import WebError


class BothTokenizers:
    """A tokenizer in a bundle for the web, and as the reference in Python."""

    def __init__(self, runtime, bundle, folder, tokenizer: Tokenizer, **tokens) -> None:
        path, self.python = with_tokenizer(bundle, folder, tokenizer, **tokens)
        self.web = runtime.load(path)

    def differing(self, texts: list) -> list:
        """The texts whose ids, token types or ``truncated`` differ."""
        rows = self.web.tokenize(texts)
        expected = [[list(row.ids), list(row.type_ids), row.truncated] for row in self.python.rows(texts)]
        return [text for text, web, python in zip(texts, rows, expected, strict=True) if web != python]


@pytest.fixture(scope="module")
def both(runtime, tiny_bundle_dir, tmp_path_factory):
    def both(tokenizer, **tokens) -> BothTokenizers:
        return BothTokenizers(
            runtime, tiny_bundle_dir, tmp_path_factory.mktemp("tokenizer") / "x.bundle", tokenizer, **tokens
        )

    return both


@pytest.fixture(scope="module")
def uncased(both):
    return both(character_tokenizer(lowercase=True))


@pytest.fixture(scope="module")
def minilm_ids(both, minilm):
    return both(Tokenizer.from_str(minilm.tokenizer_json.decode()))


@pytest.mark.slow
@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point(both, lowercase):
    pair = both(character_tokenizer(lowercase=lowercase))
    texts = every_code_point()
    for start in range(0, len(texts), 1000):
        assert pair.differing(texts[start : start + 1000]) == []


@pytest.mark.slow
def test_random_strings_of_mixed_scripts(uncased, minilm_ids):
    source = random.Random(21)
    for pair in (uncased, minilm_ids):
        assert pair.differing([random_text(source) for _ in range(20_000)]) == []


@pytest.mark.slow
def test_every_combination_of_steps(both):
    source = random.Random(4)
    for steps in ALL_STEPS:
        pair = both(character_tokenizer(**dict(zip(STEPS, steps, strict=True))))
        assert pair.differing([random_text(source) for _ in range(500)]) == [], steps
        pair.web.close()


def test_golden_texts(uncased, minilm_ids):
    for texts in (
        marks_in_any_order(),
        long_words(),
        [SPECIAL_TOKENS, "", "ΟΔΥΣΣΕΥΣ ὈΔΥΣΣΕΎΣ", "\U00020000\U0002a6d6 㐀", "İstanbul"],
    ):
        assert uncased.differing(texts) == []
        assert minilm_ids.differing(texts) == []


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_any_text(minilm_ids, text):
    assert minilm_ids.differing([text]) == []


@given(text=st.text(st.sampled_from("ab \ud800\udc00\ud83d\ude00é"), max_size=12))
def test_unpaired_surrogates_are_replaced_as_in_python(uncased, text):
    assert uncased.differing([text]) == []


@given(count=st.integers(1000, 1050), character=st.sampled_from("aé商😀"), offset=st.integers(0, 3))
def test_long_texts_are_truncated_at_a_code_point(cut_at_1024, count, character, offset):
    text = "x" * offset + " ".join([character * 7] * (count // 7))
    assert cut_at_1024.differing([text, text[: 1024 // len(character.encode())]]) == []


@pytest.fixture(scope="module")
def cut_at_1024(both):
    return both(character_tokenizer(lowercase=True), max_text_bytes=1024)


def test_a_row_has_at_most_max_length_tokens(both):
    pair = both(character_tokenizer(lowercase=True), max_length_tokens=8)
    texts = ["a " * words for words in range(12)]
    assert pair.differing(texts) == []
    assert [row[2] for row in pair.web.tokenize(texts)] == [words > 6 for words in range(12)]


@pytest.mark.parametrize("length", [8, 9, 16, 64])
def test_pairs(runtime, tiny_pair_bundle_dir, tmp_path, length):
    tokens = {"max_length_tokens": length, "infix_ids": [2], "suffix_ids": [2], "second_type_id": 1}
    pair = BothTokenizers(
        runtime, tiny_pair_bundle_dir, tmp_path / "x.bundle", character_tokenizer(lowercase=True), **tokens
    )
    source = random.Random(length)
    texts = [("a " * source.randrange(40), "c商" * source.randrange(40)) for _ in range(200)]
    assert pair.differing(texts) == []


REASON = "Use the Python runtime for this bundle."
AGAIN = "Build the bundle again."


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t["model"].update(type="WordLevel"), f"its model is WordLevel, expected WordPiece, Unigram or byte-level BPE. {REASON}"),
        (lambda t: t.update(normalizer=None), f"its normalizer is missing, expected BertNormalizer. {REASON}"),
        (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), f"its pre_tokenizer is Whitespace, expected BertPreTokenizer. {REASON}"),
        (lambda t: t.pop("model"), f"its model is missing, expected WordPiece, Unigram or byte-level BPE. {REASON}"),
        (
            lambda t: t["added_tokens"].append({"content": "<x>", "special": False}),
            'it adds the token "<x>", which is not special, expected special ones only. Use the Python runtime for this bundle.',
        ),
        (lambda t: t["model"].update(unk_token="<?>"), f'model.unk_token is "<?>", expected a token of the vocabulary. {AGAIN}'),
        (lambda t: t["model"]["vocab"].update(zebra=-1), f'model.vocab is "zebra": -1, expected an id for every token. {AGAIN}'),
        (lambda t: t["normalizer"].update(lowercase=1), f"normalizer.lowercase is 1, expected true or false. {AGAIN}"),
    ],
)  # fmt: skip
def test_other_tokenizers_are_refused(runtime, tiny_bundle_dir, tmp_path, edit, message):
    body = json.loads((tiny_bundle_dir / "tokenizer.json").read_bytes())
    edit(body)
    path = edited(tiny_bundle_dir, tmp_path / "x.bundle", files={"tokenizer.json": json.dumps(body).encode()})
    with pytest.raises(WebError) as caught:
        runtime.load(path)
    assert (caught.value.name, str(caught.value)) == ("BundleContentError", f"{path}/tokenizer.json: {message}")
