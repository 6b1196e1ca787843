"""Which texts a graph is calibrated on."""

from __future__ import annotations

import itertools

from crosstune.core.token_layout import TokenRow
from crosstune_export.builder.calibrate import _subset


def rows(count: int) -> list[TokenRow]:
    return [TokenRow((index,) * 10, (0,) * 10, False) for index in range(count)]


def test_few_texts_are_all_used():
    assert _subset(rows(8), 80) == rows(8)


def test_many_texts_are_picked_evenly():
    """Files are often sorted by label: the first texts would show one label only."""
    picked = [row.ids[0] for row in _subset(rows(100), 250)]
    assert len(picked) == 25
    assert picked[0] < 4 and picked[-1] >= 96
    assert {after - before for before, after in itertools.pairwise(picked)} <= {3, 4, 5}
