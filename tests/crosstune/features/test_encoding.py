"""A task is encoded once: the cache is opened once, and each text is asked for once."""

from __future__ import annotations

import numpy as np
import pytest

from crosstune import Example, TrainConfig, filter_generated, train
from crosstune.features.cache import FeatureCache
from tests.crosstune.filter.test_noise_filter import GENERATED
from tests.fixtures.fits import encoded


@pytest.fixture
def calls(monkeypatch):
    """Openings of the cache, and the texts that it was asked for."""
    opened, texts = [], []
    open_cache, states = FeatureCache.__init__, FeatureCache.states

    def counting_open(self, path):
        opened.append(path)
        open_cache(self, path)

    def counting_states(self, backbone, asked, *others):
        texts.extend(asked)
        return states(self, backbone, asked, *others)

    monkeypatch.setattr(FeatureCache, "__init__", counting_open)
    monkeypatch.setattr(FeatureCache, "states", counting_states)
    return opened, texts


def expected_texts(labels, *parts):
    descriptions = [sentence for label in labels for sentence in label.descriptions]
    return sorted([*descriptions, *{item.text for part in parts for item in part}])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"head": "paper", "epochs": 3}], ids=str)
def test_a_training_with_generated_texts_asks_once_for_each_text(
    settings, calls, tmp_path, tiny_backbone, tiny_examples, tiny_labels
):
    opened, texts = calls
    config = TrainConfig(**settings)
    train(tiny_examples, tiny_labels, config, generated=GENERATED, backbone=tiny_backbone, cache_path=tmp_path / "f")
    assert opened == [tmp_path / "f"]
    assert sorted(texts) == expected_texts(tiny_labels, tiny_examples, GENERATED)


@pytest.mark.slow
def test_the_filter_asks_once_for_each_text(calls, tmp_path, tiny_backbone, tiny_examples, tiny_labels):
    opened, texts = calls
    filter_generated(GENERATED, tiny_examples, tiny_labels, backbone=tiny_backbone, cache_path=tmp_path / "f")
    assert opened == [tmp_path / "f"]
    assert sorted(texts) == expected_texts(tiny_labels, tiny_examples, GENERATED)


def test_rows_are_those_of_a_task_of_their_own(tmp_path, tiny_backbone, tiny_examples, tiny_labels):
    repeated = [tiny_examples[0], Example("so kind", "praise"), tiny_examples[0]]
    config = TrainConfig()
    whole = encoded(tiny_examples, repeated, tiny_labels, config, tiny_backbone, tmp_path / "f")
    rows = np.array([16, 3, 20, 19])
    part = whole.select(rows)
    shots, generated = [tiny_examples[16], tiny_examples[3]], [repeated[2], repeated[1]]
    alone = encoded(shots, generated, tiny_labels, config, tiny_backbone, tmp_path / "f")
    assert (part.examples, part.shots) == (alone.examples, 2)
    assert part.targets.tolist() == alone.targets.tolist()
    np.testing.assert_array_equal(part.texts.pooled, alone.texts.pooled)
    for ours, theirs in zip(part.texts.tokens, alone.texts.tokens, strict=True):
        np.testing.assert_array_equal(ours, theirs)
