"""The choice among graphs with given measurements, and the message if none keeps within the budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crosstune_export import GateError
from crosstune_export.builder import search
from crosstune_export.builder.search import Budgets, Trial, choose, over_budget
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.expected_changes import ExpectedChanges
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.bundle.manifest import GraphFacts

FACTS = GraphFacts(("input_ids", "attention_mask"), ("probs", "text_vector"), "int8", 18, 10, "1.20.0", (), 8)


def trial(name, flips, size_mb=20.0):
    report = None if flips is None else PredictionDifference(100, (1,), 0.01, flips)
    return Trial(Variant(name, "int8"), FACTS, b"", {}, int(size_mb * 1e6), on_texts=report, on_truncated=report)


@pytest.fixture
def run(monkeypatch):
    def call(trials, budgets, times):
        by_name = dict(zip([trial.variant.name for trial in trials], times, strict=True))
        monkeypatch.setattr(
            search, "time_interleaved", lambda fit, *rest: [by_name[trial.variant.name] for trial in fit]
        )
        return {found.variant.name: found for found in choose(trials, budgets, [], None, lambda done, total: None)}

    return call


def test_the_fastest_that_answers_the_same(run):
    trials = [trial("fp32", None, 90), trial("plain", 1), trial("wild", 9), trial("slow", 0)]
    found = run(trials, Budgets(2.0), [9.0, 3.0, 1.0, 4.5])
    assert {name: each.verdict for name, each in found.items()} == {
        "fp32": "3.00 times as slow as plain",
        "plain": "shipped",
        "wild": "18 of 200 labels differ from fp32, at most 2% allowed",
        "slow": "1.50 times as slow as plain",
    }
    assert found["wild"].latency_ms is None  # graphs over a budget are not timed


def test_of_equally_fast_ones_the_one_with_fewer_flips(run):
    found = run([trial("one", 2), trial("two", 1), trial("three", 1)], Budgets(), [3.0, 3.05, 3.01])
    assert found["two"].verdict == "shipped"
    assert found["one"].verdict == "as fast as two, which has 2 label changes (this one: 4)"


def test_budgets(run):
    trials = [trial("large", 0, 90), trial("small", 0, 14.9)]
    found = run(trials, Budgets(max_size_mb=15), [1.0, 2.0])
    assert found["small"].verdict == "shipped"
    assert found["large"].verdict == "90 MB, at most 15 MB allowed"
    found = run(trials, Budgets(max_latency_ms=1.5), [1.0, 2.0])
    assert found["small"].verdict == "2.00 ms, at most 1.5 ms allowed"


@pytest.mark.parametrize(("texts", "percent", "allowed"), [(250, 64.4, 161), (250, 64.5, 162), (3, 100, 3), (9, 0, 0)])
def test_flips_are_allowed_up_to_a_whole_text(texts, percent, allowed):
    budgets = Budgets(max_flips_percent=percent)
    verdicts = [
        over_budget(
            replace(trial("x", 0), on_texts=PredictionDifference(texts, (1,), 0.01, flips), on_truncated=None), budgets
        )
        for flips in (allowed, allowed + 1)
    ]
    assert verdicts == ["", f"{allowed + 1} of {texts} labels differ from fp32, at most {percent:g}% allowed"]


def test_new_texts_count_where_they_surely_change_too_often():
    """Also if no compared text changes, as none may of the few that a head was trained on."""
    said = "3.0% of the labels of new texts are expected to change (95% interval 2.0% to 5.0%), at most 2% allowed"
    for low, verdict in ((0.0199, ""), (0.0201, said)):
        changes = ExpectedChanges(0.03, low, 0.05)
        assert over_budget(replace(trial("x", 0), expected_changes=changes), Budgets(2.0)) == verdict


def test_a_little_too_much_is_seen(run):
    found = run([trial("large", 0, 15.0001), trial("small", 0, 14.9)], Budgets(max_size_mb=15), [1.0, 2.0])
    assert found["large"].verdict == "15.001 MB, at most 15 MB allowed"


@pytest.mark.parametrize(
    ("budgets", "nearest", "why", "raised"),
    [
        (
            Budgets(max_size_mb=10),
            "'small' with 14.9 MB, 2.00 ms per text",
            "14.9 MB, at most 10 MB allowed",
            "--max-size-mb",
        ),
        (
            Budgets(max_latency_ms=0.5),
            "'large' with 90.0 MB, 1.00 ms per text",
            "1.00 ms, at most 0.5 ms allowed",
            "--max-latency-ms",
        ),
        (
            Budgets(max_size_mb=14, max_latency_ms=1.8),
            "'small' with 14.9 MB, 2.00 ms per text",
            "14.9 MB, at most 14 MB allowed",
            "--max-size-mb and --max-latency-ms",
        ),
    ],
)
def test_nobody_fits(run, budgets, nearest, why, raised):
    with pytest.raises(GateError) as caught:
        run([trial("large", 0, 90), trial("small", 0, 14.9)], budgets, [1.0, 2.0])
    assert str(caught.value) == (
        f"budget: no graph of 2 tried keeps within it; nearest is {nearest} and 0 of 200 labels that differ from fp32 ({why}). "
        f"Raise {raised}."
    )


def test_one_graph_is_not_timed(run):
    only = trial("only", 0)
    assert run([only], Budgets(), [1.0]) == {"only": replace(only, verdict="shipped")}
