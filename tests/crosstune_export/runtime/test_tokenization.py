from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from crosstune.core.token_layout import MAX_TEXT_BYTES, TokenLayout, limit_text, longest_first
from crosstune.data.readers import read_examples
from crosstune_export import BundleContentError, DataError
from crosstune_export.builder.probe_inputs import PROBES
from crosstune_export.runtime.tokenization import TextTokenizer


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


@pytest.fixture(scope="module")
def transformers_tiny(tiny_backbone_dir):
    return transformers_tokenizer(tiny_backbone_dir)


@pytest.fixture(scope="module")
def transformers_minilm(minilm, tmp_path_factory):
    """MiniLM's tokenizer as transformers itself reads it."""
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("minilm")
    (folder / "tokenizer.json").write_bytes(minilm.tokenizer_json)
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        split_special_tokens=True,
        **{f"{role}_token": token for role, token in names.items()},
    )


def transformers_tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, split_special_tokens=True)


def transformers_ids(tokenizer, texts, max_length_tokens):
    """Ids of single texts or pairs, special tokens in texts taken as text, longest first."""
    columns = zip(*texts, strict=True) if isinstance(texts[0], tuple) else [texts]
    return tokenizer(
        *map(list, columns), truncation="longest_first", max_length=max_length_tokens, split_special_tokens=True
    )["input_ids"]


#: Words of the tiny vocabulary beside all of Unicode: long rows, unknown words, special tokens spelled out.
words = st.sampled_from(
    ["parcel ", "where is ", "[SEP]", "[PAD] ", "Invoice", "éa\u0301 ", "商", "\u200b", "\x00", "ﬁ"]
)
characters = st.text(st.characters(exclude_categories=("Cs",)), max_size=120)
whole = st.one_of(characters, st.lists(st.one_of(words, characters), max_size=40).map("".join))


@settings(max_examples=400)
@given(text=whole)
def test_ids_of_a_text_are_those_of_transformers(single, transformers_tiny, tiny_backbone, text):
    limit = tiny_backbone.tokens.max_length_tokens
    assert [list(single.rows([text])[0].ids)] == transformers_ids(transformers_tiny, [text], limit)


@settings(max_examples=400)
@given(first=whole, second=whole)
def test_ids_of_a_pair_are_those_of_transformers(pairs, transformers_tiny, tiny_backbone, first, second):
    limit = tiny_backbone.tokens.max_length_tokens
    rows = [list(row.ids) for row in pairs.rows([(first, second)])]
    assert rows == transformers_ids(transformers_tiny, [(first, second)], limit)


@pytest.fixture(scope="module")
def minilm_single(minilm):
    return TextTokenizer(minilm.tokenizer_json, layout_of(minilm), False, "here")


def test_ids_of_the_example_data(minilm, minilm_single, transformers_minilm, support_desk):
    texts = [row.text for path in (support_desk.train, support_desk.test) for row in read_examples(path)]
    texts += PROBES
    assert len(texts) > 300
    rows = minilm_single.rows(texts)
    trained = minilm.tokenize(texts)
    assert [(row.ids, row.truncated) for row in rows] == [(row.ids, row.truncated) for row in trained]
    limit = minilm.tokens.max_length_tokens
    assert [list(row.ids) for row in rows] == transformers_ids(transformers_minilm, texts, limit)
    pair_rows = TextTokenizer(minilm.tokenizer_json, layout_of(minilm), True, "here").rows(
        list(zip(texts, texts[::-1], strict=True))
    )
    expected = transformers_ids(transformers_minilm, list(zip(texts, texts[::-1], strict=True)), limit)
    assert [list(row.ids) for row in pair_rows] == expected


@pytest.mark.fault("H7")
@settings(max_examples=400)
@given(text=characters)
def test_ids_of_any_text_in_minilm(minilm, minilm_single, transformers_minilm, text):
    row = minilm_single.rows([text])[0]
    assert [list(row.ids)] == transformers_ids(transformers_minilm, [text], minilm.tokens.max_length_tokens)
    assert row.ids == minilm.tokenize([text])[0].ids


def replaced(text):
    """Unpaired surrogates become U+FFFD, and pairs become the character that they encode."""
    out, i = [], 0
    while i < len(text):
        unit, following = ord(text[i]), ord(text[i + 1]) if i + 1 < len(text) else 0
        if 0xD800 <= unit < 0xDC00 and 0xDC00 <= following < 0xE000:
            out.append(chr(0x10000 + ((unit - 0xD800) << 10) + following - 0xDC00))
            i += 1
        else:
            out.append("\ufffd" if 0xD800 <= unit < 0xE000 else text[i])
        i += 1
    return "".join(out)


@pytest.mark.fault("H3")
@settings(max_examples=400)
@given(text=st.text(st.one_of(st.characters(categories=["Cs"]), st.characters(categories=None)), max_size=40))
@example("\ud800\ud83d\ude00\udc00")
def test_surrogates_as_the_specification_says(single, tiny_backbone, text):
    row = single.rows([text])[0]
    assert row == single.rows([replaced(text)])[0]
    trained = tiny_backbone.tokenize([text])[0]
    assert (row.ids, row.truncated) == (trained.ids, trained.truncated)


@settings(max_examples=400)
@given(text=characters, limit=st.integers(0, 60))
def test_cut_at_the_last_whole_code_point(single, tiny_backbone, text, limit):
    kept = ""
    for character in text:
        if len((kept + character).encode()) > limit:
            break
        kept += character
    assert limit_text(text, limit) == (
        kept,
        kept != text,
    )  # no part of a character, which most tokenizers would not show
    cut = TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone, max_text_bytes=limit), False, "here")
    row, expected = cut.rows([text])[0], single.rows([kept])[0]
    assert row == replace(expected, truncated=expected.truncated or kept != text)


