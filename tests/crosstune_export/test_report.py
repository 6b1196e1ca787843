from __future__ import annotations

import html.parser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crosstune_export.build.pipeline import BuildConfig, build
from crosstune_export.build.report import labelled_answers, mcnemar, wilson


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(lost, won):
    if lost + won:
        assert mcnemar(lost, won) == pytest.approx(stats.binomtest(lost, lost + won).pvalue)
    else:
        assert mcnemar(lost, won) == 1.0


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson(counts):
    hits, trials = counts
    low, high = wilson(hits, trials, stats.norm.ppf(0.975))
    expected = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_labels_that_are_not_the_bundles():
    probs = np.eye(2, dtype=np.float32)
    assert labelled_answers(("a", "b"), ("a", "c"), probs, probs) is None
    assert labelled_answers(("a", "b"), None, probs, probs) is None
    assert labelled_answers(("a", "b"), ("b", "a"), probs, probs).truth.tolist() == [1, 0]


class Page(html.parser.HTMLParser):
    """Collects the tags and the text of a page, and that every tag is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "line", "circle", "polyline") or self.rawdata:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open[-1] == "meta":
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.slow
def test_a_search_ships_one_graph_and_writes_the_page(tmp_path, tiny_checkpoint_dir):
    file = tmp_path / "report.html"
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(max_flips_percent=100, report=file))
    assert [trial.verdict for trial in result.trials].count("shipped") == 1
    assert {trial.candidate.precision for trial in result.trials} == {"fp32", "int8"}
    assert result.manifest.graph == result.shipped.facts
    page = Page()
    page.feed(file.read_text("utf-8"))
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert tags.count("svg") == 1 and tags.count("circle") == len(result.trials)
    assert not {"script", "link", "img", "iframe"} & set(tags)  # the page stands alone
    text = " ".join(page.text)
    for trial in result.trials:
        assert trial.candidate.name in text and trial.verdict in text
    assert "McNemar" in text and "fuse_encoder" in text
