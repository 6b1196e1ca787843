"""Folders of sentence-transformers are used as they are: their pooling, maximum length, prompts and older layout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from crosstune import TrainConfig, train
from crosstune.backbone.frozen import Backbone
from crosstune.backbone.sentence_encoder import SentenceEncoder, read_sentence_encoder
from crosstune.core.errors import ConfigError
from crosstune.features.cache import FeatureCache
from crosstune.heads.feature_plan import default_views, text_pools


def write(folder, **files):
    for name, body in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").write_text(body if isinstance(body, str) else json.dumps(body))


@pytest.fixture
def folder(tmp_path, tiny_backbone_dir):
    return shutil.copytree(tiny_backbone_dir, tmp_path / "encoder")


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": 7}, "mean"),
        ("not JSON", "mean"),
        ([], "mean"),
    ],
)
def test_the_pooling_is_read(folder, pooling, pool):
    write(folder, **{"1_Pooling__config": pooling})
    assert Backbone.load(str(folder), device="cpu").pool == pool


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        (
            {"prompts": {"query": "query: ", "Classification": "classify: "}, "default_prompt_name": "query"},
            "classify: ",
        ),
        ({"prompts": {"query": "query: "}, "default_prompt_name": "query"}, "query: "),
        ({"prompts": {"query": "query: "}, "default_prompt_name": None}, ""),
        ({"prompts": {"query": 7}, "default_prompt_name": "query"}, ""),
        ({"prompts": []}, ""),
    ],
)
def test_the_prompt_for_classification_comes_before_the_default_one(folder, config, prompt):
    write(folder, config_sentence_transformers=config)
    assert read_sentence_encoder(str(folder)).prompt == prompt


def test_a_folder_without_these_files(folder):
    assert read_sentence_encoder(str(folder)) == SentenceEncoder()


def test_the_older_layout_keeps_the_encoder_in_a_folder_of_its_own(tmp_path, folder, tiny_backbone):
    root = tmp_path / "root"
    root.mkdir()
    folder.rename(root / "0_Transformer")
    modules = [
        {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"path": "9_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": 7},
        None,
    ]
    files = {
        "0_Transformer__sentence_bert_config": {"max_seq_length": 20},
        "9_Pooling__config": {"pooling_mode": "cls"},
    }
    write(root, modules=modules, **files)
    backbone = Backbone.load(str(root), device="cpu")
    assert backbone.digest == tiny_backbone.digest
    assert (backbone.pool, backbone.tokens.max_length_tokens) == ("cls", 20)


def test_a_prefix_comes_before_every_text(folder, tiny_backbone):
    write(folder, config_sentence_transformers={"prompts": {"classification": "my parcel: "}})
    by_folder = Backbone.load(str(folder), device="cpu")
    by_hand = Backbone.load(str(folder), device="cpu", prefix="my parcel: ")
    assert by_folder.tokens == by_hand.tokens
    (row,) = by_folder.tokenize(["is late"])
    (whole,) = tiny_backbone.tokenize(["my parcel: is late"])
    assert row.ids == whole.ids
    assert Backbone.load(str(folder), device="cpu", prefix="").tokens == tiny_backbone.tokens
    with pytest.raises(ConfigError, match="prefix: has 23 tokens, expected at most 18 of 20, to leave room for a text"):
        Backbone.load(str(folder), device="cpu", max_length_tokens=20, prefix="my " * 20)


def test_a_prefix_is_kept_in_the_checkpoint(folder, tiny_backbone, tiny_examples, tiny_labels, tmp_path):
    config = TrainConfig(backbone=str(folder), prefix="my parcel: ")
    trained = train(tiny_examples, tiny_labels, config, device="cpu")
    assert len(trained.tokens.prefix_ids) == len(tiny_backbone.tokens.prefix_ids) + 3
    trained.save(tmp_path / "a.ckpt")
    loaded = type(trained).load(tmp_path / "a.ckpt")
    assert loaded.load_backbone(device="cpu").tokens == loaded.tokens == trained.tokens


@pytest.mark.parametrize(("pool", "place"), [("cls", 0), ("last", -1)])
def test_a_vector_of_one_token_is_a_view(folder, pool, place, tiny_examples, tiny_labels):
    write(folder, **{"1_Pooling__config": {"pooling_mode": {"last": "lasttoken"}.get(pool, pool)}})
    backbone = Backbone.load(str(folder), device="cpu")
    (row,) = backbone.tokenize(["my parcel"])
    with FeatureCache(None) as cache:
        states = cache.states(backbone, ["my parcel"], (pool,), ())
    expected = [state[0, place].numpy() for state in backbone.forward([row]).states]
    np.testing.assert_array_equal(states.pooled[0, 0], expected)
    assert pool in text_pools(backbone)
    trained = train(tiny_examples, tiny_labels, TrainConfig(backbone=str(folder)), backbone=backbone)
    assert {atom.pool for atom in trained.head.spec.atoms} == {"mean", "max", pool}
    assert f"{pool} token" in [view.name for view in default_views(2, pool)]
    together = trained.predict_proba(
        ["my parcel", "i was charged twice, and the invoice is wrong too"], backbone=backbone
    )
    alone = trained.predict_proba(["my parcel"], backbone=backbone)
    torch.testing.assert_close(torch.tensor(together[:1]), torch.tensor(alone), atol=1e-5, rtol=0)
