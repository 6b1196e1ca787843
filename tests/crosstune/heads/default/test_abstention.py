"""Thresholds below which no label is given: what they promise on the shots, and what the similarity of a text is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosstune import Example, LabelSet, TrainConfig, read_examples, read_labels, train
from crosstune.checkpoint import predict_proba, predict_with_similarity
from crosstune.core.errors import ConfigError, DataError
from crosstune.heads.default.abstention import (
    coverage_threshold,
    held_out_similarity,
    length_offsets,
    precision_threshold,
    scope_keys,
)
from tests.fixtures.fits import fitted
from tests.tolerances import FEATURES_TO_ORACLE


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 1))
def test_coverage_is_kept_and_no_more_than_it_takes(scores, coverage):
    scores = np.array(scores)
    threshold = coverage_threshold(scores, coverage)
    assert (scores >= threshold).mean() >= coverage
    assert (scores > threshold).mean() < coverage


def test_a_share_in_percent_takes_no_text_too_many():
    for texts in range(1, 201):
        scores = np.arange(texts) / texts
        for percent in range(1, 101):
            answered = int((scores >= coverage_threshold(scores, float(f"{percent}e-2"))).sum())
            assert answered == -(-percent * texts // 100)


@given(st.integers(0, 1 << 31), st.integers(1, 40), st.floats(0.5, 1))
def test_precision_is_kept_wherever_it_can_be(seed, count, precision):
    random = np.random.RandomState(seed)
    probs = random.dirichlet(np.ones(3), count).astype(np.float32)
    gold = random.randint(0, 3, count)
    threshold = precision_threshold(probs, gold, precision)
    top, right = probs.max(1), probs.argmax(1) == gold
    possible = [t for t in top if right[top >= t].mean() >= precision]
    if possible:
        assert threshold == pytest.approx(min(possible))
    else:
        assert threshold == pytest.approx(top.max())


@pytest.mark.fault("L23")
@given(st.integers(0, 1 << 31), st.floats(0.5, 1))
def test_a_weight_is_as_good_as_so_many_texts(seed, share):
    random = np.random.RandomState(seed)
    counts = random.randint(1, 4, 12)
    probs, gold, scores = random.dirichlet(np.ones(3), 12).astype(np.float32), random.randint(0, 3, 12), random.rand(12)
    many = (np.repeat(values, counts, axis=0) for values in (probs, gold, scores))
    expected = precision_threshold(next(many), next(many), share), coverage_threshold(next(many), share)
    weights = counts.astype(np.float32)
    assert (precision_threshold(probs, gold, share, weights), coverage_threshold(scores, share, weights)) == expected


def unit_rows(random, rows, atoms, hidden):
    values = random.randn(rows, atoms, hidden)
    return (values / np.linalg.norm(values, axis=2, keepdims=True)).reshape(rows, -1)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(st.integers(0, 1 << 31), st.integers(1, 3), st.integers(2, 4))
def test_the_similarity_of_a_shot_leaves_it_out_of_its_own_label(seed, atoms, labels):
    random = np.random.RandomState(seed)
    targets = random.randint(0, labels, 7)
    shots, described = unit_rows(random, 7, atoms, 5), unit_rows(random, labels, atoms, 5)
    tensors = (
        torch.tensor(shots, dtype=torch.float32),
        torch.tensor(targets),
        torch.tensor(described, dtype=torch.float32),
    )
    found = held_out_similarity(*tensors, atoms)
    for i, shot in enumerate(shots):
        best = -2.0
        for other in range(labels):
            members = [shots[j] for j in range(7) if targets[j] == other and j != i]
            best = max(best, cosine(shot, sum(members) if members else described[other]))
        assert found[i] == pytest.approx(best, abs=10 * FEATURES_TO_ORACLE)
    keys = scope_keys(*tensors, atoms)
    for label in range(labels):
        members = [shots[j] for j in range(7) if targets[j] == label]
        expected = [cosine(shot, sum(members) if members else described[label]) for shot in shots]
        np.testing.assert_allclose(tensors[0] @ keys[label], expected, rtol=0, atol=10 * FEATURES_TO_ORACLE)


def shots_of(random, count, slope, narrowing):
    """Lengths, and similarities whose mean rises by the logarithm of the length while their deviation falls."""
    lengths = np.clip(np.exp(random.normal(2.7, 0.6, count)), 3, 60).astype(np.int64)
    logs = np.log(lengths / 15)
    return 0.6 + 0.05 * (slope * logs + np.exp(narrowing * logs) * random.randn(count)), lengths


@pytest.mark.parametrize("coverage", [0.85, 0.95])
@pytest.mark.parametrize(("slope", "narrowing"), [(2.0, -0.5), (1.0, -0.3), (0.5, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("count", [32, 96])
def test_short_texts_reach_the_border_as_often_as_long_ones(count, slope, narrowing, coverage):
    """On the mean over many draws of shots, on texts that are not among them; also where the slope of a draw is no evidence."""
    random = np.random.RandomState(count)
    texts, text_lengths = shots_of(random, 4000, slope, narrowing)
    short = text_lengths <= np.quantile(text_lengths, 0.15)
    kept, before = [], []
    for _ in range(100):
        scores, lengths = shots_of(random, count, slope, narrowing)
        offsets = length_offsets(scores, lengths, 64, coverage)
        offsets = offsets if len(offsets) else np.zeros(65, np.float32)
        border = coverage_threshold(scores + offsets[lengths], coverage)
        reach = texts + offsets[text_lengths] >= border
        kept.append([reach[short].mean(), reach[~short].mean()])
        before.append((texts >= coverage_threshold(scores, coverage))[short].mean())
    of_short, of_others = np.mean(kept, axis=0)
    assert of_others == pytest.approx(coverage, abs=0.05)
    assert abs(of_short - coverage) <= max(0.04, abs(float(np.mean(before)) - coverage) / 2)


@given(st.integers(0, 1 << 31), st.integers(8, 90), st.floats(-3, 3), st.floats(-0.6, 0.6), st.floats(0.5, 1))
def test_offsets_fall_from_the_shortest_shot_to_the_longest(seed, count, slope, narrowing, coverage):
    scores, lengths = shots_of(np.random.RandomState(seed), count, slope, narrowing)
    offsets = length_offsets(scores, lengths, 64, coverage)
    if len(offsets):
        median = float(np.median(lengths))
        assert np.interp(median, np.arange(65), offsets) == pytest.approx(0, abs=0.02)  # such a text stays as it is
        assert (offsets[: int(lengths.min() / 1.5) + 1] == offsets[0]).all()
        assert (offsets[lengths.max() :] == offsets[-1]).all()
        made_alike = coverage_threshold(scores + offsets[lengths], coverage)
        assert (scores + offsets[lengths] >= made_alike).mean() >= coverage


@given(st.integers(0, 1 << 31), st.integers(8, 60))
def test_the_weight_of_a_shot_counts_for_its_offsets(seed, count):
    scores, lengths = shots_of(np.random.RandomState(seed), count, 1.5, -0.3)
    alike = length_offsets(scores, lengths, 64, 0.9)
    np.testing.assert_array_equal(length_offsets(scores, lengths, 64, 0.9, np.ones(count, np.float32)), alike)
    assert len(alike) in (0, 65)


def test_no_offsets_where_length_cannot_count():
    """A slope the wrong way on many shots, shots of one length, equal shots, and few shots leave the similarity as it is."""
    random = np.random.RandomState(0)
    lengths = random.randint(3, 60, 400)
    given = {
        "falls": (1 - lengths / 1000 + 0.001 * lengths * random.randn(400), lengths),
        "one length": (random.rand(40), np.full(40, 9)),
        "equal": (np.full(40, 0.5), lengths[:40]),
        "few": (lengths[:7] / 100, lengths[:7]),
        "none": (np.empty(0), np.empty(0, np.int64)),
    }
    assert {name: len(length_offsets(*pair, 64, 0.95)) for name, pair in given.items()} == dict.fromkeys(given, 0)
    assert len(length_offsets(lengths[:8] / 100, lengths[:8], 64, 0.95)) == 65


@pytest.mark.fault("L12")
def test_short_texts_get_a_label_as_often_as_long_ones(minilm, support_desk):
    """Shots of the example have a median of 18 words; a clear question of three or four is answered, small talk is not."""
    labels, shots = read_labels(support_desk.labels), read_examples(support_desk.train)
    trained = train(shots, labels, TrainConfig(abstain_at="coverage=0.95"), backbone=minilm)
    clear = ["where is my parcel", "my invoice is wrong", "cancel my order"]
    other = ["what is the capital of france", "tell me a joke", "thanks"]
    _, similarity = predict_with_similarity(trained, minilm, [*clear, *other])
    assert (similarity >= trained.min_similarity).tolist() == [True] * 3 + [False] * 3


def test_a_checkpoint_keeps_its_thresholds(tiny_backbone, tiny_examples, tiny_labels, tmp_path):
    from crosstune import load_checkpoint

    for target, name in (("coverage=0.9", "min_similarity"), ("precision=0.9", "threshold")):
        trained = train(tiny_examples, tiny_labels, TrainConfig(abstain_at=target), backbone=tiny_backbone)
        trained.save(tmp_path / name)
        loaded = load_checkpoint(tmp_path / name)
        assert getattr(loaded, name) == getattr(trained, name) is not None
        assert [loaded.threshold is None, loaded.min_similarity is None] == [name != "threshold", name == "threshold"]


def test_without_shots_there_is_nothing_to_choose_by(tiny_backbone, tiny_labels):
    with pytest.warns(UserWarning, match="known by description only"), pytest.raises(DataError) as caught:
        train([], tiny_labels, TrainConfig(abstain_at="coverage=0.9"), backbone=tiny_backbone)
    assert str(caught.value) == (
        "abstain_at: coverage=0.9 needs shots of 2 labels or more, found fewer. Leave it out, or give examples."
    )


@pytest.mark.parametrize("value", ["0.9", "coverage=2", "recall=0.5", "coverage=", "precision=-1"])
def test_other_targets_are_refused(value):
    from crosstune.config import validated

    with pytest.raises(ConfigError, match="abstain_at is "):
        validated({"abstain_at": value}, "x")


def test_more_layers_than_there_are_is_refused(tiny_backbone, tiny_examples, tiny_labels):
    with pytest.raises(ConfigError) as caught:
        train(tiny_examples, tiny_labels, TrainConfig(layers=3), backbone=tiny_backbone)
    assert str(caught.value) == f"layers: found 3, expected 1 to 2 for {tiny_backbone.name}."


def test_the_first_layers_alone(tiny_backbone, tiny_examples, tiny_labels):
    trained = train(tiny_examples, tiny_labels, TrainConfig(layers=1), backbone=tiny_backbone)
    assert trained.head.spec.last_layer == trained.facts.head.layers == 1
    auto = train(tiny_examples, tiny_labels, TrainConfig(layers="auto"), backbone=tiny_backbone).facts.head
    assert [row.layers for row in auto.layers_tried] == [2, 1]
    assert auto.layers in (1, 2)


def test_a_pair_of_labels_far_from_a_text_gives_a_low_similarity(tiny_backbone):
    labels = LabelSet.from_mapping({"a": "where is my parcel", "b": "thank you very much"})
    shots = [Example("where is my parcel", "a"), Example("thank you very much", "b")]
    head = train(shots, labels, backbone=tiny_backbone).head
    states = tiny_backbone.forward(tiny_backbone.tokenize(["where is my parcel", "7 7 7 7 7 7"]))
    similarity = head.similarity(head(states.states, states.mask)[1], states.mask.sum(1))
    assert similarity[0] == pytest.approx(1, abs=1e-4)
    assert similarity[1] < similarity[0]


def test_generated_texts_do_not_move_the_similarity(tiny_backbone, tiny_examples, tiny_labels):
    shots, further = tiny_examples[::2], tiny_examples[1::2]
    config = TrainConfig(abstain_at="coverage=0.9")
    alone = fitted(shots, (), tiny_labels, config, tiny_backbone)
    both = fitted(shots, further, tiny_labels, config, tiny_backbone)
    assert both.facts.min_similarity == alone.facts.min_similarity
    torch.testing.assert_close(both.head.scope_keys, alone.head.scope_keys, rtol=0, atol=0)


def test_labels_without_shots_compete_where_precision_is_promised(minilm, support_desk):
    labels = read_labels(support_desk.labels)
    shots = [example for example in read_examples(support_desk.train) if example.label in labels.names[:2]]
    with pytest.warns(UserWarning, match="known by description only"):
        trained = train(shots, labels, TrainConfig(abstain_at="precision=0.9"), backbone=minilm)
    probs = predict_proba(trained, minilm, [example.content for example in shots])
    answered = probs.max(1) >= trained.threshold
    right = probs.argmax(1) == labels.indices(shots)
    assert (answered & ~right).sum() <= 0.1 * answered.sum()


def test_texts_of_equal_probability_are_answered_together():
    """A threshold cannot tell them apart, so the wrong one counts with the right one, in whichever order they stand."""
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3]], np.float32)
    for gold in ([0, 0, 1], [0, 1, 0]):
        assert precision_threshold(probs, np.array(gold), 0.9) == np.float64(np.float32(0.9))
        assert precision_threshold(probs, np.array(gold), 0.6) == np.float64(np.float32(0.7))


def test_a_share_that_is_just_reached_is_enough():
    probs = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.55, 0.45]], np.float32)
    assert precision_threshold(probs, np.array([0, 0, 0, 1]), 1.0) == np.float64(np.float32(0.6))
    assert precision_threshold(probs, np.array([0, 0, 0, 1]), 0.75) == np.float64(np.float32(0.55))
