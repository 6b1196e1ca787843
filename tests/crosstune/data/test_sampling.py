"""Few-shot draws follow the protocol that is written down, checked against a second implementation of it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune import ConfigError, Example, few_shot_split


def protocol(pool, k, seed):
    """Permute; then, class by class, the first K of the permuted pool are train and the next K are dev."""
    shuffled = [pool[i] for i in np.random.RandomState(seed).permutation(len(pool))]
    train, dev = set(), set()
    for label in {example.label for example in pool}:
        of_label = [i for i, example in enumerate(shuffled) if example.label == label]
        train |= set(of_label[:k])
        dev |= set(of_label[k : 2 * k])
    return tuple(shuffled[i] for i in sorted(train)), tuple(shuffled[i] for i in sorted(dev))


@given(
    labels=st.lists(st.sampled_from("abcd"), max_size=60),
    k=st.integers(1, 12),
    seed=st.integers(0, (1 << 32) - 1),
)
def test_the_draw_is_the_protocol(labels, k, seed):
    pool = [Example(f"text {i}", label) for i, label in enumerate(labels)]
    split = few_shot_split(pool, k, seed)
    assert (split.train, split.dev) == protocol(pool, k, seed)
    assert not {example.text for example in split.train} & {example.text for example in split.dev}
    counts = Counter(labels)
    assert Counter(example.label for example in split.train) == {x: min(k, n) for x, n in counts.items()}
    assert Counter(example.label for example in split.dev) == {x: min(k, n - k) for x, n in counts.items() if n > k}


def test_one_known_draw():
    """Written down once, so that a change of the protocol cannot go unseen together with its test's."""
    pool = [Example(f"t{i}", "ab"[i % 2]) for i in range(10)]
    split = few_shot_split(pool, 2, seed=13)
    assert [example.text for example in split.train] == ["t3", "t5", "t6", "t4"]
    assert [example.text for example in split.dev] == ["t1", "t7", "t8", "t0"]


def test_another_seed_is_another_draw():
    pool = [Example(f"t{i}", "ab"[i % 2]) for i in range(40)]
    draws = {few_shot_split(pool, 4, seed).train for seed in range(20)}
    assert len(draws) == 20
    assert few_shot_split(pool, 4, 7) == few_shot_split(tuple(pool), 4, 7)


@pytest.mark.parametrize("shots", [0, -1])
def test_no_shots_are_refused(shots):
    with pytest.raises(ConfigError) as caught:
        few_shot_split([Example("a", "x")], shots, 0)
    assert str(caught.value) == f"shots: found {shots}, expected at least 1."


@pytest.mark.parametrize("seed", [-1, 1 << 32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ConfigError) as caught:
        few_shot_split([Example("a", "x")], 1, seed)
    assert str(caught.value) == f"seed: found {seed}, expected 0 to 4294967295."
