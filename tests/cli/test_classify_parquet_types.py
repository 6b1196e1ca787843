"""``crosstune-export classify`` on Parquet with categories, bytes and durations at any depth, to every format."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli.conftest import files_in

CATEGORIES = pa.array(["red", "blue", None]).dictionary_encode()
#: Column → its values, and what JSON Lines has for them.
COLUMNS = {
    "text": (pa.array([b"where is it", b"thanks", b"caf\xc3\xa9"]), ["where is it", "thanks", "café"]),
    "category": (CATEGORIES, ["red", "blue", None]),
    "categories": (
        pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), CATEGORIES),
        [["red", "blue"], [], [None]],
    ),
    "struct": (
        pa.StructArray.from_arrays([CATEGORIES, pa.array([1, 2, 3])], ["colour", "n"]),
        [{"colour": "red", "n": 1}, {"colour": "blue", "n": 2}, {"colour": None, "n": 3}],
    ),
    "duration": (pa.array([1_500_000, None, -60_000_001], pa.duration("us")), ["PT1.5S", None, "-PT60.000001S"]),
    "durations": (pa.array([[1], [], None], pa.list_(pa.duration("ns"))), [["PT0.000000001S"], [], None]),
    "bytes": (pa.array([b"\xff\x00", b"", None]), ["/wA=", "", None]),
    "time": (pa.array([1, 2, None], pa.time64("ns")), ["00:00:00.000000001", "00:00:00.000000002", None]),
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({name: column for name, (column, _) in COLUMNS.items()}), path)
    return path


@pytest.mark.fault("L7")
def test_json_lines_have_every_value(run_app, tiny_fp32_bundle_dir, file):
    result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, file)
    assert (result.code, result.err) == (0, "")
    rows = [json.loads(line) for line in result.out.splitlines()]
    for name, (_, expected) in COLUMNS.items():
        assert [row[name] for row in rows] == expected, name


@pytest.mark.fault("L7")
def test_csv_has_every_value(run_app, tiny_fp32_bundle_dir, file):
    result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, file, "--format", "csv")
    assert (result.code, result.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["category"] for row in rows] == ["red", "blue", ""]
    assert [row["duration"] for row in rows] == ["PT1.5S", "", "-PT60.000001S"]
    assert [json.loads(row["struct"]) for row in rows] == COLUMNS["struct"][1]


@pytest.mark.fault("L7")
def test_parquet_keeps_every_value(run_app, tiny_fp32_bundle_dir, file, tmp_path):
    result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, file, "--output", tmp_path / "out.parquet")
    assert result.code == 0, result.err
    table, before = parquet.read_table(tmp_path / "out.parquet"), parquet.read_table(file)
    assert table["text"].to_pylist() == COLUMNS["text"][1]
    for name in COLUMNS.keys() - {"text"}:
        assert table[name].to_pylist() == before[name].to_pylist(), name
    assert table.schema.field("duration").type == pa.duration("us")


@pytest.mark.fault("L7")
def test_a_type_that_cannot_be_written_is_refused_before_the_first_row(
    run_app, tiny_fp32_bundle_dir, tmp_path, monkeypatch
):
    """Parquet has no such column of its own, so that what is read is exchanged."""
    from crosstune.rows import parquet as reading

    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["where is it"]}), path)
    interval = pa.array([pa.MonthDayNano([1, 2, 3])])
    monkeypatch.setattr(reading, "_without_dictionaries", lambda batch: batch.append_column("gap", interval))
    for output, advice in (
        ("a.parquet", "as Parquet. Remove the column, or write JSON Lines."),
        ("a.csv", "as text. Remove the column, or write Parquet."),
    ):
        result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, path, "--output", tmp_path / output)
        assert (result.code, result.out) == (3, "")
        assert result.err == f"error: column 'gap': month_day_nano_interval cannot be written {advice}\n"
        assert files_in(tmp_path) == ["t.parquet"]
