"""The teacher that fine-tunes a transformer."""

from __future__ import annotations

import numpy as np
import torch

from crosstune.filter.fine_tuned_teacher import FineTunedFit


def test_it_learns_its_shots_and_leaves_the_encoder_alone(tiny_backbone, tiny_examples, tiny_labels, monkeypatch):
    monkeypatch.setattr(
        "crosstune.filter.fine_tuned_teacher.LEARNING_RATE", 2e-3
    )  # the tiny encoder is random: it has much to learn
    monkeypatch.setattr("crosstune.filter.fine_tuned_teacher.EPOCHS", 30)
    before = {name: value.clone() for name, value in tiny_backbone.model.state_dict().items()}
    state = torch.random.get_rng_state()
    fit = FineTunedFit(tiny_labels, tiny_backbone, 13)
    texts = [shot.content for shot in tiny_examples]
    probs = fit(tiny_examples, texts)
    assert probs.shape == (18, 3)
    assert np.abs(probs.sum(1) - 1).max() < 1e-5
    assert (probs.argmax(1) == tiny_labels.indices(tiny_examples)).mean() > 0.9
    assert all((value == before[name]).all() for name, value in tiny_backbone.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tiny_backbone.model.parameters())
    assert (torch.random.get_rng_state() == state).all()
    assert (fit(tiny_examples, texts[:3]) == probs[:3]).all() or np.abs(
        fit(tiny_examples, texts[:3]) - probs[:3]
    ).max() < 1e-5


def test_no_texts_get_no_answers(tiny_backbone, tiny_examples, tiny_labels, monkeypatch):
    monkeypatch.setattr("crosstune.filter.fine_tuned_teacher.EPOCHS", 1)
    assert FineTunedFit(tiny_labels, tiny_backbone, 13)(tiny_examples, ()).shape == (0, 3)


def test_pairs_and_a_label_without_shots(tiny_backbone, tiny_pair_examples, tiny_labels, monkeypatch):
    monkeypatch.setattr("crosstune.filter.fine_tuned_teacher.EPOCHS", 2)
    shots = [shot for shot in tiny_pair_examples if shot.label != "praise"]
    probs = FineTunedFit(tiny_labels, tiny_backbone, 13)(shots, [shot.content for shot in tiny_pair_examples])
    assert probs.shape == (18, 3)
    assert np.isfinite(probs).all()
