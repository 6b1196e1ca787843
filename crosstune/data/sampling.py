"""Random draws: K examples of each class, and folds of what was drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import ConfigError
from crosstune.data.examples import Example


def draw_shots(pool: Sequence[Example], shots_per_label: int, seed: int) -> tuple[Example, ...]:
    """Draw K examples of each class.

    The protocol of the few-shot literature: permute the pool with ``RandomState(seed)`` and take the first K of each class. A
    class with fewer examples gives all of them.

    Examples:
        >>> pool = [Example(f"text {i}", "ab"[i % 2]) for i in range(10)]
        >>> len(draw_shots(pool, 2, seed=13))
        4

    Args:
        pool: Examples to draw from.
        shots_per_label: K, at least 1.
        seed: 0 to 2**32 - 1.

    Raises:
        ConfigError: K or the seed is out of range.
    """
    if shots_per_label < 1:
        raise ConfigError(f"shots: found {shots_per_label}, expected at least 1.")
    if not 0 <= seed < 1 << 32:
        raise ConfigError(f"seed: found {seed}, expected 0 to {(1 << 32) - 1}.")
    taken: Counter[str] = Counter()
    shots = []
    for i in np.random.RandomState(seed).permutation(len(pool)):
        example = pool[i]
        if taken[example.label] < shots_per_label:
            taken[example.label] += 1
            shots.append(example)
    return tuple(shots)


def assign_folds(classes: Sequence[Hashable], folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Stratified folds of N texts: the texts of each class go to the folds in turn, in an order that the seed decides.

    Examples:
        >>> assign_folds(["a", "a", "b", "a", "b", "b"], 2, seed=13).tolist()
        [1, 0, 0, 0, 1, 1]

    Args:
        classes: N classes, by number or name.
        folds: At least 1.
        seed: Taken modulo 2**32.

    Returns:
        int64 (N,), in 0 .. folds - 1.
    """
    random = np.random.RandomState(seed % (1 << 32))
    names = np.asarray(classes)
    fold = np.zeros(len(classes), np.int64)
    assigned = 0
    for name in dict.fromkeys(classes):  # as they appear: the order of the label file must not matter
        members = random.permutation(np.flatnonzero(names == name))
        fold[members] = (np.arange(len(members)) + assigned) % folds
        assigned += len(members)
    return fold
