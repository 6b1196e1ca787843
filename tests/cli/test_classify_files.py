"""``crosstune-export classify`` over files of every kind: columns, bad rows, formats of the output, processes."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cli.conftest import files_in, json_lines
from tests.conftest import TINY_OTHER_TEXTS

TEXTS = [text for text in TINY_OTHER_TEXTS if text]


@pytest.fixture
def rows(task):
    """300 rows with other columns, in a file."""
    found = [
        {"id": i, "text": f"{TEXTS[i % len(TEXTS)]} {i}", "label": "gold", "tags": ["a", {"b": None}], "score": i / 7}
        for i in range(300)
    ]
    (task.folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
    return found


ANSWER = ["label", "prob", "probs", "truncated", "similarity"]


def answers(printed) -> list[dict]:
    return [{name: row[name] for name in ANSWER} for row in json_lines(printed)]


def test_all_other_columns_are_carried(classify, task, rows):
    found = json_lines(classify(task.folder / "t.jsonl").out)
    assert [list(row) for row in found] == [["id", "text", "input_label", "tags", "score", *ANSWER]] * 300
    for row, given in zip(found, rows, strict=True):
        assert row["input_label"] == "gold" and row["label"] in ("shipping", "billing", "praise")
        assert all(row[name] == given[name] for name in ("id", "text", "tags", "score"))


def test_text_and_id_columns(classify, task):
    (task.folder / "t.csv").write_bytes(b"date,body,number\n2026-01-02,where is it,17\n2026-01-03,thanks,18\n")
    found = json_lines(classify(task.folder / "t.csv", "--text-column", "body", "--id-column", "number").out)
    assert [list(row) for row in found] == [["number", "date", "body", *ANSWER]] * 2
    assert [row["number"] for row in found] == ["17", "18"]


def rounded(value):
    """As tables have numbers."""
    return {key: round(item, 6) for key, item in value.items()} if isinstance(value, dict) else round(value, 6)


def test_every_format_in_and_out_says_the_same(classify, task, rows):
    expected = json_lines(classify(task.folder / "t.jsonl", "--id-column", "id").out)
    for name in ("a.csv", "a.tsv", "a.parquet", "a.jsonl"):
        result = classify(task.folder / "t.jsonl", "--id-column", "id", "--output", task.out / name)
        assert (result.code, result.out) == (0, "")
    assert json_lines((task.out / "a.jsonl").read_text("utf-8")) == expected

    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        table = list(csv.reader(io.StringIO((task.out / name).read_text("utf-8")), delimiter=delimiter))
        assert table[0] == ["id", "text", "input_label", "tags", "score", *ANSWER]
        for cells, row in zip(table[1:], expected, strict=True):
            shown = row | {name: rounded(row[name]) for name in ("prob", "probs", "similarity")}
            assert cells == [value if isinstance(value, str) else json.dumps(value) for value in shown.values()]

    table = parquet.read_table(task.out / "a.parquet")
    assert table.schema.names == ["id", "text", "input_label", "tags", "score", *ANSWER]
    assert table.schema.field("id").type == pa.int64() and table.schema.field("score").type == pa.float64()
    for found, row in zip(table.to_pylist(), expected, strict=True):
        assert json.loads(found.pop("tags")) == row.pop("tags")
        assert dict(found.pop("probs")) == row.pop("probs")
        assert found == row

    # and back: Parquet and CSV as input give the same answers
    for name in ("a.parquet", "a.csv"):
        again = json_lines(classify(task.out / name).out)
        assert [[row[column] for column in ANSWER] for row in again] == [
            [row[column] for column in ANSWER] for row in json_lines((task.out / "a.jsonl").read_text("utf-8"))
        ]
        assert list(again[0]) == [
            "id", "text", "input_input_label", "tags", "score", *(f"input_{column}" for column in ANSWER), *ANSWER,
        ]  # fmt: skip


def test_parquet_types_go_through(classify, task):
    table = pa.table(
        {
            "when": pa.array([1_767_225_600_123_456_789, None], pa.timestamp("ns")),
            "text": ["where is it", "thanks"],
            "raw": pa.array([b"\xff\x00", b"a"], pa.binary()),
            "price": pa.array(["1.10", "2.00"]).cast(pa.decimal128(5, 2)),
            "nan": [float("nan"), 1.0],
        }
    )
    parquet.write_table(table, task.folder / "t.parquet")
    assert classify(task.folder / "t.parquet", "--output", task.out / "a.parquet").code == 0
    assert parquet.read_table(task.out / "a.parquet").select(table.schema.names).to_string() == table.to_string()
    first = json_lines(classify(task.folder / "t.parquet").out)[0]
    assert (first["when"], first["raw"], first["price"], first["nan"]) == (
        "2026-01-01 00:00:00.123456789", "/wA=", "1.10", None,
    )  # fmt: skip


def test_parquet_values_that_json_or_a_batch_has_no_word_for(classify, task):
    table = pa.table(
        {
            "text": ["where is it", "thanks"],
            "times": pa.array([[1], []], pa.list_(pa.timestamp("ns"))),
            "map": pa.array([[("a", float("nan"))], None], pa.map_(pa.string(), pa.float64())),
            "kind": pa.array(["new", "old"]).dictionary_encode(),  # as pandas writes a categorical column
            "raw": pa.array([b"\xff\x00", None], pa.binary()),
            "size": [float("inf"), 1.0],
        }
    )
    parquet.write_table(table, task.folder / "t.parquet")
    first, second = json_lines(classify(task.folder / "t.parquet").out)
    assert list(first)[: len(table.schema)] == table.schema.names
    assert [first[name] for name in table.schema.names] == [
        "where is it", ["1970-01-01 00:00:00.000000001"], [["a", None]], "new", "/wA=", None,
    ]  # fmt: skip
    assert [second[name] for name in table.schema.names] == ["thanks", [], None, "old", None, 1.0]
    _, line, _ = csv.reader(io.StringIO(classify(task.folder / "t.parquet", "--format", "csv").out))
    assert line[3:6] == ["new", "/wA=", ""]
    assert classify(task.folder / "t.parquet", "--output", task.out / "a.parquet").code == 0
    written = parquet.read_table(task.out / "a.parquet").select(table.schema.names)
    assert written.column("kind").to_pylist() == ["new", "old"]
    assert written.schema.field("times").type == table.schema.field("times").type


@pytest.mark.fault("A4")
@pytest.mark.parametrize("column", ["text", "other"])
def test_parquet_text_that_is_not_utf_8_costs_its_row(classify, task, column):
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, 2, 3, 4))
    broken = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"a\xffbc")])
    path = task.folder / "t.parquet"
    parquet.write_table(pa.table({"text": ["x", "y", "z"], "other": ["x", "y", "z"]} | {column: broken}), path)
    reason = "a value that is invalid for its column type, such as text that is not UTF-8. Write the file again."
    result = classify(path)
    assert (result.code, result.err) == (3, f"error: {path}:1: {reason}\n")
    result = classify(path, "--on-error", "skip")
    assert (result.code, result.err) == (0, "2 rows, 1 bad row skipped, 0 truncated\n")
    assert [row[column] for row in json_lines(result.out)] == ["b", "c"]


def test_folders_patterns_gzip_and_standard_input(classify, task, rows, monkeypatch):
    lines = (task.folder / "t.jsonl").read_bytes().splitlines(keepends=True)
    parts = task.folder / "parts"
    parts.mkdir()
    (parts / "1.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:100])))
    (parts / "2.jsonl").write_bytes(b"".join(lines[100:250]))
    (parts / "3.ndjson").write_bytes(b"".join(lines[250:]))
    (parts / "notes.md").write_bytes(b"\xff")
    whole = answers(classify(task.folder / "t.jsonl", "--batch-size", 1).out)
    for names in ([parts], [parts / "1*", parts / "2*", parts / "3*"], [parts / "*.jsonl.gz", parts / "[23].*"]):
        assert answers(classify(*names, "--batch-size", 1).out) == whole
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"".join(lines[:100]))))
    assert answers(classify("-", parts / "2.jsonl", "--input-format", "jsonl", "--batch-size", 1).out) == whole[:250]


BAD = b'{"text": "where is it", "id": 1}\n{"text": 3, "id": 2}\n\nnope\n{"text": "thanks", "id": 5}\n'


REASONS = [
    "text is 3, expected a string. Put it in quotes.",
    "not valid JSON (Expecting value at column 1). Correct the line.",
]


@pytest.mark.fault("H6")
def test_bad_rows_fail_or_are_skipped_or_recorded(classify, task):
    path = task.folder / "t.jsonl"
    path.write_bytes(BAD)
    result = classify(path, "--output", task.out / "a.jsonl")
    assert (result.code, result.out, result.err) == (3, "", f"error: {path}:2: {REASONS[0]}\n")
    assert files_in(task.out) == []

    result = classify(path, "--on-error", "skip")
    assert [row["id"] for row in json_lines(result.out)] == [1, 5]
    assert (result.code, result.err) == (0, "2 rows, 2 bad rows skipped, 0 truncated\n")

    result = classify(path, "--output", task.out / "a.jsonl", "--on-error", "record", "--id-column", "id")
    assert result.code == 0
    assert files_in(task.out) == ["a.jsonl", "a.jsonl.bad.jsonl"]
    assert json_lines((task.out / "a.jsonl.bad.jsonl").read_text("utf-8")) == [
        {"file": str(path), "row": 2, "reason": REASONS[0], "id": 2},
        {"file": str(path), "row": 4, "reason": REASONS[1]},
    ]
    result = classify(path, "--on-error", "record", "--bad-rows", task.out / "bad.jsonl")
    assert [row["id"] for row in json_lines(result.out)] == [1, 5]
    assert [row["row"] for row in json_lines((task.out / "bad.jsonl").read_text("utf-8"))] == [2, 4]


@pytest.mark.fault("C7")
def test_a_file_of_bad_rows_that_is_there_is_kept(classify, task):
    (task.folder / "t.jsonl").write_bytes(BAD)
    (task.out / "bad.jsonl").write_text("old", "utf-8")
    options = (task.folder / "t.jsonl", "--on-error", "record", "--bad-rows", task.out / "bad.jsonl")
    result = classify(*options)
    assert (result.code, result.out, result.err) == (
        2,
        "",
        f"error: {task.out / 'bad.jsonl'}: is already there. Choose another output file, or pass --force to replace it.\n",
    )
    assert (task.out / "bad.jsonl").read_text("utf-8") == "old"
    assert classify(*options, "--force").code == 0
    assert [row["row"] for row in json_lines((task.out / "bad.jsonl").read_text("utf-8"))] == [2, 4]


def test_the_summary(classify, task):
    (task.folder / "t.jsonl").write_bytes(BAD + b'{"text": "%s"}\n' % (b"box " * 100))
    result = classify(
        task.folder / "t.jsonl", "--output", task.out / "a.jsonl", "--on-error", "record", "--threshold", "1"
    )
    first, second, third = result.err.splitlines()
    assert first.startswith(f"3 rows, 2 bad rows skipped, 1 truncated, recorded in {task.out}/a.jsonl.bad.jsonl, ")
    assert first.endswith(" rows/s")
    mean = sum(row["prob"] for row in json_lines((task.out / "a.jsonl").read_text("utf-8"))) / 3
    assert second == f"  (none)  3  100.0%  mean prob {mean:.2f}"
    assert third.endswith("unlike the training texts")


def test_a_column_that_comes_late(classify, task):
    """JSON Lines keep the columns of each row; a table has the columns of its first rows."""
    path = task.folder / "t.jsonl"
    path.write_text('{"text": "a"}\n' * 1024 + '{"text": "b", "late": 1}\n', "utf-8")
    assert json_lines(classify(path).out)[-1]["late"] == 1
    for name in ("a.csv", "a.parquet"):
        result = classify(path, "--output", task.out / name, "--force")
        assert result.code == 3
        assert result.err.startswith(
            f"error: {path}:1025: column 'late' is new, expected only the columns of the first rows. "
            "Write JSON Lines, or give every row the same columns."
        )


def test_a_value_of_another_type(classify, task):
    path = task.folder / "t.jsonl"
    path.write_text('{"text": "a", "n": 1}\n' * 1024 + '{"text": "b", "n": "one"}\n', "utf-8")
    result = classify(path, "--output", task.out / "a.parquet")
    assert result.code == 3
    assert result.err.startswith(f"error: {path}: row 1025: column 'n': type differs from that of the first rows (")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_nothing_to_classify(classify, task, ending):
    (task.folder / "t.csv").write_bytes(b"text,n\n")
    result = classify(task.folder / "t.csv", "--output", task.out / f"a.{ending}")
    assert (result.code, result.err.startswith("0 rows, 0 truncated")) == (0, True)
    if ending == "parquet":
        assert parquet.read_table(task.out / "a.parquet").schema.names == ["text", "n", *ANSWER]
        again = classify(task.out / "a.parquet", "--format", "csv", "--id-column", "n")
        assert (again.code, again.out) == (
            0, "n,text,input_label,input_prob,input_probs,input_truncated,input_similarity,"
            "label,prob,probs,truncated,similarity\n",
        )  # fmt: skip
    else:
        expected = {"jsonl": "", "csv": "text,n,label,prob,probs,truncated,similarity\n"}[ending]
        assert (task.out / f"a.{ending}").read_text("utf-8") == expected


def test_a_table_without_rows_before_one_that_has_some(classify, task):
    """The columns of the output are those of the first rows."""
    (task.folder / "a.csv").write_bytes(b"text\n")
    (task.folder / "b.csv").write_bytes(b"text,n\nthanks,1\n")
    result = classify(task.folder / "a.csv", task.folder / "b.csv", "--format", "csv")
    assert result.code == 0
    assert result.out.splitlines()[0] == "text,n,label,prob,probs,truncated,similarity"


def test_a_first_window_of_bad_rows(classify, task):
    """The columns are then those of the header, or the text alone."""
    (task.folder / "t.csv").write_text("text,n\n" + "a\n" * 1024 + "b,1\n", "utf-8")
    result = classify(task.folder / "t.csv", "--format", "csv", "--on-error", "skip")
    assert (result.code, result.err) == (0, "1 row, 1024 bad rows skipped, 0 truncated\n")
    header, row = csv.reader(io.StringIO(result.out))
    assert (header, row[:2]) == (["text", "n", *ANSWER], ["b", "1"])


def test_a_table_on_standard_output_begins_with_an_answer(classify, task):
    (task.folder / "t.txt").write_bytes(b"a\n")
    assert classify(task.folder / "t.txt", "--format", "csv", "--provider", "cuda").out == ""


@pytest.mark.fault("A16")
def test_spreadsheets(classify, task):
    risky = ["=1+1", "+1", "-1", "@x", " \u00a0=1", "\t=1", "\r=1", "a\n=1", "a,=1", "plain", "a=1", "-"]
    path = task.folder / "t.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in risky), "utf-8")

    def texts(*options):
        printed = classify(path, "--format", "csv", *options).out
        return [row["text"] for row in csv.DictReader(io.StringIO(printed, newline=""))]

    assert texts() == risky, "lossless unless asked"
    assert texts("--spreadsheet-safe") == [
        "'=1+1", "'+1", "'-1", "'@x", "' \u00a0=1", "'\t=1", "'\r'=1", "a\n'=1", "a,=1", "plain", "a=1", "'-",
    ]  # fmt: skip
    path.write_text('{"text": "a", "=1+1": "b"}\n', "utf-8")
    assert classify(path, "--format", "csv", "--spreadsheet-safe").out.startswith("text,'=1+1,label,")


@pytest.mark.fault("H5")
@pytest.mark.slow
def test_several_processes_give_the_same_bytes(scripts, task, tiny_fp32_bundle_dir):
    path = task.folder / "t.txt"
    path.write_text("".join(f"{TEXTS[i % len(TEXTS)]} {i}\n" for i in range(7000)), "utf-8")
    for workers in (1, 3):
        done = scripts.run(
            "crosstune-export", "classify", tiny_fp32_bundle_dir, path, "--output", task.out / f"{workers}.jsonl",
            "--workers", workers, timeout=600,
        )  # fmt: skip
        assert (done.code, done.out) == (0, "")
        assert done.err.startswith("7000 rows, ")
    assert (task.out / "1.jsonl").read_bytes() == (task.out / "3.jsonl").read_bytes()
    assert len((task.out / "1.jsonl").read_bytes().splitlines()) == 7000


@pytest.mark.slow
def test_a_bad_row_in_another_process(scripts, task, tiny_fp32_bundle_dir):
    path = task.folder / "t.jsonl"
    path.write_text('{"text": "a"}\n' * 3000 + "nope\n" + '{"text": "a"}\n' * 3000, "utf-8")
    done = scripts.run("crosstune-export", "classify", tiny_fp32_bundle_dir, path, "--workers", 2, timeout=600)
    assert (done.code, done.err) == (3, f"error: {path}:3001: {REASONS[1]}\n")
    assert len(done.out.splitlines()) == 2048


@pytest.mark.fault("H1")
@pytest.mark.fault("H4")
@pytest.mark.fault("H11")
def test_empty_long_and_special_texts_have_answers(classify, task):
    texts = ["", " ", "\u200b", "x" * 3_000_000, "[SEP] where is it [CLS]"]
    (task.folder / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    found = json_lines(classify(task.folder / "t.jsonl").out)
    assert [row["text"] for row in found] == texts
    assert [row["truncated"] for row in found] == [False, False, False, True, False]
    assert found[0]["probs"] == found[1]["probs"], "nothing but the special ids"
