"""Budgets that all layers cannot keep to: smaller tables, then fewer layers, and what that costs is said."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from crosstune import TrainConfig, load_checkpoint
from crosstune_export import Classifier, GateError
from crosstune_export.builder import pipeline
from crosstune_export.builder.fewer_layers import accuracy, on_fewer_layers
from crosstune_export.builder.pipeline import BuildConfig, build
from tests.fixtures.fits import fitted

SMALLER = [f"int8, word table in codes of {group}" for group in (2, 3, 4)]


def under(size_bytes: int) -> BuildConfig:
    return BuildConfig("int8", max_flips_percent=100, max_size_mb=size_bytes / 1e6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_checkpoint_dir):
    """The size of the int8 bundle as a budget counts it, and that with one layer less."""
    folder = tmp_path_factory.mktemp("whole")
    return build(tiny_checkpoint_dir, folder / "x.bundle", under(10**9)).shipped.size_bytes


def test_the_estimate_is_a_little_more_than_the_bundle(tmp_path, tiny_checkpoint_dir, whole):
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(whole))
    assert 0 <= whole - result.size_bytes <= 12_000


def test_a_budget_that_fits_changes_nothing(tmp_path, tiny_checkpoint_dir, whole):
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(whole))
    assert [trial.candidate.name for trial in result.trials] == ["int8"]
    assert "all_layers" not in result.manifest.training


def test_fewer_layers(tmp_path, tiny_checkpoint_dir, tiny_backbone, tiny_other_texts, whole, monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_LOST", 1.0)
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(whole - 4000))
    names = [trial.candidate.name for trial in result.trials]
    assert names == ["int8", *SMALLER, "int8, 1 of 2 layers"]
    assert result.shipped.candidate.name == names[-1]
    assert result.shipped.size_bytes <= whole - 4000
    trained = load_checkpoint(tiny_checkpoint_dir)
    (shallow,) = on_fewer_layers(trained, tiny_backbone)
    manifest = result.manifest
    assert manifest.backbone["layers_used"] == 1
    assert manifest.training["cv_accuracy"] == accuracy(shallow)
    assert manifest.training["all_layers"] == {"layers": 2, "cv_accuracy": accuracy(trained)}
    card = (tmp_path / "x.bundle" / "README.md").read_text("utf-8")
    assert (
        f"use 1 of 2 layers; with all of them accuracy on held-out folds was {100 * accuracy(trained):.1f} %." in card
    )
    classifier = Classifier.load(tmp_path / "x.bundle")
    assert classifier.selftest().passed
    assert np.isfinite(classifier.predict_proba(list(tiny_other_texts))).all()


def test_no_depth_fits(tmp_path, tiny_checkpoint_dir, monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_LOST", 1.0)
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(1000))
    pattern = (
        r"budget: no graph of 8 tried keeps to it; nearest is 'int8\S*.*, 1 of 2 layers' with 0\.1 MB\S* .*and \d+ of \d+ "
        r"labels unlike fp32 \(0\.\d+ MB, at most 0\.001 MB allowed\)\. Raise --max-flips, --max-size-mb or "
        r"--max-latency-ms, or build with --precision fp32\."
    )
    assert re.fullmatch(pattern, str(caught.value))
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_a_depth_that_loses_too_much_is_not_built(tmp_path, tiny_checkpoint_dir, monkeypatch):
    monkeypatch.setattr(pipeline, "MOST_LOST", -1.0)
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(1000))
    assert re.search(
        r"With 1 of 2 layers held-out accuracy falls from \d+\.\d to \d+\.\d %, at most -100 points may go\.$",
        str(caught.value),
    )
    assert "no graph of 4 tried" in str(caught.value)


def test_heads_that_have_no_other_depth(tiny_paper_checkpoint_dir, tiny_backbone):
    assert list(on_fewer_layers(load_checkpoint(tiny_paper_checkpoint_dir), tiny_backbone)) == []


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
    assert accuracy(shallow) == expected.facts.quality.cv_accuracy
    for name, tensor in expected.head.tensors().items():
        torch.testing.assert_close(shallow.head.tensors()[name], tensor, rtol=0, atol=0)
