"""The optimisation of the paper's head against the numpy oracle."""

import numpy as np
import pytest
import torch

from crosstune import TrainingError
from crosstune.backbone.frozen import PoolPositions
from crosstune.features.spec import Atom, FeatureSpec
from crosstune.heads.paper.fit import optimize
from crosstune.heads.paper.head import PaperHead
from tests.oracle.head_reference import reference_paper_probs
from tests.tolerances import FIRST_STEP


def paper_task():
    random = np.random.RandomState(0)
    features, vectors = (torch.tensor(random.randn(rows, 8), dtype=torch.float32) for rows in (9, 3))
    return features, torch.tensor([0, 1, 2] * 3), vectors


def fit(features, targets, vectors, epochs, learning_rate=0.01):
    spec, at = FeatureSpec((Atom("mean", 1),)), PoolPositions(1, 0)
    head = PaperHead.start(spec, at, vectors, heads=2, seed=3)
    optimize(head, features, targets, epochs=epochs, learning_rate=learning_rate)
    return head.requires_grad_(False)


def oracle_loss(head, features, targets, vectors):
    query, key = (value.detach().double().numpy() for value in (head.query, head.key))
    rows = [reference_paper_probs(row, query, key, vectors.double().numpy()) for row in features.double().numpy()]
    return -np.mean([np.log(row[target]) for row, target in zip(rows, targets, strict=True)])


def test_the_first_step_goes_down_the_oracles_slope():
    """Adam's first step is the learning rate against the sign of each slope; slopes by finite differences of the oracle."""
    features, targets, vectors = paper_task()
    start = PaperHead.start(FeatureSpec((Atom("mean", 1),)), PoolPositions(1, 0), vectors, 2, 3).requires_grad_(False)
    stepped = fit(features, targets, vectors, 1)
    for name in ("query", "key"):
        before, after = getattr(start, name), getattr(stepped, name)
        for index in [(0, 0, 0), (1, 3, 7), (0, 2, 5), (1, 1, 1)]:
            kept, losses = float(before[index]), []
            for delta in (1e-3, -1e-3):
                before[index] = kept + delta
                losses.append(oracle_loss(start, features, targets, vectors))
            before[index] = kept
            slope = losses[0] - losses[1]
            assert abs(slope) > 1e-6
            assert float(after[index]) - kept == pytest.approx(-0.01 * np.sign(slope), rel=FIRST_STEP)


def test_the_loss_falls():
    features, targets, vectors = paper_task()
    losses = [
        oracle_loss(fit(features, targets, vectors, epochs), features, targets, vectors) for epochs in (1, 20, 200)
    ]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.1


@pytest.mark.fault("E7")
def test_features_that_are_not_finite_stop_the_training():
    features, targets, vectors = paper_task()
    features[2, 3] = float("inf")
    with pytest.raises(TrainingError) as caught:
        fit(features, targets, vectors, 5, 0.25)
    assert str(caught.value) == ("training: loss is nan at epoch 0 with learning rate 0.25. Lower the learning rate.")


def missed(counts, seed):
    """Share of fresh texts of two labels that a head misses which is fitted to so many shots of each."""
    random = np.random.RandomState(seed)
    vectors = torch.tensor(random.randn(2, 16), dtype=torch.float32)
    gold = torch.arange(2).repeat_interleave(torch.tensor(counts))
    fresh = torch.arange(2).repeat(200)
    shots, texts = (
        torch.nn.functional.normalize(vectors[of] + 3 * torch.tensor(random.randn(len(of), 16), dtype=torch.float32))
        for of in (gold, fresh)
    )
    answers = fit(shots, gold, vectors, 200).probs(texts).argmax(1)
    return [float((answers[fresh == label] != label).double().mean()) for label in (0, 1)]


@pytest.mark.fault("L23")
def test_a_label_with_few_shots_is_not_missed_more_often():
    both = np.array([missed(counts, seed) for counts in [(5, 27), (27, 5)] for seed in range(6)])
    rare, frequent = np.concatenate([both[:6], both[6:, ::-1]]).mean(0)
    assert rare < frequent + 0.05
