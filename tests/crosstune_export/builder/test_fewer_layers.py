"""Complete builds on fewer layers: the shipped graph, and the accuracy that the bundle reports."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from crosstune import TrainConfig, load_checkpoint, train
from crosstune_export import Classifier
from crosstune_export.builder import choosing
from crosstune_export.builder.fewer_layers import held_out_accuracy, on_fewer_layers
from crosstune_export.builder.pipeline import BuildConfig, build
from tests.fixtures.fits import fitted
from tests.fixtures.traced_once import traced_once

pytestmark = pytest.mark.usefixtures("quick_builds")

SMALLER = [f"int8, embeddings in groups of {group}" for group in (2, 3, 4)]


def under(size_bytes: int) -> BuildConfig:
    return BuildConfig("int8", max_flips_percent=100, max_size_mb=size_bytes / 1e6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_checkpoint_dir):
    """The size of the int8 bundle as a budget counts it, and that with one layer less."""
    with traced_once():
        folder = tmp_path_factory.mktemp("whole")
        return build(tiny_checkpoint_dir, folder / "x.bundle", under(10**9)).shipped.size_bytes


def test_a_budget_that_fits_changes_nothing_and_the_estimate_is_a_little_more_than_the_bundle(
    tmp_path, tiny_checkpoint_dir, whole
):
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(whole))
    assert [trial.variant.name for trial in result.trials] == ["int8"]
    assert "all_layers" not in result.manifest.training
    assert 0 <= whole - result.size_bytes <= 12_000


@pytest.mark.slow
def test_fewer_layers(tmp_path, tiny_checkpoint_dir, tiny_backbone, tiny_other_texts, whole, monkeypatch):
    monkeypatch.setattr(choosing, "MAX_ACCURACY_LOSS", 1.0)
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(whole - 4000))
    names = [trial.variant.name for trial in result.trials]
    assert names == ["int8", *SMALLER, "int8, 1 of 2 layers"]
    assert result.shipped.variant.name == names[-1]
    assert result.shipped.size_bytes <= whole - 4000
    trained = load_checkpoint(tiny_checkpoint_dir)
    (shallow,) = on_fewer_layers(trained, tiny_backbone)
    manifest = result.manifest
    assert manifest.backbone["layers_used"] == 1
    assert manifest.training["cv_accuracy"] == held_out_accuracy(shallow)
    assert manifest.training["all_layers"] == {"layers": 2, "cv_accuracy": held_out_accuracy(trained)}
    card = (tmp_path / "x.bundle" / "README.md").read_text("utf-8")
    assert (
        f"uses 1 of 2 layers; with all of them accuracy on held-out folds was {100 * held_out_accuracy(trained):.1f}%."
        in card
    )
    classifier = Classifier.load(tmp_path / "x.bundle")
    assert classifier.selftest().passed
    assert np.isfinite(classifier.predict_proba(list(tiny_other_texts))).all()


def test_heads_that_have_no_other_depth(tiny_paper_checkpoint_dir, tiny_backbone):
    assert list(on_fewer_layers(load_checkpoint(tiny_paper_checkpoint_dir), tiny_backbone)) == []


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")  # of a skewed log
def test_a_head_of_descriptions_and_a_log_keeps_all_layers(tiny_examples, tiny_labels, tiny_backbone):
    """Its log is not in the checkpoint, and without shots nothing says what fewer layers cost."""
    log = [example.text for example in tiny_examples]
    trained = train([], tiny_labels, TrainConfig(), unlabeled=log, backbone=tiny_backbone)
    assert held_out_accuracy(trained) is None
    assert list(on_fewer_layers(trained, tiny_backbone)) == []


def test_generated_texts_are_no_shots_on_fewer_layers_either(
    tmp_path, tiny_checkpoint_dir, tiny_backbone, tiny_examples, tiny_labels
):
    shots, further = tiny_examples[::2], tiny_examples[1::2]
    whole = load_checkpoint(tiny_checkpoint_dir)
    facts = dataclasses.replace(whole.facts, shots=len(shots))
    dataclasses.replace(whole, examples=(*shots, *further), facts=facts).save(tmp_path / "x.ckpt")
    (shallow,) = on_fewer_layers(load_checkpoint(tmp_path / "x.ckpt"), tiny_backbone)
    assert (shallow.examples, shallow.facts.shots) == ((*shots, *further), len(shots))
    expected = fitted(shots, further, tiny_labels, TrainConfig(layers=1), tiny_backbone)
    assert held_out_accuracy(shallow) == expected.facts.quality.cv_accuracy
    for name, tensor in expected.head.tensors().items():
        torch.testing.assert_close(shallow.head.tensors()[name], tensor, rtol=0, atol=0)
