"""Heads on fewer layers that learn from a log to answer as the head on all layers does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosstune import CrossTuneClassifier, TrainConfig, load_checkpoint, train
from crosstune.checkpoint import predict_proba, predict_with_similarity
from crosstune.evaluation.metrics import rate_interval
from crosstune.heads.default.teaching import SCALES
from tests.conftest import TINY_TEXTS, tiny_log

#: What a log does not change if it only teaches.
OF_SHOTS = ("label_queries", "prior_centre", "prior_shift", "scope_keys")


@pytest.fixture(scope="module")
def trained(tiny_backbone, tiny_examples, tiny_labels):
    """Trains on the tiny examples and a log."""

    def call(log=(), **settings):
        config = TrainConfig(**settings)
        return train(tiny_examples, tiny_labels, config, backbone=tiny_backbone, unlabeled=log)

    return call


def differ(first, second, backbone, texts):
    """Share of texts to which two checkpoints give different labels."""
    return (predict_proba(first, backbone, texts).argmax(1) != predict_proba(second, backbone, texts).argmax(1)).mean()


def test_a_taught_head_answers_more_like_all_layers(trained, tiny_backbone, tiny_examples, tmp_path):
    texts = tiny_log(700)
    log, others = texts[:400], texts[400:]
    whole, untaught = trained(), trained(layers=1)
    taught = trained([*log, *(example.text for example in tiny_examples)], layers=1)
    before, after = (differ(head, whole, tiny_backbone, others) for head in (untaught, taught))
    assert after < 0.8 * before

    facts = taught.facts.head.taught
    assert (facts.layers, facts.texts) == (2, len(log))
    assert facts.untaught_label_changes == round(len(log) * differ(untaught, whole, tiny_backbone, log))
    assert (facts.low, facts.high) == rate_interval(facts.label_changes, facts.texts)
    assert facts.low - 0.05 <= after <= facts.high + 0.05  # of held-out texts, so new ones are no surprise
    assert differ(taught, whole, tiny_backbone, log) <= facts.label_changes / facts.texts
    taught.save(tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").facts == taught.facts
    trained(log, layers=1).save(tmp_path / "b")
    one, other = ((tmp_path / name / "head.safetensors").read_bytes() for name in "ab")
    assert one == other


def test_what_is_no_answer_stays_that_of_the_shots(trained):
    untaught, taught = trained(layers=1), trained(tiny_log(300), layers=1)
    for name in OF_SHOTS:
        torch.testing.assert_close(taught.head.tensors()[name], untaught.head.tensors()[name])
    for name in ("usual_similarity", "quality", "close_shots", "layers", "log_texts", "min_similarity"):
        assert getattr(taught.facts.head, name) == getattr(untaught.facts.head, name), name
    (scale,) = {
        round(float(ratio), 5)
        for ratio in (taught.head.prior_scale / untaught.head.prior_scale)[untaught.head.prior_scale != 0]
    }
    assert scale in SCALES
    added = taught.head.label_keys - scale * untaught.head.label_keys
    torch.testing.assert_close(added.sum(0), torch.zeros(added.shape[1]), rtol=0, atol=1e-3 * float(added.abs().max()))


def test_a_log_teaches_and_chooses_what_gets_no_label(trained, tiny_backbone):
    log = tiny_log(300)
    both = trained(log, layers=1, abstain_at="coverage=0.9")
    _, similarity = predict_with_similarity(both, tiny_backbone, log)
    assert 0.9 <= (similarity >= both.min_similarity).mean() <= 0.9 + 2 / len(log)
    assert (both.facts.head.log_texts, both.facts.head.taught.texts) == (300, 300)
    assert (both.head.label_keys == trained(log, layers=1).head.label_keys).all()
    only = trained(log, layers=2, abstain_at="coverage=0.9")  # all layers: there is nothing to teach
    assert (only.facts.head.log_texts, only.facts.head.taught) == (300, None)


def test_as_many_texts_of_the_log_are_sure_enough_as_with_all_layers(trained, tiny_backbone):
    log = tiny_log(300)
    whole, taught = (trained(abstain_at="precision=0.9"), trained(log, layers=1, abstain_at="precision=0.9"))
    shares = [(predict_proba(head, tiny_backbone, log).max(1) >= head.threshold).mean() for head in (whole, taught)]
    assert 0 < whole.threshold < 1 and abs(shares[0] - shares[1]) < 0.1


def test_the_estimator_teaches(tiny_backbone_dir):
    texts, names = zip(*((text, label) for label, texts in TINY_TEXTS.items() for text in texts), strict=True)
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), layers=1).fit(texts, names, unlabeled=tiny_log(250))
    assert model.checkpoint_.facts.head.taught.texts == 250
    assert np.isfinite(model.predict_proba(tiny_log(3))).all()
