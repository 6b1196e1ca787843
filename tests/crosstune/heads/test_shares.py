"""Unbalanced shots: every label stays in the game, and the shares in use decide between labels that are as likely."""

import numpy as np
import pytest
import torch

from crosstune import ConfigError, DataError, Example, LabelSet, TrainConfig, train
from crosstune.heads.default.mixing import select
from crosstune.heads.feature_plan import default_views, spec_of
from crosstune.heads.shares import log_chosen, log_expected, log_shares, shot_weights
from tests.tolerances import FIT_TOGETHER

HIDDEN, LAYERS = 24, 2
VIEWS = default_views(LAYERS)
SPEC = spec_of(VIEWS, LAYERS)
LABELS = LabelSet.from_mapping({"a": "the first label", "b": "the second label"})


def features(random, rows):
    values = random.randn(rows, len(SPEC.atoms), HIDDEN)
    values = (values / np.linalg.norm(values, axis=2, keepdims=True)).reshape(rows, -1)
    return torch.tensor(np.hstack([values, 0.1 * random.randn(rows, 12)]), dtype=torch.float32)


def recalls(counts, in_use=None, *, noise=2.5, seed=0):
    """Recall of two labels on balanced texts, by a head fitted to so many shots of each, and its held-out accuracy."""
    random = np.random.RandomState(seed)
    centres = features(random, 2)
    gold = torch.arange(2).repeat_interleave(torch.tensor(counts))
    shots = centres[gold] + noise * features(random, len(gold))
    chosen = select(VIEWS, SPEC, shots, gold, 0 * centres, HIDDEN, 13, log_expected=in_use)
    fresh = torch.arange(2).repeat(200)
    texts = centres[fresh] + noise * features(random, len(fresh))
    right = (texts @ chosen.label_keys.t() + chosen.label_bias).argmax(1) == fresh
    return [float(right[fresh == label].double().mean()) for label in (0, 1)], chosen.quality.cv_accuracy


@pytest.mark.fault("L23")
@pytest.mark.parametrize("counts", [(5, 27), (27, 5)])
def test_a_rare_label_is_answered_as_often_as_a_frequent_one(counts):
    (one, other), held_out = recalls(counts)
    assert min(one, other) > 0.7
    assert abs(held_out - (one + other) / 2) < 0.15, "and what is measured on the shots counts labels alike"
    as_shots, _ = recalls(counts, log_shares(torch.arange(2).repeat_interleave(torch.tensor(counts)), 2))
    rare = counts.index(5)
    assert as_shots[rare] < (one, other)[rare], (
        "where use is as skewed as the shots, the frequent label is answered more often"
    )
    assert as_shots[1 - rare] >= (one, other)[1 - rare]


@pytest.mark.fault("L23")
def test_neither_label_is_missed_more_often_where_they_overlap():
    both = np.array([recalls(counts, noise=3, seed=seed)[0] for counts in [(5, 27), (27, 5)] for seed in range(4)])
    rare, frequent = np.concatenate([both[:4], both[4:, ::-1]]).mean(0)
    assert abs(rare - frequent) < 0.05


def test_shots_that_were_chosen_by_content_have_the_shares_of_the_log():
    """Of a log in which one label is nine times as frequent, the texts that seem to have the other label have both equally often."""
    right = []
    for seed in range(4):
        random = np.random.RandomState(seed)
        centres = features(random, 2)
        of_log = (torch.arange(400) < 40).long()
        log = centres[of_log] + 3.5 * features(random, 400)
        chosen = (log @ (centres[0] - centres[1])).argsort()[:64]
        fresh = torch.arange(2).repeat(200)
        texts = centres[fresh] + 3.5 * features(random, len(fresh))
        for shares in ("shots", {"a": 0.9, "b": 0.1}):
            added = log_chosen(shares, LABELS, of_log[chosen])
            head = select(VIEWS, SPEC, log[chosen], of_log[chosen], 0 * centres, HIDDEN, 13, log_chosen=added)
            answers = (texts @ head.label_keys.t() + head.label_bias).argmax(1)
            right.append([float((answers[fresh == label] == label).double().mean()) for label in (0, 1)])
    by_shots, by_log = np.array(right).reshape(4, 2, 2).mean(0)
    assert by_log.mean() > by_shots.mean() + 0.03