def test_a_pair_is_truncated_where_either_text_is_cut(tiny_backbone):
    cut = TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone, max_text_bytes=8), True, "here")
    long, short = "a" + " " * 20, "a"
    flags = [row.truncated for row in cut.rows([(short, short), (long, short), (short, long), (long, long)])]
    assert flags == [False, True, True, True]


@pytest.mark.fault("H1")
def test_empty_texts(single, pairs):
    assert single.rows([""])[0].ids == (2, 3)
    assert pairs.rows([("", "")])[0].ids == (2, 3, 3)
    assert pairs.rows([("", "")])[0].type_ids == (0, 0, 1)
    assert single.rows([]) == [] and pairs.rows([]) == []


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


def test_probes_of_minilm(minilm):
    tokenizer = TextTokenizer(minilm.tokenizer_json, layout_of(minilm), False, "here")
    rows = tokenizer.rows(PROBES)
    for row, trained in zip(rows, minilm.tokenize(PROBES), strict=True):
        assert (row.ids, row.truncated) == (trained.ids, trained.truncated)
    assert rows[0].ids == (101, 102)
    assert rows[-1].truncated and len(rows[-1].ids) == 256


@pytest.mark.fault("H11")
def test_special_tokens_in_a_text_are_text(single):
    row = single.rows(["[CLS] [SEP] [MASK] [PAD]"])[0]
    assert [row.ids.count(special) for special in (2, 3, 4, 0)] == [1, 1, 0, 0]


def test_truncated_flag_at_the_edge(single, tiny_backbone):
    budget = tiny_backbone.tokens.max_length_tokens - 2
    fits, cut = single.rows(["parcel " * budget, "parcel " * (budget + 1)])
    assert (len(fits.ids), fits.truncated) == (budget + 2, False)
    assert (len(cut.ids), cut.truncated) == (budget + 2, True)


@pytest.mark.fault("H4")
def test_long_texts_are_cut_before_they_are_tokenized(tiny_backbone):
    tokenizer = TextTokenizer(tiny_backbone.tokenizer_json, layout_of(tiny_backbone, max_text_bytes=1024), False, "x")
    fits, cut = tokenizer.rows([" " * 1020 + "box", " " * 1024 + "box"])
    assert (len(fits.ids), fits.truncated) == (3, False)
    assert (len(cut.ids), cut.truncated) == (2, True)
    within = tokenizer.rows([" " * 1023 + "é"])[0]  # the limit falls inside a code point
    assert (len(within.ids), within.truncated) == (2, True)


@pytest.mark.fault("H3")
def test_unpaired_surrogates_become_the_replacement_character(single):
    assert single.rows(["box \ud800 late \udfff"])[0] == single.rows(["box \ufffd late \ufffd"])[0]
    assert single.rows(["\ud83d\ude00"])[0] == single.rows(["😀"])[0]


@pytest.mark.fault("H2", "H6")
@pytest.mark.parametrize(("value", "kind"), [(None, "None"), (3, "int"), (b"x", "bytes"), (["a", "b"], "list")])
def test_items_that_are_no_text(single, value, kind):
    with pytest.raises(DataError) as caught:
        single.rows(["fine", value])
    assert str(caught.value) == f"texts[1]: found {kind}, expected a string."


@pytest.mark.fault("H2")
@pytest.mark.parametrize(("value", "kind"), [("one", "str"), (("a",), "tuple"), (("a", 2), "tuple"), (None, "None")])
def test_items_that_are_no_pair(pairs, value, kind):
    with pytest.raises(DataError) as caught:
        pairs.rows([("a", "b"), value])
    assert str(caught.value) == f"texts[1]: found {kind}, expected two strings: this bundle classifies pairs."


def test_batch_pads_on_the_right(single):
    rows = single.rows(["box", "where is the box"])
    batch = single.batch(rows)
    assert batch.input_ids.tolist() == [[*rows[0].ids, 0, 0, 0], list(rows[1].ids)]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == batch.token_type_ids.dtype == "int64"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "not valid JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"{}", "the tokenizer has no model, expected only what a build writes"),
        (b"\xff", "not valid JSON ('utf-8' codec can't decode byte 0xff in position 0: invalid start byte)"),
        (
            b'{"model": {"type": "BPE", "merges": ["ab c"], "vocab": {"a": 0}}}',
            "the tokenizer has the merge 'ab c' of tokens that are not there, expected only what a build writes",
        ),
        (b'{"model": {"type": "WordLevel", "vocab": {"a": 0}}}', "not a usable tokenizer (missing field `unk_token`"),
    ],
)
@pytest.mark.fault("G14")
def test_unusable_tokenizer(tiny_backbone, data, found):
    with pytest.raises(BundleContentError) as caught:
        TextTokenizer(data, layout_of(tiny_backbone), False, "some.bundle/tokenizer.json")
    assert str(caught.value).startswith(f"some.bundle/tokenizer.json: {found}")
    assert str(caught.value).lower().endswith("build the bundle again.")


@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_training_and_serving_stop_reading_at_the_same_byte(minilm, space):
    tokens = minilm.tokens
    layout = TokenLayout(
        tokens.max_length_tokens, tokens.prefix_ids, tokens.infix_ids, tokens.suffix_ids, tokens.pad_id, MAX_TEXT_BYTES
    )
    tokenizer = TextTokenizer(minilm.tokenizer_json, layout, False, "x")
    texts = [space * 70_000 + "where is my parcel", "parcel " + space * 21_840 + "here", "caf\udce9"]
    served = [(row.ids, row.truncated) for row in tokenizer.rows(texts)]
    assert [(row.ids, row.truncated) for row in minilm.tokenize(texts)] == served
    assert served[0] == ((101, 102), True)
