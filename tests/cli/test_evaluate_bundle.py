"""``crosstune-export evaluate``: the same figures and page as for the checkpoint that the bundle was built from."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import jsonl
from tests.fixtures.report_pages import read_page

pytestmark = pytest.mark.fault("L13")


@pytest.fixture
def evaluate(run_app, task, tiny_fp32_bundle_dir):
    """``evaluate(*options)`` with the fp32 bundle."""
    return lambda *options: run_app("crosstune-export", "evaluate", tiny_fp32_bundle_dir, "--data", task.test, *options)


def test_a_bundle_and_its_checkpoint_agree(run_app, evaluate, task, tiny_checkpoint_dir):
    of_bundle = evaluate("--json")
    of_checkpoint = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--json")
    assert (of_bundle.code, of_bundle.err) == (0, "")
    found, expected = json.loads(of_bundle.out), json.loads(of_checkpoint.out)
    assert found.pop("ece") == pytest.approx(expected.pop("ece"), abs=1e-4)
    assert found == expected
    assert evaluate().out == run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test).out


def test_the_report_is_that_of_the_checkpoint(run_app, evaluate, task, tiny_checkpoint_dir, tiny_fp32_bundle_dir):
    assert evaluate("--report", task.out / "b.html").code == 0
    run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--report", task.out / "c.html")
    of_bundle, of_checkpoint = (read_page((task.out / f"{name}.html").read_text("utf-8")) for name in "bc")
    assert f"test.jsonl, by the fp32 bundle {tiny_fp32_bundle_dir.name}" in of_bundle.text
    assert of_bundle.tags == of_checkpoint.tags
    assert evaluate("--report", task.out / "b.html").code == 2


def test_thresholds_on_a_packed_bundle(run_app, task, tiny_bundle_dir, tiny_fp32_bundle_dir, tmp_path):
    run_app("crosstune-export", "pack", tiny_fp32_bundle_dir, "--output", tmp_path / "b.zip")
    result = run_app("crosstune-export", "evaluate", tmp_path / "b.zip", "--data", task.test, "--json")
    assert (result.code, json.loads(result.out)["n"]) == (0, 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("where", "refund"), "label 'refund'"),
        (("where", "shipping", "now"), "a pair, expected single texts as in training. Give the same kind."),
    ],
)
def test_rows_that_the_bundle_cannot_answer(evaluate, task, row, message):
    task.test.write_bytes(jsonl([row[:2]]).replace(b"}", b', "text_pair": "now"}' if len(row) > 2 else b"}"))
    result = evaluate()
    assert (result.code, result.out) == (3, "")
    assert message in result.err
