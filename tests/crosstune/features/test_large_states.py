"""Backbones whose states are beyond the range of float16, in which the cache keeps the states of tokens."""

import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from crosstune import TrainConfig, train
from crosstune.backbone.frozen import Backbone
from crosstune.features.cache import FeatureCache

TEXTS = ["where is my parcel", ("a pair", "of texts"), "", "x\ud800y", "parcel " * 100]


@pytest.fixture
def large_backbone(tmp_path, tiny_backbone_dir):
    """The tiny backbone with states of the first layer that are beyond the range of float16."""
    folder = shutil.copytree(tiny_backbone_dir, tmp_path / "large")
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.0.output.LayerNorm.weight"] *= 1e6
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return Backbone.load(str(folder), device="cpu")


@pytest.mark.parametrize("text", TEXTS)
def test_states_beyond_float16_are_kept_whole(tmp_path, large_backbone, text):
    with FeatureCache(tmp_path / "f.sqlite") as cache:
        (cold,), (warm,) = (cache.states(large_backbone, [text], ("mean",), (1, 2)).tokens for _ in range(2))
    hidden = large_backbone.forward(large_backbone.tokenize([text]))
    expected = np.stack([hidden.states[layer][0].numpy() for layer in (1, 2)])
    assert np.abs(expected).max() > np.finfo(np.float16).max
    np.testing.assert_allclose(cold, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert (warm.dtype, warm.tobytes()) == (cold.dtype, cold.tobytes())


def test_large_states_can_be_learned_from(tmp_path, monkeypatch, large_backbone, tiny_examples, tiny_labels):
    monkeypatch.setenv("CROSSTUNE_CACHE", str(tmp_path / "cache"))
    checkpoint = train(tiny_examples, tiny_labels, TrainConfig(), backbone=large_backbone)
    probs = checkpoint.predict_proba([example.content for example in tiny_examples], backbone=large_backbone)
    assert (probs.argmax(1) == np.array(tiny_labels.indices(tiny_examples))).mean() > 0.9
