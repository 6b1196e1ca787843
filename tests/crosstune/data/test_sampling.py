"""Few-shot draws follow the protocol that is written down, checked against a second implementation of it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune import ConfigError, Example, draw_shots
from crosstune.data.sampling import assign_folds


def protocol(pool, k, seed):
    """Permute; then, class by class, take the first K of the permuted pool."""
    shuffled = [pool[i] for i in np.random.RandomState(seed).permutation(len(pool))]
    drawn = set()
    for label in {example.label for example in pool}:
        drawn |= set([i for i, example in enumerate(shuffled) if example.label == label][:k])
    return tuple(shuffled[i] for i in sorted(drawn))


@given(
    labels=st.lists(st.sampled_from("abcd"), max_size=60),
    k=st.integers(1, 12),
    seed=st.integers(0, (1 << 32) - 1),
)
def test_the_draw_is_the_protocol(labels, k, seed):
    pool = [Example(f"text {i}", label) for i, label in enumerate(labels)]
    shots = draw_shots(pool, k, seed)
    assert shots == protocol(pool, k, seed)
    assert Counter(shot.label for shot in shots) == {x: min(k, n) for x, n in Counter(labels).items()}


def test_one_known_draw():
    """Written down once, so that a change of the protocol cannot go unseen together with its test's."""
    pool = [Example(f"t{i}", "ab"[i % 2]) for i in range(10)]
    assert [shot.text for shot in draw_shots(pool, 2, seed=13)] == ["t3", "t5", "t6", "t4"]


def test_another_seed_is_another_draw():
    pool = [Example(f"t{i}", "ab"[i % 2]) for i in range(40)]
    draws = {draw_shots(pool, 4, seed) for seed in range(20)}
    assert len(draws) == 20
    assert draw_shots(pool, 4, 7) == draw_shots(tuple(pool), 4, 7)


@pytest.mark.parametrize("shots", [0, -1])
def test_no_shots_are_refused(shots):
    with pytest.raises(ConfigError) as caught:
        draw_shots([Example("a", "x")], shots, 0)
    assert str(caught.value) == f"shots: found {shots}, expected at least 1."


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ConfigError) as caught:
        draw_shots([Example("a", "x")], 1, seed)
    assert str(caught.value) == f"seed: found {seed}, expected 0 to 4294967295."


@given(classes=st.lists(st.sampled_from("abcd"), max_size=40), folds=st.integers(1, 7), seed=st.integers(0, 1 << 40))
def test_folds_are_even_in_each_class_and_over_all(classes, folds, seed):
    fold = assign_folds(classes, folds, seed)
    for name in (*set(classes), None):
        members = [place for place, one in zip(fold, classes, strict=True) if name in (one, None)]
        sizes = np.bincount(members, minlength=folds) if members else np.zeros(folds, int)
        assert len(sizes) == folds
        assert sizes.max() - sizes.min() <= 1


def test_folds_depend_on_the_seed_modulo_its_range():
    classes = ["a"] * 20 + ["b"] * 20
    draws = [tuple(assign_folds(classes, 4, seed)) for seed in (0, 1, 2, (1 << 32) + 2)]
    assert len(set(draws)) == 3
    assert draws[2] == draws[3]
