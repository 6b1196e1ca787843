"""How many labels of new texts a build expects to change, compared with simulated texts."""

import numpy as np
import pytest

from crosstune import Checkpoint, TrainConfig, train
from crosstune.evaluation.metrics import margins
from crosstune.training import CLOSE_SHOTS, LEAST_CLOSE_MARGIN
from crosstune_export.builder.parity import expected_changes, margin_change


def probabilities(log_odds):
    """Of three labels, of which the third is unlikely, float32 (N, 3)."""
    odds = np.exp(np.stack([log_odds, np.zeros_like(log_odds), np.full_like(log_odds, -20)], 1))
    return (odds / odds.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rounding", [0.02, 0.1, 0.4])
def test_the_estimate_is_what_happens(rounding):
    """The head is sure of its training texts, so that none of these changes; new texts are less far from a border."""
    draw = np.random.RandomState(7)
    noise = rounding * draw.standard_normal((3, 200_000))
    trained_on = 8 + draw.uniform(0, 4, 200_000)
    new, held_out = draw.uniform(-3, 3, (2, 200_000))
    before, after = probabilities(trained_on), probabilities(trained_on + noise[0])
    assert (before.argmax(1) == after.argmax(1)).all()
    changed = (probabilities(new).argmax(1) != probabilities(new + noise[1]).argmax(1)).mean()
    close = int((margins(probabilities(held_out)) < 1).sum())
    found = expected_changes(margin_change(after, before), close, 200_000)
    assert found.share == pytest.approx(changed, rel=0.15)
    assert found.low < found.share < found.high


@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_the_estimate_of_an_unsure_head(scale):
    """Most margins are near 0: counted within 1, they would seem several times rarer there than they are."""
    draw = np.random.RandomState(7)
    rounding = 0.02 * draw.standard_normal((2, 200_000))
    new, held_out = draw.laplace(0, scale, (2, 200_000))
    changed = (probabilities(new).argmax(1) != probabilities(new + rounding[0]).argmax(1)).mean()
    moved = margin_change(probabilities(new + rounding[1]), probabilities(new))
    close = int((margins(probabilities(held_out)) < 0.05).sum())
    assert expected_changes(moved, close, 200_000, 0.05).share == pytest.approx(changed, rel=0.15)
    far = int((margins(probabilities(held_out)) < 1).sum())
    assert expected_changes(moved, far, 200_000).share < 0.7 * changed


def test_shots_are_counted_near_the_border(tiny_examples, tiny_labels, tiny_backbone_dir, tmp_path):
    """Ten of the held-out shots at most, unless more have no margin at all; a checkpoint keeps the numbers."""
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    checkpoint = train(tiny_examples, tiny_labels, config, device="cpu")
    facts = checkpoint.facts.head
    assert 0 < facts.close_shots <= CLOSE_SHOTS or facts.close_margin == LEAST_CLOSE_MARGIN
    assert facts.close_margin == 1 or facts.close_shots == CLOSE_SHOTS or facts.close_margin == LEAST_CLOSE_MARGIN
    checkpoint.save(tmp_path / "a.ckpt")
    assert Checkpoint.load(tmp_path / "a.ckpt").facts.head == facts


def test_a_graph_that_gives_no_number_is_expected_to_change_most():
    before = probabilities(np.array([3.0, 5.0]))
    assert margin_change(np.full_like(before, np.nan), before) == 1.0
    assert margin_change(before, before) == 0.0
    assert expected_changes(0.0, 3, 10).share == 0.0
