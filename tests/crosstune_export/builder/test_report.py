from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.report import compare_labels, mcnemar
from tests.fixtures.report_pages import read_page

pytestmark = pytest.mark.usefixtures("quick_builds")


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(lost, won):
    if lost + won:
        assert mcnemar(lost, won) == pytest.approx(stats.binomtest(lost, lost + won).pvalue)
    else:
        assert mcnemar(lost, won) == 1.0


def test_labels_that_are_not_the_bundles():
    probs = np.eye(2, dtype=np.float32)
    assert compare_labels(("a", "b"), ("a", "c"), probs, probs) is None
    assert compare_labels(("a", "b"), None, probs, probs) is None
    assert compare_labels(("a", "b"), ("b", "a"), probs, probs).truth.tolist() == [1, 0]


@pytest.mark.slow
def test_a_search_ships_one_graph_and_writes_the_page(tmp_path, tiny_checkpoint_dir):
    file = tmp_path / "report.html"
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(max_flips_percent=100, report=file))
    assert [trial.verdict for trial in result.trials].count("shipped") == 1
    assert {trial.variant.precision for trial in result.trials} == {"fp32", "int8"}
    assert result.manifest.graph == result.shipped.facts
    page = read_page(file.read_text("utf-8"))
    assert page.tags.count("figure") == page.tags.count("svg") == 1 and page.tags.count("circle") == len(result.trials)
    text = page.text
    for trial in result.trials:
        assert trial.variant.name in text and trial.verdict in text
    assert "McNemar" in text and "fuse_encoder" in text


def test_a_stage_is_what_a_person_calls_it(tmp_path, tiny_checkpoint_dir, tiny_labels):
    file = tmp_path / "report.html"
    config = BuildConfig("fp32", max_flips_percent=100, report=file)
    graph = build(tiny_checkpoint_dir, tmp_path / "x.bundle", config).shipped.model
    rows = dict(
        re.findall(r"<tr><td>(embeddings|encoder|features and labels)</td><td[^>]*>(\d+)</td>", file.read_text("utf-8"))
    )
    nodes = onnx.load_from_string(graph).graph.node
    assert sum(map(int, rows.values())) == len(nodes)
    attention = [node.op_type for node in nodes].index(
        "Softmax"
    )  # fp32 attention of the encoder is one node: this is the labels'
    assert int(rows["features and labels"]) > len(nodes) - attention > 4
