"""The frozen backbone: its ids and states are those of transformers, and its digest is its identity."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import ConfigError
from crosstune.core.token_layout import TokenLayout, longest_first
from tests.conftest import make_tiny_backbone
from tests.tolerances import STATES_PADDED

WORDS = [
    "where",
    "is",
    "my",
    "parcel",
    "thanks",
    "zebra",
    "42",
    "é",
    "商品",
    "a-b",
    "[SEP]",
    "[MASK]",
    "!",
    "\n",
    "unaffable",
]


texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=90).map(" ".join),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
)


@pytest.fixture(scope="module")
def plain_tokenizer(tiny_backbone_dir):
    """transformers' own, untouched by ours."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_backbone_dir)


def without_special(text):
    """Special tokens as text: the one thing in which ours differs on purpose."""
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        text = text.replace(token, "x")
    return text


def spec_of_length(backbone, length):
    spec = backbone.tokens
    return replace(spec, max_length_tokens=length)


@given(text=texts.map(without_special), length=st.integers(8, 64))
@example(text="", length=8)
@example(text="parcel " * 62, length=64)
@example(text="parcel " * 63, length=64)
def test_ids_of_a_text_are_those_of_transformers(tiny_backbone, plain_tokenizer, text, length):
    (row,) = tiny_backbone.tokenize([text], spec_of_length(tiny_backbone, length))
    theirs = plain_tokenizer(text, truncation=True, max_length=length)
    assert list(row.ids) == theirs["input_ids"]
    assert list(row.type_ids) == [0] * len(row.ids)
    assert row.truncated == (len(plain_tokenizer(text, truncation=False, verbose=False)["input_ids"]) > length)


@given(first=texts.map(without_special), second=texts.map(without_special), length=st.integers(8, 64))
@example(first="", second="", length=8)
@example(first="parcel " * 40, second="thanks", length=9)
@example(first="thanks", second="parcel " * 40, length=9)
@example(first="parcel " * 40, second="thanks " * 40, length=12)
def test_ids_of_a_pair_are_those_of_transformers(tiny_backbone, plain_tokenizer, first, second, length):
    (row,) = tiny_backbone.tokenize([(first, second)], spec_of_length(tiny_backbone, length))
    theirs = plain_tokenizer(
        [first], [second], truncation="longest_first", max_length=length, return_token_type_ids=True
    )
    assert [list(row.ids)] == theirs["input_ids"]
    assert [list(row.type_ids)] == theirs["token_type_ids"]
    assert row.truncated == (len(plain_tokenizer([first], [second], verbose=False)["input_ids"][0]) > length)


@given(first=st.integers(0, 80), second=st.integers(0, 80), budget=st.integers(0, 60))
def test_longest_first_keeps_what_fits(first, second, budget):
    kept = longest_first(first, second, budget)
    assert kept[0] <= first
    assert kept[1] <= second
    assert sum(kept) <= budget
    assert sum(kept) == min(budget, first + second)
    assert longest_first(second, first, budget) in (kept[::-1], (kept[1] - 1, kept[0] + 1), (kept[1] + 1, kept[0] - 1))


