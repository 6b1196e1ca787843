"""``crosstune-export classify`` for spreadsheets: probabilities as columns, rounded numbers, a byte order mark, known endings."""

from __future__ import annotations

import csv
import io
import json

import pytest
from pyarrow import parquet

from tests.cli.conftest import files_in
from tests.conftest import TINY_LABELS

TABLE = "text,prob_praise,n\nwhere is it,mine,1\nthanks,yours,2\n"


@pytest.fixture
def classify(run_app, tiny_fp32_bundle_dir, task):
    """``classify(*options)`` on a table whose column is called as one of the results."""
    path = task.folder / "t.csv"
    path.write_text(TABLE, "utf-8")
    return lambda *options: run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, path, *options)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_probabilities_as_columns_are_those_of_the_json(classify):
    columns, whole = (
        rows_of(classify("--format", "csv", "--probs", "columns").out),
        rows_of(classify("--format", "csv").out),
    )
    assert list(columns[0]) == [
        "text", "input_prob_praise", "n", "label", "prob", "prob_shipping", "prob_billing", "prob_praise", "truncated", "similarity",
    ]  # fmt: skip
    assert [row["input_prob_praise"] for row in columns] == ["mine", "yours"]
    for row, other in zip(columns, whole, strict=True):
        probs = json.loads(other["probs"])
        assert {label: float(row[f"prob_{label}"]) for label in TINY_LABELS} == probs
        assert row["prob"] == other["prob"] and float(row["prob"]) == max(probs.values())
    lines = [json.loads(line) for line in classify("--probs", "columns").out.splitlines()]
    assert [row["prob_praise"] for row in lines] == pytest.approx(
        [float(row["prob_praise"]) for row in columns], abs=1e-6
    )
    assert [row["input_prob_praise"] for row in lines] == ["mine", "yours"]


def test_numbers_of_tables_have_six_decimal_places(classify):
    (exact, _), (rounded, _) = (
        [json.loads(line) for line in classify().out.splitlines()],
        rows_of(classify("--format", "csv").out),
    )
    assert rounded["prob"] == str(round(exact["prob"], 6)) != str(exact["prob"])
    assert rounded["similarity"] == str(round(exact["similarity"], 6))
    assert json.loads(rounded["probs"]) == {label: round(prob, 6) for label, prob in exact["probs"].items()}


def test_probabilities_may_be_left_out_or_limited(classify):
    assert list(rows_of(classify("--format", "csv", "--probs", "none").out)[0]) == [
        "text", "prob_praise", "n", "label", "prob", "truncated", "similarity",
    ]  # fmt: skip
    assert "probs" not in json.loads(classify("--probs", "none").out.splitlines()[0])
    (first, _) = rows_of(classify("--format", "csv", "--probs", "columns", "--top-k", "1").out)
    assert sum(first[f"prob_{label}"] != "" for label in TINY_LABELS) == 1


def test_parquet_has_the_same_columns(classify, task):
    assert classify("--output", task.out / "a.parquet", "--probs", "columns").code == 0
    table = parquet.read_table(task.out / "a.parquet")
    rows = [json.loads(line) for line in classify("--probs", "columns").out.splitlines()]
    assert table.schema.names == list(rows[0])
    assert table["prob_billing"].to_pylist() == [row["prob_billing"] for row in rows]


def test_a_byte_order_mark_on_request(classify, task):
    assert classify("--output", task.out / "a.csv", "--output-encoding", "utf-8-sig").code == 0
    assert classify("--output", task.out / "b.csv").code == 0
    assert (task.out / "a.csv").read_bytes() == b"\xef\xbb\xbf" + (task.out / "b.csv").read_bytes()
    refused = classify("--output-encoding", "utf-8-sig")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "error: --output-encoding: found format jsonl, expected csv or tsv. Give --format csv.\n"


@pytest.mark.fault("L5")
@pytest.mark.parametrize(
    ("name", "found"), [("a.xlsx", "ending '.xlsx'"), ("a.json", "ending '.json'"), ("a", "no ending")]
)
def test_an_output_ending_that_nobody_knows_is_refused(classify, task, name, found):
    refused = classify("--output", task.out / name)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: {task.out / name}: {found}, expected one of .jsonl, .ndjson, .jsonlines, .csv, .tsv, .tab, .parquet. "
        "Name the format with --format jsonl|csv|tsv|parquet.\n"
    )
    assert files_in(task.out) == []
    assert classify("--output", task.out / name, "--format", "csv").code == 0
    assert (task.out / name).read_text("utf-8").startswith("text,prob_praise,n,label,")
