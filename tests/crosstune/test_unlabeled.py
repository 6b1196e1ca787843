"""Training from descriptions and a log without labels."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from crosstune import (
    ConfigError,
    CrossTuneClassifier,
    CrossTuneWarning,
    DataError,
    Example,
    TrainConfig,
    load_checkpoint,
    train,
    training,
)
from crosstune.checkpoint import predict_proba, predict_with_similarity
from crosstune.data.task import Task
from crosstune.features.encoding import cached_features, encode
from crosstune.heads.feature_plan import encoding_plan
from tests.conftest import TINY_TEXTS, tiny_log
from tests.tolerances import FEATURES_TO_ORACLE, FIT_TOGETHER


def trained(labels, backbone, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)
        return train([], labels, backbone=backbone, **given)


def test_texts_are_compared_with_the_mean_of_the_log(tiny_backbone, tiny_labels, tmp_path):
    log = tiny_log(30)
    checkpoint = trained(tiny_labels, tiny_backbone, unlabeled=[*log, log[0]])  # a repeated text counts once
    head, name = checkpoint.head, tiny_labels.names[0]
    as_examples = Task(tiny_labels, [Example(text, name) for text in log])
    states = encode(as_examples, tiny_backbone, encoding_plan(TrainConfig(), tiny_backbone)).texts
    features = cached_features(states, head.spec, head.queries)
    np.testing.assert_allclose(head.prior_centre, features.mean(0), atol=FEATURES_TO_ORACLE)
    logits = features @ head.label_keys.t() + head.label_bias
    np.testing.assert_allclose(logits.mean(0), 0, atol=1e-4)  # no label has an advantage on the log as a whole
    assert checkpoint.examples == () and checkpoint.quality.cv_accuracy is None

    checkpoint.save(tmp_path / "a")
    trained(tiny_labels, tiny_backbone, unlabeled=log).save(tmp_path / "b")
    one, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / folder).iterdir())} for folder in ("a", "b")
    )
    assert one == other
    without = trained(tiny_labels, tiny_backbone)
    assert not without.head.prior_centre.any()


def test_a_long_log_is_read_in_part(tiny_backbone, tiny_labels, monkeypatch):
    monkeypatch.setattr(training, "MOST_UNLABELED", 10)
    log = tiny_log(25)
    part = trained(tiny_labels, tiny_backbone, unlabeled=log[::3]).head
    assert (trained(tiny_labels, tiny_backbone, unlabeled=log).head.label_bias == part.label_bias).all()


def test_a_log_of_mostly_one_label_is_said(tiny_backbone, tiny_labels, monkeypatch):
    log = tiny_log(20)
    alone = predict_proba(trained(tiny_labels, tiny_backbone), tiny_backbone, log).argmax(1)
    share = np.bincount(alone, minlength=3).max() / 20
    monkeypatch.setattr(training, "MOST_OF_A_LABEL", share - 0.01)
    name = tiny_labels.names[int(np.bincount(alone, minlength=3).argmax())]
    with pytest.warns(CrossTuneWarning) as caught:
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=log)
    assert str(caught[0].message) == (
        f"unlabeled: descriptions alone give '{name}' to {100 * share:.0f}% of 20 texts, expected at most "
        f"{100 * share - 1:.0f}%. If that label is so frequent, omit the log: it would make answers worse."
    )
    monkeypatch.setattr(training, "MOST_OF_A_LABEL", share)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CrossTuneWarning)
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=log)


def test_a_log_beside_examples_only_chooses_what_gets_no_label(tiny_backbone, tiny_labels, tiny_examples, tmp_path):
    """Also if the examples are texts of the log: these say nothing of texts that the head has not seen."""
    config = TrainConfig(abstain_at="coverage=0.9")
    log = tiny_log(300)
    alone = train(tiny_examples, tiny_labels, config, backbone=tiny_backbone)
    with_log = train(
        tiny_examples,
        tiny_labels,
        config,
        backbone=tiny_backbone,
        unlabeled=[*log, *(example.text for example in tiny_examples)],
    )
    for name, tensor in alone.head.tensors().items():
        if name != "scope_offsets":
            assert (with_log.head.tensors()[name] == tensor).all(), name
    _, similarity = predict_with_similarity(with_log, tiny_backbone, log)
    given = similarity >= with_log.min_similarity
    assert 0.9 <= given.mean() <= 0.9 + 2 / len(log)
    lengths = np.array([len(row.ids) for row in tiny_backbone.tokenize(log, with_log.tokens)])
    assert given[lengths <= np.quantile(lengths, 0.2)].mean() >= 0.85
    assert (alone.facts.head.log_texts, with_log.facts.head.log_texts) == (0, len(set(log)))
    with_log.save(tmp_path / "a")
    assert load_checkpoint(tmp_path / "a").facts == with_log.facts


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")
def test_a_log_shows_how_frequent_each_label_is_where_the_examples_come_from(tiny_backbone, tiny_labels, tiny_examples):
    shots = [example for i, example in enumerate(tiny_examples) if example.label != "praise" or i % 3 == 0]
    rest = tiny_log(200)
    log = [*rest, *(shot.text for shot in shots[1:])]  # all but one of the examples are texts of the log
    even = train(shots, tiny_labels, backbone=tiny_backbone)
    made = train(shots, tiny_labels, TrainConfig(log_shares="estimate"), backbone=tiny_backbone, unlabeled=log)
    counts = np.array([sum(shot.label == name for shot in shots) for name in tiny_labels.names])
    plain = even.predict_proba(rest, backbone=tiny_backbone) * counts
    found = plain / plain.sum(1, keepdims=True)
    expected = counts - [1, 0, 0] + found.sum(0)
    texts = np.array([made.config.log_shares[name] for name in tiny_labels.names])
    shares = texts / texts.sum()
    np.testing.assert_allclose(shares, expected / len(log), rtol=0, atol=FIT_TOGETHER)
    moved = (made.head.label_bias - even.head.label_bias).numpy()
    np.testing.assert_allclose(moved, np.log(counts / counts.sum()) - np.log(shares), rtol=0, atol=FIT_TOGETHER)
    alone = train(
        shots, tiny_labels, TrainConfig(log_shares="estimate"), backbone=tiny_backbone, unlabeled=[shots[0].text]
    )
    assert alone.config.log_shares == {"shipping": 1, "billing": 0.5, "praise": 0.5}, "no label is impossible"
    given = train(shots, tiny_labels, TrainConfig(log_shares=made.config.log_shares), backbone=tiny_backbone)
    assert all((tensor == given.head.tensors()[name]).all() for name, tensor in made.head.tensors().items())


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")
def test_examples_of_one_label_do_not_give_it_the_whole_log(tiny_backbone, tiny_labels, tiny_examples):
    shots = [example for example in tiny_examples if example.label == "shipping"]
    log = [example.text for example in tiny_examples]
    made = train(shots, tiny_labels, TrainConfig(log_shares="estimate"), backbone=tiny_backbone, unlabeled=log)
    texts = made.config.log_shares
    assert sum(texts.values()) == pytest.approx(len(log))
    assert len(shots) <= texts["shipping"] < 0.9 * len(log) and min(texts.values()) > 0.5


def test_the_estimator_takes_a_log(tiny_backbone_dir):
    texts, names = zip(*((text, label) for label, texts in TINY_TEXTS.items() for text in texts), strict=True)
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), abstain_at="coverage=0.9")
    model.fit(texts, names, unlabeled=pd.DataFrame({"text": tiny_log(250)}))
    assert model.checkpoint_.facts.head.log_texts == 250


def test_what_is_refused(tiny_backbone, tiny_labels, tiny_examples):
    log = tiny_log(300)
    for abstain_at in (None, "precision=0.9"):
        with pytest.raises(ConfigError) as wrong:
            train(tiny_examples, tiny_labels, TrainConfig(abstain_at=abstain_at), backbone=tiny_backbone, unlabeled=log)
        assert str(wrong.value) == (
            f"unlabeled: given with {len(tiny_examples)} examples, expected also a number of layers, abstain_at coverage or log_shares "
            "estimate: beside examples a log teaches a head on fewer layers, chooses which texts get no label, or shows how frequent "
            "labels are. Set --layers 3, --abstain-at coverage=0.95 or --log-shares estimate, or omit the log."
        )
    for given in ({"examples": tiny_examples}, {"examples": (), "unlabeled": log}):
        with pytest.raises(
            ConfigError, match=r"^log_shares: estimate, expected examples and the log that they come from\. "
        ):
            train(labels=tiny_labels, config=TrainConfig(log_shares="estimate"), backbone=tiny_backbone, **given)
    with pytest.raises(ConfigError) as wrong:
        train(tiny_examples, tiny_labels, TrainConfig(layers=2), backbone=tiny_backbone, unlabeled=log)
    assert str(wrong.value) == (
        f"layers: found 2 with a log, expected fewer than the 2 of {tiny_backbone.name}: a log teaches a head on fewer layers. Lower "
        "--layers, or omit the log."
    )
    border = TrainConfig(abstain_at="coverage=0.9")
    with pytest.raises(DataError) as caught:
        train(tiny_examples, tiny_labels, border, backbone=tiny_backbone, unlabeled=[tiny_examples[0].text, *log[:199]])
    assert str(caught.value) == (
        "unlabeled: 199 texts that are no examples, expected at least 200 to learn from or to choose which texts get no label. Give "
        "more, or omit the log: the examples alone then decide."
    )
    with pytest.raises(DataError, match=r"^unlabeled: 0 texts that are no examples, expected at least 200 "):
        train(
            tiny_examples, tiny_labels, border, backbone=tiny_backbone, unlabeled=[shot.text for shot in tiny_examples]
        )
    with pytest.raises(DataError, match=r"^unlabeled: pairs and single texts are mixed with the real examples"):
        train(tiny_examples, tiny_labels, border, backbone=tiny_backbone, unlabeled=[(text, "b") for text in log])
    with pytest.raises(DataError, match=r"^unlabeled\[1\]: "):
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=["where is it", "a\x00b"])
