"""Plots: figures of the axes, places of marks, and that user text stays text."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune.core.reports.page import html_page, table
from crosstune.core.reports.plot import WIDTH, Axis, Bar, Plot, bars, matrix
from tests.fixtures.report_pages import read_page

NASTY = '"><script>alert(1)</script>'


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low, size):
    ticks = [value for value, _ in Axis("x", low, low + size).marks()]
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-6 * size <= tick <= low + size * (1 + 1e-6) for tick in ticks)
    steps = {f"{after - before:.2e}" for before, after in pairwise(ticks)}
    assert len(steps) == 1 and steps.pop()[0] in "125"


@given(st.floats(1e-3, 1e3), st.floats(2.6, 1e4))
def test_ticks_of_ratios_are_inside(low, ratio):
    ticks = [value for value, _ in Axis("x", low, low * ratio, log=True).marks()]
    assert ticks == sorted(ticks) and len(ticks) >= 1
    assert all(low <= tick <= low * ratio for tick in ticks)


def test_figures_of_shares():
    assert Axis("x", 0, 1, percent=True).marks()[1] == (0.2, "20%")
    assert Axis("x", 1, 100, log=True, ticks=(16, 64)).marks() == [(16, "16"), (64, "64")]
    assert Axis("x", 1, 100, log=True).at(10) == pytest.approx(0.5)


def test_marks_stand_where_the_axes_say():
    plot = Plot("p", Axis("x", 0, 10), Axis("y", 0, 1))
    plot.dot(5, 0.5, 1, title="middle", above="here")
    plot.bar(0, 10, 0, 1, 0)
    drawn = plot.svg()
    box = {
        name: float(value)
        for name, value in re.findall(r'(x|y|width|height)="([\d.]+)"', re.search("<rect.*?>", drawn)[0])
    }
    dot = {name: float(value) for name, value in re.findall(r'(cx|cy)="([\d.]+)"', drawn)}
    assert dot["cx"] == pytest.approx(box["x"] + box["width"] / 2, abs=0.2)
    assert dot["cy"] == pytest.approx(box["y"] + box["height"] / 2, abs=0.2)
    assert box["x"] + box["width"] < WIDTH


def test_user_text_stays_text():
    plot = Plot(NASTY, Axis(NASTY, 0, 1), Axis(NASTY, 0, 1))
    plot.dot(0.5, 0.5, 0, title=NASTY, above=NASTY)
    plot.rule(0.5, NASTY)
    parts = [
        plot.svg(),
        bars(NASTY, [Bar(NASTY, [(1, 0)], NASTY)]),
        matrix(NASTY, [NASTY, "b"], [[1, 2], [0, 3]]),
        table([NASTY], [[NASTY]]),
    ]
    page = read_page(html_page(NASTY, parts))
    assert page.text.count(NASTY) == 16
    assert "script" not in page.tags


@pytest.mark.parametrize(("labels", "names", "figures"), [(3, 12, 4), (40, 80, 0), (150, 0, 0)])
def test_a_matrix_of_any_size(labels, names, figures):
    counts = [[0] * labels for _ in range(labels)]
    for i in range(labels):
        counts[i][i] = 77
    counts[0][1] = 77
    page = read_page(html_page("m", [matrix("m", [f"label-{i:03}" for i in range(labels)], counts)]))
    assert page.tags.count("rect") == labels + 2  # and the frame
    assert page.pieces.count("77") == figures
    assert sum(bool(re.match(r"label-\d{3}( \d+)?$", piece)) for piece in page.pieces) == names


def test_bars_end_where_the_longest_does():
    drawn = bars("b", [Bar("a", [(3, 0), (1, 1)], "3 of 4"), Bar("b", [(2, 0)], "2")])
    widths = [float(value) for value in re.findall(r'<rect[^>]*width="([\d.]+)"', drawn)]
    assert widths[0] + widths[1] == pytest.approx(2 * widths[2], abs=0.2)
    assert bars("nothing", []) and bars("zero", [Bar("a", [(0, 0)], "0")])
