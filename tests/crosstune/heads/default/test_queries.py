"""Label queries learn from the shots what to look for, and held-out shots are not seen by queries that they have taught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosstune.features.attention import SHARPNESS
from crosstune.features.cache import TextStates
from crosstune.features.spec import Atom, FeatureSpec
from crosstune.heads.default.mixing import select
from crosstune.heads.default.queries import (
    MOST_QUERIES,
    QUERIES_PER_LABEL,
    STEPS,
    QueryLearner,
    choose_queries,
    query_weights,
)
from crosstune.heads.feature_plan import View
from tests.oracle.head_reference import reference_attention

HIDDEN, LABELS, LAYERS = 12, 3, 2
SPEC = FeatureSpec((Atom("mean", 0),), attention=(0, 1))
VIEWS = (View("mean", (Atom("mean", 0),), 0.5), View("label queries", (), 0.5))


def unit(values):
    return torch.nn.functional.normalize(values, dim=-1)


class Texts:
    """Tokens at random, and in each text one that tells its label, which no description knows of."""

    def __init__(self, count: int, seed: int, told: float = 4.0) -> None:
        random = torch.Generator().manual_seed(1)
        self.queries = unit(torch.randn(LAYERS, 2 * LABELS, HIDDEN, generator=random))
        self.own = query_weights(torch.arange(LABELS).repeat_interleave(2), LABELS, LAYERS)
        signs = torch.randn(LABELS, HIDDEN, generator=random)
        random = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(count) % LABELS
        tokens = []
        for target in self.targets:
            length = int(torch.randint(3, 9, (), generator=random))
            states = torch.randn(LAYERS, length, HIDDEN, generator=random)
            states[:, int(torch.randint(length, (), generator=random))] += told * signs[target]
            tokens.append(states.numpy().astype(np.float16))
        self.states = TextStates(("mean",), np.zeros((count, 1, 2, HIDDEN), np.float32), (0, 1), tokens)

    def learner(self) -> QueryLearner:
        return QueryLearner(self.states, SPEC, self.targets, self.queries, self.own)


def found_by(queries: torch.Tensor, texts: Texts) -> torch.Tensor:
    rows = [
        reference_attention(tokens.astype(np.float64), tokens.shape[1], (0, 1), queries.numpy(), SHARPNESS)
        for tokens in texts.states.tokens
    ]
    return torch.tensor(np.array(rows), dtype=torch.float32)


def head(texts: Texts, features: torch.Tensor, found=None):
    pooled = torch.zeros(len(features), HIDDEN)
    labels = torch.cat([torch.zeros(LABELS, HIDDEN), texts.own], 1)
    return select(
        VIEWS, SPEC, torch.cat([pooled, features], 1), texts.targets, labels, HIDDEN, 13, taught_features=found
    )


def accuracy(chosen, texts: Texts, features: torch.Tensor) -> float:
    rows = torch.cat([torch.zeros(len(features), HIDDEN), features], 1)
    return float(((rows @ chosen.label_keys.t() + chosen.label_bias).argmax(1) == texts.targets).double().mean())


@pytest.mark.parametrize(("labels", "each"), [(2, 8), (40, 8), (41, 7), (160, 2), (161, 1), (400, 1)])
def test_many_labels_share_the_queries(labels, each):
    """The most distinctive ones of a label are kept: token number i of a label is the less like others' the larger i."""
    random = torch.Generator().manual_seed(5)
    shared = torch.randn(LAYERS, 1, 16, generator=random)
    descriptions = [
        [shared + torch.linspace(0.1, 3, 10).reshape(1, -1, 1) * torch.randn(LAYERS, 10, 16, generator=random)]
        for _ in range(labels)
    ]
    assert torch.bincount(choose_queries(descriptions, shared=False)[1]).tolist() == [QUERIES_PER_LABEL] * labels
    queries, owner = choose_queries(descriptions, shared=True)
    assert each == max(1, min(QUERIES_PER_LABEL, MOST_QUERIES // labels))
    assert torch.bincount(owner).tolist() == [each] * labels
    own = unit(descriptions[0][0])
    kept = [bool((queries == own[:, i : i + 1]).all((0, 2)).any()) for i in range(10)]
    assert sum(kept) == each
    if labels > 2:
        assert np.flatnonzero(kept).mean() >= 4.5


def test_they_find_what_no_description_speaks_of():
    shots, fresh = Texts(48, 2), Texts(120, 3)
    learner = shots.learner()
    assert learner.steps == STEPS
    rows = torch.arange(48)
    taught = learner.learn(rows)
    assert taught.shape == shots.queries.shape
    assert torch.allclose(taught.norm(dim=2), torch.ones(LAYERS, 2 * LABELS), atol=1e-5)
    assert torch.equal(taught, learner.learn(rows))
    assert torch.allclose(learner.taught_features(rows), found_by(taught, shots), atol=1e-5)
    with_them = head(shots, learner.taught_features(rows), learner.taught_features)
    without = head(shots, found_by(shots.queries, shots))
    better = accuracy(with_them, fresh, found_by(taught, fresh))
    assert better > accuracy(without, fresh, found_by(shots.queries, fresh)) + 0.05
    assert with_them.quality.cv_accuracy == pytest.approx(better, abs=0.2)


def test_queries_of_a_label_without_shots_stay():
    texts = Texts(48, 2)
    rows = torch.nonzero(texts.targets != 1).flatten()
    taught = texts.learner().learn(rows)
    moved = (taught - texts.queries).norm(dim=2)
    assert torch.allclose(moved[:, 2:4], torch.zeros(LAYERS, 2), atol=1e-6)
    assert (moved[:, [0, 1, 4, 5]] > 1e-3).all()


def test_where_there_is_nothing_to_learn_held_out_shots_say_so():
    """A query that a shot has taught knows that shot: measured by it, noise would look like knowledge."""
    found = []
    for seed in range(4):
        texts = Texts(36, seed, told=0.0)
        learner = texts.learner()
        chosen = head(texts, learner.taught_features(torch.arange(36)), learner.taught_features)
        found.append((chosen.quality.cv_accuracy, chosen.quality.cv_loss))
    accuracy_, loss = np.mean(found, 0)
    assert accuracy_ < 0.5
    assert loss > 0.95 * np.log(LABELS)


def test_too_much_work_leaves_them_as_they_are():
    texts = Texts(3, 2)
    long = TextStates(("mean",), texts.states.pooled, (0, 1), [np.zeros((LAYERS, 512, HIDDEN), np.float16)] * 3)
    many = torch.zeros(LAYERS, 500_000, HIDDEN)
    learner = QueryLearner(long, SPEC, texts.targets, many, torch.zeros(LABELS, LAYERS * 500_000))
    assert learner.steps == 0
    assert QueryLearner(long, SPEC, texts.targets[:0], texts.queries, texts.own).steps == 0
