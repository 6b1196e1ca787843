"""The graph that ships under a budget; measurements are given and nothing is built."""

from __future__ import annotations

import re
from functools import partial

import pytest

from crosstune_export import GateError
from crosstune_export.builder import search
from crosstune_export.builder.choosing import MAX_ACCURACY_LOSS, Depth, DepthOption, choose_depth
from crosstune_export.builder.search import Budgets, Trial, choose
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.bundle.manifest import GraphFacts

FACTS = GraphFacts(("input_ids", "attention_mask"), ("probs", "text_vector"), "int8", 18, 10, "1.20.0", (), 8)


def graph(size_mb, *, changes=0, name="int8"):
    difference = PredictionDifference(100, (1,), 0.01, changes)
    return Trial(Variant(name, "int8"), FACTS, b"", {}, int(size_mb * 1e6), difference, difference)


class Depths:
    """Heads on 6, 5, 4 ... layers with given sizes and accuracies; notes which were opened."""

    def __init__(self, sizes_mb, accuracies, **graphs):
        self.opened = []
        self.all_layers, *self.shallower = (
            DepthOption(
                Depth(layers, accuracy), partial(self._open, layers), lambda layers, mb=mb: [graph(mb, **graphs)]
            )
            for layers, mb, accuracy in zip(range(6, 0, -1), sizes_mb, accuracies, strict=False)
        )

    def _open(self, layers):
        self.opened.append(layers)
        return layers

    def choose(self, budgets, progress=lambda *step: None):
        rank = partial(choose, budgets=budgets, rows=[], tokenizer=None, progress=lambda done, total: None)
        return choose_depth(self.all_layers, self.shallower, budgets, rank, progress)


@pytest.fixture(autouse=True)
def one_millisecond_each(monkeypatch):
    monkeypatch.setattr(search, "time_interleaved", lambda trials, *rest: [1.0] * len(trials))


def test_all_layers_where_they_fit():
    depths = Depths((10, 9), (0.9, 0.9))
    choice = depths.choose(Budgets(max_size_mb=10))
    assert (choice.source, choice.shipped.variant.name, depths.opened) == (6, "int8", [6])


def test_as_many_layers_as_fit():
    depths, steps = Depths((10, 9, 8, 7), (0.9, 0.89, 0.88, 0.9)), []
    choice = depths.choose(Budgets(max_size_mb=8.5), progress=lambda *step: steps.append(step))
    assert (choice.source, choice.shipped.variant.name, depths.opened) == (4, "int8, 4 of 6 layers", [6, 5, 4])
    assert [trial.verdict for trial in choice.trials] == [
        "10 MB, at most 8.5 MB allowed",
        "9 MB, at most 8.5 MB allowed",
        "shipped",
    ]
    assert steps == [("try 5 of 6 layers", 1, 6), ("try 4 of 6 layers", 2, 6)]


def test_a_depth_that_loses_too_much_accuracy_is_not_opened():
    too_low = 0.9 - MAX_ACCURACY_LOSS - 0.001
    depths = Depths((10, 9, 8), (0.9, too_low, 0.9))
    assert depths.choose(Budgets(max_size_mb=9)).source == 4
    assert depths.opened == [6, 4]
    depths = Depths((10, 9), (0.9, too_low))
    with pytest.raises(GateError) as caught:
        depths.choose(Budgets(max_size_mb=9))
    assert str(caught.value) == (
        "budget: no graph of 1 tried keeps within it; nearest is 'int8' with 10.0 MB and 0 of 200 "
        "labels that differ from fp32 (10 MB, at most 9 MB allowed). Raise --max-size-mb. "
        "With 5 of 6 layers held-out accuracy falls from 90.0% to 86.9%; at most 3 points "
        "are allowed."
    )


def test_no_depth_fits():
    with pytest.raises(GateError) as caught:
        Depths((10, 9, 8), (0.9, 0.9, 0.9)).choose(Budgets(max_size_mb=1))
    assert re.match(
        r"budget: no graph of 3 tried keeps within it; nearest is 'int8, 4 of 6 layers' with 8\.0 MB",
        str(caught.value),
    )
    assert caught.value.exit_code == 6


def test_label_changes_alone_are_no_reason_for_fewer_layers():
    depths = Depths((10, 9), (0.9, 0.9), changes=50)
    with pytest.raises(GateError, match="100 of 200 labels that differ from fp32"):
        depths.choose(Budgets(max_flips_percent=2))
    assert depths.opened == [6]
