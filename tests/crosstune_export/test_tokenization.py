from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from crosstune.backbone import longest_first as training_longest_first
from crosstune_export import BundleContentError, InputError
from crosstune_export.build.probes import PROBES
from crosstune_export.manifest import TokenLayout
from crosstune_export.runtime.tokenization import TextTokenizer, longest_first


def layout_of(backbone, **changes):
    spec = backbone.tokens
    fields = {
        "max_length_tokens": spec.max_length_tokens,
        "prefix_ids": spec.prefix_ids,
        "infix_ids": spec.infix_ids,
        "suffix_ids": spec.suffix_ids,
        "pad_id": spec.pad_id,
        "second_type_id": spec.second_type_id,
    }
    return TokenLayout(**(fields | changes))


@pytest.fixture(scope="module")
def single(tiny_backbone):
    return TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone), False, "here")


@pytest.fixture(scope="module")
def pairs(tiny_backbone):
    return TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone), True, "here")


@pytest.fixture(scope="module")
def reference(tiny_backbone):
    """The library's own special tokens and truncation."""
    tokenizer = Tokenizer.from_str(tiny_backbone.tokenizer_json.decode())
    tokenizer.encode_special_tokens = True
    tokenizer.enable_truncation(tiny_backbone.tokens.max_length_tokens, strategy="longest_first")
    return tokenizer


whole = st.text(st.characters(exclude_categories=("Cs",)), max_size=120)


@given(text=whole)
def test_ids_of_a_text(single, reference, tiny_backbone, text):
    row = single.rows([text])[0]
    assert list(row.ids) == reference.encode(text).ids
    trained = tiny_backbone.tokenize([text])[0]
    assert (row.ids, row.type_ids, row.truncated) == (trained.ids, trained.type_ids, trained.truncated)


@given(first=whole, second=whole)
def test_ids_of_a_pair(pairs, reference, tiny_backbone, first, second):
    row = pairs.rows([(first, second)])[0]
    expected = reference.encode(first, second)
    assert list(row.ids) == expected.ids
    assert list(row.type_ids) == expected.type_ids
    trained = tiny_backbone.tokenize([(first, second)])[0]
    assert (row.ids, row.type_ids, row.truncated) == (trained.ids, trained.type_ids, trained.truncated)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(2, 130))
def test_longest_first_is_the_librarys(first, second, budget):
    tokenizer = Tokenizer.from_str(
        '{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,'
        '"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,'
        '"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}'
    )
    tokenizer.enable_truncation(budget, strategy="longest_first")
    ids = tokenizer.encode("a " * first, "b " * second).ids
    assert longest_first(first, second, budget) == (ids.count(0), ids.count(1))
    assert training_longest_first(first, second, budget) == longest_first(first, second, budget)


def test_probes_of_minilm(minilm):
    tokenizer = TextTokenizer(minilm.tokenizer_json, layout_of(minilm), False, "here")
    rows = tokenizer.rows(PROBES)
    for row, trained in zip(rows, minilm.tokenize(PROBES), strict=True):
        assert (row.ids, row.truncated) == (trained.ids, trained.truncated)
    assert rows[0].ids == (101, 102)
    assert rows[-1].truncated and len(rows[-1].ids) == 256


def test_special_tokens_in_a_text_are_text(single):
    row = single.rows(["[CLS] [SEP] [MASK] [PAD]"])[0]
    assert [row.ids.count(special) for special in (2, 3, 4, 0)] == [1, 1, 0, 0]


def test_truncated_flag_at_the_edge(single, tiny_backbone):
    budget = tiny_backbone.tokens.max_length_tokens - 2
    fits, cut = single.rows(["parcel " * budget, "parcel " * (budget + 1)])
    assert (len(fits.ids), fits.truncated) == (budget + 2, False)
    assert (len(cut.ids), cut.truncated) == (budget + 2, True)


def test_long_texts_are_cut_before_they_are_tokenized(tiny_backbone):
    tokenizer = TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone, max_text_bytes=1024), False, "x")
    fits, cut = tokenizer.rows([" " * 1020 + "box", " " * 1024 + "box"])
    assert (len(fits.ids), fits.truncated) == (3, False)
    assert (len(cut.ids), cut.truncated) == (2, True)
    within = tokenizer.rows([" " * 1023 + "é"])[0]  # the limit falls inside a code point
    assert (len(within.ids), within.truncated) == (2, True)


def test_unpaired_surrogates_become_the_replacement_character(single):
    assert single.rows(["box \ud800 late \udfff"])[0] == single.rows(["box \ufffd late \ufffd"])[0]
    assert single.rows(["\ud83d\ude00"])[0] == single.rows(["😀"])[0]


@pytest.mark.parametrize(("value", "kind"), [(None, "None"), (3, "int"), (b"x", "bytes"), (["a", "b"], "list")])
def test_items_that_are_no_text(single, value, kind):
    with pytest.raises(InputError) as caught:
        single.rows(["fine", value])
    assert str(caught.value) == f"texts[1]: found {kind}, expected a string."


@pytest.mark.parametrize(("value", "kind"), [("one", "str"), (("a",), "tuple"), (("a", 2), "tuple"), (None, "None")])
def test_items_that_are_no_pair(pairs, value, kind):
    with pytest.raises(InputError) as caught:
        pairs.rows([("a", "b"), value])
    assert str(caught.value) == f"texts[1]: found {kind}, expected two strings: this bundle classifies pairs."


def test_batch_pads_on_the_right(single):
    rows = single.rows(["box", "where is the box"])
    batch = single.batch(rows)
    assert batch.input_ids.tolist() == [[*rows[0].ids, 0, 0, 0], list(rows[1].ids)]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == batch.token_type_ids.dtype == "int64"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"model": {"type": "BPE", "merges": ["ab c"], "vocab": {"a": 0}}}']
)
def test_unusable_tokenizer(tiny_backbone, data):
    with pytest.raises(BundleContentError) as caught:
        TextTokenizer(data, layout_of(tiny_backbone), False, "some.bundle/tokenizer.json")
    assert str(caught.value).startswith("some.bundle/tokenizer.json: not a usable tokenizer (")
    assert str(caught.value).endswith("). Build the bundle again.")