def test_special_tokens_in_a_text_stay_text(tiny_backbone, tiny_backbone_dir):
    vocabulary = json.loads((tiny_backbone_dir / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    (row,) = tiny_backbone.tokenize(["is [SEP] [CLS] [MASK] [PAD] is"])
    inner = row.ids[1:-1]
    assert not set(inner) & {vocabulary[name] for name in ("[SEP]", "[CLS]", "[MASK]", "[PAD]")}
    assert inner[0] == inner[-1] == vocabulary["is"]
    assert inner[1:3] == (vocabulary["["], vocabulary["s"])


def test_unpaired_surrogates_become_the_replacement_character(tiny_backbone, minilm):
    for backbone in (tiny_backbone, minilm):
        rows = backbone.tokenize(["a \ud800 b", "a \ufffd b", "\udc00\ud800", "\ufffd\ufffd", "\ud83d\ude00", "😀"])
        assert rows[0] == rows[1]
        assert rows[2] == rows[3]
        assert rows[4] == rows[5]


def test_the_layout_is_that_of_bert(minilm):
    assert minilm.tokens == TokenLayout(256, (101,), (102,), (102,), 0, second_type_id=1)
    assert (minilm.hidden_size, minilm.layer_count, minilm.has_token_types) == (384, 6, True)


def test_states_are_those_of_transformers(tiny_backbone, tiny_backbone_dir, plain_tokenizer):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_backbone_dir, attn_implementation="eager").eval()
    sentences = ["where is my parcel", "thanks"]
    batch = plain_tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        theirs = model(**batch, output_hidden_states=True).hidden_states
    ours = tiny_backbone.forward(tiny_backbone.tokenize(sentences))
    assert len(ours.states) == len(theirs) == tiny_backbone.layer_count + 1
    assert torch.equal(ours.mask, batch["attention_mask"])
    for mine, other in zip(ours.states, theirs, strict=True):
        assert torch.equal(mine, other)


def test_a_text_in_a_batch_has_the_states_it_has_alone(tiny_backbone):
    sentences = [
        "where is my parcel",
        "thanks",
        "",
        "the driver lost my box again, where is it?",
        ("a pair", "of texts"),
    ]
    together = dict.fromkeys(range(len(sentences)))
    for chunk, hidden in tiny_backbone.batches(sentences, 2):
        for place, i in enumerate(chunk):
            length = int(hidden.mask[place].sum())
            together[i] = [state[place, :length] for state in hidden.states]
    for i, sentence in enumerate(sentences):
        alone = tiny_backbone.forward(tiny_backbone.tokenize([sentence]))
        for one, other in zip(alone.states, together[i], strict=True):
            np.testing.assert_allclose(one[0], other, rtol=0, atol=STATES_PADDED)


def test_no_gradient_reaches_the_weights(tiny_backbone):
    assert not any(value.requires_grad for value in tiny_backbone.model.parameters())
    assert not tiny_backbone.model.training


@pytest.mark.parametrize(
    ("template", "prefix", "suffix"),
    [
        ("{text} {mask}", "", "[MASK]"),
        ("{text} This is about {mask}.", "", "this is about [MASK] ."),
        ("Topic of {text}: {mask} news", "topic of", ": [MASK] news"),
        ("{text}{mask}", "", "[MASK]"),
    ],
)
def test_a_template_is_laid_out_as_its_words(tiny_backbone, plain_tokenizer, template, prefix, suffix):
    spec = tiny_backbone.with_template(template)
    (row,) = tiny_backbone.tokenize(["my parcel"], spec)
    assert list(row.ids) == plain_tokenizer(f"{prefix} my parcel {suffix}")["input_ids"]
    positions = tiny_backbone.pool_positions(spec)
    assert row.ids[positions.first] == plain_tokenizer("my")["input_ids"][1]
    assert row.ids[len(row.ids) - positions.mask_from_end] == plain_tokenizer.mask_token_id
    (long,) = tiny_backbone.tokenize(["parcel " * 100], spec)
    assert len(long.ids) == 64
    assert long.truncated
    assert long.ids[-positions.mask_from_end] == plain_tokenizer.mask_token_id


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{text}",
        "{mask}",
        "{mask} {text}",
        "{text} {text} {mask}",
        "{text} {mask} {mask}",
        "{mask} {text} {mask}",
        "{text} {mask} {text}",
    ],
)
def test_a_template_without_its_places_is_refused(tiny_backbone, template):
    with pytest.raises(ConfigError) as caught:
        tiny_backbone.with_template(template)
    assert str(caught.value) == f"template: found {template!r}, expected {{text}} and after it {{mask}}, once each."


def test_without_a_template_there_is_no_mask(tiny_backbone):
    positions = tiny_backbone.pool_positions(tiny_backbone.tokens)
    assert (positions.first, positions.mask_from_end) == (1, 0)


def test_the_digest_is_the_same_in_every_load_and_another_when_one_weight_changes(
    tmp_path, tiny_backbone, tiny_backbone_dir
):
    again = Backbone.load(str(tiny_backbone_dir), device="cpu")
    assert again.digest == tiny_backbone.digest
    assert len(again.digest) == 64
    assert again.tokenizer_json == tiny_backbone.tokenizer_json
    moved = shutil.copytree(tiny_backbone_dir, tmp_path / "moved")
    assert Backbone.load(str(moved), device="cpu").digest == tiny_backbone.digest
    weights = safetensors.torch.load_file(moved / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"][3] += 1e-6
    safetensors.torch.save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert Backbone.load(str(moved), device="cpu").digest != tiny_backbone.digest


def test_the_digest_knows_the_tokenizer(tmp_path, tiny_backbone, tiny_backbone_dir):
    other = shutil.copytree(tiny_backbone_dir, tmp_path / "other")
    path = other / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace('"lowercase": true', '"lowercase": false'), "utf-8")
    assert Backbone.load(str(other), device="cpu").digest != tiny_backbone.digest


def test_the_length_of_texts_is_no_part_of_the_identity(tiny_backbone, tiny_backbone_dir):
    assert Backbone.load(str(tiny_backbone_dir), device="cpu", max_length_tokens=16).digest == tiny_backbone.digest


def test_another_seed_is_another_backbone(tmp_path, tiny_backbone):
    assert Backbone.load(str(make_tiny_backbone(tmp_path / "x", seed=14)), device="cpu").digest != tiny_backbone.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_attention_heads", 4), ("hidden_act", "relu"), ("layer_norm_eps", 0.1), ("sliding_window", 8)],
)
def test_the_digest_knows_what_is_done_with_the_weights(tmp_path, tiny_backbone, tiny_backbone_dir, field, value):
    other = shutil.copytree(tiny_backbone_dir, tmp_path / "other")
    config = json.loads((other / "config.json").read_text("utf-8"))
    (other / "config.json").write_text(json.dumps({**config, field: value}), "utf-8")
    assert Backbone.load(str(other), device="cpu").digest != tiny_backbone.digest