def test_labels_with_equally_many_shots_change_nothing():
    targets = torch.tensor([0, 1, 3, 3, 1, 0])
    assert log_shares(targets, 4).tolist() == [0] * 4, "nor does a label without any"
    assert shot_weights(targets).tolist() == [1] * 6
    assert shot_weights(targets, torch.zeros(4)).tolist() == [1] * 6


def test_shots_count_as_their_labels_are_frequent_in_use():
    targets = torch.tensor([0, 0, 0, 1])
    assert shot_weights(targets).tolist() == pytest.approx([2 / 3] * 3 + [2])
    for expected, of_a in (("uniform", 0.5), ("shots", 0.75), ({"b": 9, "a": 1}, 0.1)):
        weights = shot_weights(targets, log_expected(expected, LABELS, targets))
        assert float(weights[:3].sum() / weights.sum()) == pytest.approx(of_a)


def test_expected_shares_are_added_to_the_biases(tiny_backbone, tiny_examples, tiny_labels):
    shares = {"shipping": 1, "billing": 3, "praise": 8}
    uniform, skewed = (
        train(tiny_examples, tiny_labels, TrainConfig(expected_shares=expected), backbone=tiny_backbone)
        for expected in ("uniform", shares)
    )
    moved = skewed.head.label_bias - uniform.head.label_bias
    expected = np.log([shares[name] / 4 for name in tiny_labels.names])
    np.testing.assert_allclose(moved.numpy(), expected, rtol=0, atol=FIT_TOGETHER)
    assert torch.equal(skewed.head.label_keys, uniform.head.label_keys)
    assert skewed.config.expected_shares == shares


@pytest.mark.parametrize("head", ["default", "paper"])
@pytest.mark.fault("L23")
def test_both_heads_learn_from_unbalanced_shots(head, tiny_backbone, tiny_examples, tiny_labels):
    shots = [example for i, example in enumerate(tiny_examples) if example.label != "praise" or i % 3 == 0]
    balanced = train(tiny_examples, tiny_labels, TrainConfig(head=head), backbone=tiny_backbone)
    skewed = train(shots, tiny_labels, TrainConfig(head=head), backbone=tiny_backbone)
    texts = [example.text for example in tiny_examples if example.label == "praise"]
    praise = tiny_labels.index("praise")
    mean = [made.predict_proba(texts, backbone=tiny_backbone)[:, praise].mean() for made in (balanced, skewed)]
    assert mean[1] > 0.6 * mean[0]


@pytest.mark.parametrize("shares", [{"shipping": 1.0}, {"shipping": 1.0, "billing": 1.0, "praise": 1.0, "other": 1.0}])
def test_shares_must_be_those_of_the_labels(shares, tiny_backbone, tiny_examples, tiny_labels):
    with pytest.raises(DataError, match=r"expected_shares: .* expected one for each of the 3 labels\. Correct it\.$"):
        train(tiny_examples, tiny_labels, TrainConfig(expected_shares=shares), backbone=tiny_backbone)


@pytest.mark.parametrize("value", ["even", 3, {}, {"a": 0.0}, {"a": "1"}, {"a": float("inf")}, {"a": True}])
def test_shares_are_numbers_above_0(value):
    from crosstune.config import validated

    with pytest.raises(ConfigError, match="expected_shares"):
        validated({"expected_shares": value}, "config")
    for name, given in (("expected_shares", "shots"), ("log_shares", "estimate")):
        with pytest.raises(ConfigError, match=f"{name} goes with head default"):
            validated({name: given, "head": "paper"}, "config")


def test_a_shot_of_one_label_only_is_no_evidence_of_shares(tiny_backbone, tiny_labels):
    shots = [Example("where is my parcel", "shipping"), Example("the parcel is late", "shipping")]
    with pytest.warns(UserWarning, match="known by description only"):
        trained = train(shots, tiny_labels, TrainConfig(), backbone=tiny_backbone)
    assert torch.equal(trained.head.label_bias, -(trained.head.label_keys @ trained.head.prior_centre))
