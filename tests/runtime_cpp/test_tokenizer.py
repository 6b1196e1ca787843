"""The C++ tokenizer gives exactly the ids of the reference."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.fixtures.c_library import CallError
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


class BothTokenizers:
    """A tokenizer in a bundle for C++, and as the reference in Python."""

    def __init__(self, library, bundle, folder, tokenizer: Tokenizer, **tokens) -> None:
        path, self.python = with_tokenizer(bundle, folder, tokenizer, **tokens)
        self.cpp = library.load(path)

    def differing(self, texts: list[str]) -> list[str]:
        """The texts whose ids or ``truncated`` differ."""
        rows = self.python.rows(texts)
        return [
            text
            for text, row in zip(texts, rows, strict=True)
            if self.cpp.tokenize(text.encode()) != (list(row.ids), row.truncated)
        ]


@pytest.fixture(scope="module")
def both(library, tiny_bundle_dir, tmp_path_factory):
    def both(tokenizer, **tokens) -> BothTokenizers:
        return BothTokenizers(
            library, tiny_bundle_dir, tmp_path_factory.mktemp("tokenizer") / "x.bundle", tokenizer, **tokens
        )

    return both


@pytest.fixture(scope="module")
def uncased(both):
    return both(character_tokenizer(lowercase=True))


@pytest.fixture(scope="module")
def cased(both):
    return both(character_tokenizer(lowercase=False))


@pytest.fixture(scope="module")
def minilm_ids(both, minilm):
    return both(Tokenizer.from_str(minilm.tokenizer_json.decode()))


@pytest.mark.fault("H7")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["uncased", "cased"])
def test_every_code_point(request, name):
    assert request.getfixturevalue(name).differing(every_code_point()) == []


@pytest.mark.slow
def test_random_strings_of_mixed_scripts(uncased, cased, minilm_ids):
    source = random.Random(20)
    for pair, count in ((uncased, 50_000), (cased, 10_000), (minilm_ids, 40_000)):
        assert pair.differing([random_text(source) for _ in range(count)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("steps", ALL_STEPS)
def test_every_combination_of_steps(both, steps):
    pair = both(character_tokenizer(**dict(zip(STEPS, steps, strict=True))))
    source = random.Random(4)
    assert pair.differing([random_text(source) for _ in range(1500)]) == []


def test_combining_marks_are_sorted(uncased):
    assert uncased.differing(marks_in_any_order()) == []


def test_long_words(uncased):
    assert uncased.differing(long_words()) == []


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=200))
def test_any_text(minilm_ids, text):
    assert minilm_ids.differing([text]) == []


@pytest.mark.fault("H3")
@pytest.mark.slow
def test_bytes_that_are_not_utf8_are_replaced_as_in_python(uncased):
    source = random.Random(6)
    pieces = [
        b"",
        b"a",
        b"\xff",
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "é商😀".encode(),
    ]
    for _ in range(5000):
        data = b"".join(source.choices(pieces, k=source.randrange(6)))
        data += bytes(source.randrange(256) for _ in range(source.randrange(12)))
        text = data.decode("utf-8", "replace")
        row = uncased.python.rows([text])[0]
        assert uncased.cpp.tokenize(data) == (list(row.ids), row.truncated), data


@pytest.mark.parametrize("clean_text", [False, True])
def test_a_replaced_byte_is_ufffd(both, clean_text):
    pair = both(character_tokenizer(clean_text=clean_text, lowercase=True))
    assert pair.cpp.tokenize(b"a\xff\xe2\x82b") == pair.cpp.tokenize("a\ufffd\ufffdb".encode())


@pytest.mark.fault("H11")
def test_special_tokens_in_a_text_are_ordinary_text(minilm_ids):
    assert minilm_ids.differing([SPECIAL_TOKENS]) == []


@pytest.fixture(scope="module")
def cut_at_1024(both):
    return both(character_tokenizer(lowercase=True), max_text_bytes=1024)


@pytest.mark.fault("H4")
@given(count=st.integers(1000, 1050), character=st.sampled_from("aé商😀"), offset=st.integers(0, 3))
@settings(max_examples=200)
def test_long_texts_are_truncated_at_a_code_point(cut_at_1024, count, character, offset):
    text = "x" * offset + " ".join([character * 7] * (count // 7))
    assert cut_at_1024.differing([text, text[: 1024 // len(character.encode())]]) == []
    broken = text.encode()[:1030] + b"\xff"
    row = cut_at_1024.python.rows([broken.decode("utf-8", "replace")])[0]
    assert cut_at_1024.cpp.tokenize(broken) == (list(row.ids), row.truncated)


@pytest.fixture(scope="module")
def eight_tokens(both):
    return both(character_tokenizer(lowercase=True), max_length_tokens=8)


@pytest.mark.parametrize("words", range(12))
def test_a_row_has_at_most_max_length_tokens(eight_tokens, words):
    assert eight_tokens.differing(["a " * words]) == []
    assert eight_tokens.cpp.tokenize(b"a " * words)[1] is (words > 6)


@pytest.fixture(scope="module", params=[8, 9, 16, 64])
def pairs(request, library, tiny_pair_bundle_dir, tmp_path_factory):
    tokens = {"max_length_tokens": request.param, "infix_ids": [2], "suffix_ids": [2]}
    folder = tmp_path_factory.mktemp("pairs") / "x.bundle"
    return BothTokenizers(library, tiny_pair_bundle_dir, folder, character_tokenizer(lowercase=True), **tokens)


@given(first=st.text("ab ", max_size=40), second=st.text("cd 商", max_size=40))
def test_pairs(pairs, first, second):
    row = pairs.python.rows([(first, second)])[0]
    assert pairs.cpp.tokenize(first.encode(), second.encode()) == (list(row.ids), row.truncated)


def test_the_tables_are_those_of_the_installed_library(library):
    import tokenizers

    assert library.tokenizer_reference().decode() == f"tokenizers {tokenizers.__version__}"


REASON = "Use the Python runtime for this bundle."


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda t: t["model"].update(type="WordLevel"),
            f"its model is WordLevel, expected WordPiece, Unigram or byte-level BPE. {REASON}",
        ),
        (lambda t: t.update(normalizer=None), f"its normalizer is missing, expected BertNormalizer. {REASON}"),
        (
            lambda t: t.update(pre_tokenizer={"type": "Whitespace"}),
            f"its pre_tokenizer is Whitespace, expected BertPreTokenizer. {REASON}",
        ),
        (
            lambda t: t["added_tokens"].append({"content": "<x>", "special": False}),
            'it adds the token "<x>", which is not special, expected special ones only. Use the Python runtime for this bundle.',
        ),
        (
            lambda t: t["model"].update(unk_token="<?>"),
            'model.unk_token is "<?>", expected a token of the vocabulary. Build the bundle again.',
        ),
        (
            lambda t: t["model"]["vocab"].update(zebra=-1),
            'model.vocab is "zebra": -1, expected an id for every token. Build the bundle again.',
        ),
        (
            lambda t: t["normalizer"].update(lowercase=1),
            "normalizer.lowercase is 1, expected true or false. Build the bundle again.",
        ),
        (lambda t: t.pop("model"), f"its model is missing, expected WordPiece, Unigram or byte-level BPE. {REASON}"),
    ],
)
def test_other_tokenizers_are_refused(library, tiny_bundle_dir, tmp_path, edit, message):
    body = json.loads((tiny_bundle_dir / "tokenizer.json").read_bytes())
    edit(body)
    path = edited(tiny_bundle_dir, tmp_path / "x.bundle", files={"tokenizer.json": json.dumps(body).encode()})
    with pytest.raises(CallError) as caught:
        library.load(path)
    assert (caught.value.status, str(caught.value)) == (5, f"{path}/tokenizer.json: {message}")
