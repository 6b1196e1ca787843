"""Formats by their first bytes, Excel workbooks, JSON arrays, and label files that are tables."""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
import warnings
import zipfile

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from crosstune import ConfigError, CrossTuneWarning, DataError, Example, ReadOptions, read_examples, read_labels
from crosstune.data.labels import labels_of


def workbook(path, rows, *more_sheets):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for title in more_sheets:
        book.create_sheet(title)
    book.save(path)
    return path


def zipped():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("t.csv", "text,label\na,x\n")
    return sink.getvalue()


def in_parquet():
    sink = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a"], "label": ["x"]}), sink)
    return sink.getvalue()


@pytest.mark.fault("L5")
@pytest.mark.parametrize(
    ("data", "found"),
    [
        (in_parquet(), "is a Parquet file, expected {format}. Give --input-format parquet."),
        (zipped(), "is a zip archive, expected {format}. Run: unzip {path}"),
        (bz2.compress(b"text"), "is a bzip2 file, expected {format}. Run: bunzip2 {path}"),
        (lzma.compress(b"text"), "is an xz file, expected {format}. Run: unxz {path}"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel workbook, expected {format}. Save it as .xlsx or CSV."),
        (b"%PDF-1.7\n", "is a PDF file, expected {format}. Save its texts as CSV."),
    ],
)
@pytest.mark.parametrize(("ending", "file_format"), [(".csv", "csv"), (".jsonl", "jsonl"), (".json", "json")])
def test_binary_files_are_named_by_their_first_bytes(tmp_path, data, found, ending, file_format):
    path = tmp_path / f"x{ending}"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}: {found.format(format=file_format, path=path)}"


@pytest.mark.fault("L5")
def test_the_advice_for_parquet_and_excel_under_another_name_works(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(in_parquet())
    assert read_examples(path, ReadOptions(input_format="parquet")) == (Example("a", "x"),)
    workbook(tmp_path / "x.xlsx", [("text", "label"), ("a", "x")]).rename(path)
    with pytest.raises(DataError, match=r"x\.csv: is an Excel workbook, expected csv\. Give --input-format xlsx\.$"):
        read_examples(path)
    assert read_examples(path, ReadOptions(input_format="xlsx")) == (Example("a", "x"),)


@pytest.mark.fault("A15", "L5")
@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl", "x.json.gz"])
def test_gzip_is_read_under_any_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b'{"text": "a", "label": "x"}\n'))
    assert read_examples(path) == (Example("a", "x"),)


@pytest.mark.fault("L5")
def test_excel_is_read_as_the_csv_that_would_be_saved(tmp_path):
    day = datetime.datetime(2026, 1, 2, 3, 4)
    path = workbook(
        tmp_path / "x.xlsx",
        [
            (None, None, None),
            ("text", "label", "when", None),
            ("first,\n\"second\"", 1, day),
            (None, None, None),
            ("007", True, 2.5),
            ("últ", 3.0, None),
        ],
    )  # fmt: skip
    assert read_examples(path) == (
        Example('first,\n"second"', "1"),
        Example("007", "TRUE"),
        Example("últ", "3"),
    )
    assert [example.line for example in read_examples(path)] == [3, 5, 6]
    with pytest.raises(DataError, match=r"x\.xlsx:2: columns 'text', 'label', 'when', expected 'words' and 'label'"):
        read_examples(path, ReadOptions(text_column="words"))


@pytest.mark.fault("L5")
def test_further_sheets_are_named_in_a_warning(tmp_path):
    path = workbook(tmp_path / "x.xlsx", [("text", "label"), ("a", "x")], "Notes", "More")
    with pytest.warns(CrossTuneWarning, match="only the first sheet, 'Sheet', is read, not Notes, More"):
        assert len(read_examples(path)) == 1


@pytest.mark.fault("L5")
@pytest.mark.parametrize("data", [b"", b"text,label\n", zipped()])
def test_what_is_not_a_workbook_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "x.xlsx"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.xlsx: not an Excel workbook \(.*\)\. Save it as \.xlsx or CSV\.$"):
        read_examples(path)


@pytest.mark.fault("L5")
@pytest.mark.parametrize(
    "data",
    [
        b'[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]',
        b' [\n{"text": "a",\n "label": "x"}\n,\n{"text": "b", "label": "y"}\n]\n',
        b'{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\n',
        b'\xef\xbb\xbf[{"text": "a", "label": "x"},{"text": "b", "label": "y"}]',
    ],
    ids=["array", "lines within the array", "JSON Lines", "byte order mark"],
)
def test_a_json_file_is_an_array_or_lines(tmp_path, data):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    assert read_examples(path) == (Example("a", "x"), Example("b", "y"))


@pytest.mark.fault("A9", "L5")
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'[{"text": "a", "label": "x"},\n{"text": "b"}]', ":2: no field 'label', found 'text'. Give every row text and label."),
        (b'[{"text": "a", "label": "x"},\n]', ":2: not valid JSON (Expecting value). Correct it."),
        (b'[{"text": "a", "label": "x"}', ":1: not valid JSON (the array is not closed after this item). Correct it."),
        (b'[{"text": "a"}\n{"text": "b"}]', ":1: not valid JSON (the array is not closed after this item). Correct it."),
        (b'[{"text": "a", "text": "b", "label": "x"}]', ":1: not valid JSON (key 'text' twice). Correct the line."),
        (b'[{"text": "a", "label": "x"}]\n[]', ": more text after the array, expected its end. Give --input-format jsonl for JSON Lines."),
        (b"[" * 100_000, ":1: not valid JSON (nested too deeply). Correct it."),
        (b'["a"]', ':1: found str, expected an object such as {"text": "…"}. Correct the line.'),
    ],
)  # fmt: skip
def test_bad_arrays_are_refused_with_the_line(tmp_path, data, problem):
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}{problem}"


JSON_LABELS = (
    '{"label": "ship", "description": "where a parcel is"}\n'
    '{"label": 1, "description": "paid"}\n'
    '{"label": "ship", "description": "when it comes"}\n'
)


@pytest.mark.fault("L6")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("l.csv", "label,description\nship,where a parcel is\n1,paid\nship,when it comes\n"),
        ("l.csv", "\ufefflabel;description;owner\nship;where a parcel is;me\n1;paid;\nship;when it comes;me\n"),
        ("l.tsv", "description\tlabel\nwhere a parcel is\tship\npaid\t1\nwhen it comes\tship\n"),
        ("l.jsonl", JSON_LABELS),
    ],
)  # fmt: skip
def test_labels_are_read_from_tables(tmp_path, name, data):
    (tmp_path / name).write_text(data, "utf-8")
    labels = read_labels(tmp_path / name)
    assert {label.name: label.descriptions for label in labels} == {
        "ship": ("where a parcel is", "when it comes"),
        "1": ("paid",),
    }


STARTS = [
    b"", b"text,label\n", b"sep=;\ntext;label\n", b'"text","label"\n', b"[", b'[{"text": "a", "label": "b"}', b'{"text": ', b"\xff\xfe",
    b"\xfe\xff\0", b"\xef\xbb\xbf", b"\x1f\x8b\x08\0", b"PK\x03\x04", b"PAR1", "text;label\n".encode("utf-16-le"),
]  # fmt: skip


@given(
    st.sampled_from(STARTS),
    st.lists(
        st.sampled_from(
            [
                b'"',
                b",",
                b";",
                b"\n",
                b"\r",
                b"\0",
                b"a",
                b"\xe9",
                b"\xc3\xa9",
                b"{",
                b"}",
                b"[",
                b"]",
                b"\\u0000",
                b"1",
            ]
        )
    ),
    st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".csv.gz"]),
    st.sampled_from([None, "utf-8", "cp1252", "utf-16", "shift_jis", "utf-7"]),
)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, start, rest, ending, encoding):
    path = tmp_path_factory.mktemp("any") / f"x{ending}"
    path.write_bytes(start + b"".join(rest))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)
        try:
            read_examples(path, ReadOptions(encoding=encoding))
        except DataError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.fault("L6")
def test_label_files_that_cannot_be_read(tmp_path):
    (tmp_path / "l.csv").write_text("name,description\nship,where\n", "utf-8")
    with pytest.raises(
        DataError, match=r"l\.csv:1: columns 'name', 'description', expected 'label' and 'description'\."
    ):
        read_labels(tmp_path / "l.csv")
    with pytest.raises(
        ConfigError, match=r"l\.yaml: ending '\.yaml', expected \.json, \.toml, \.csv, .* leave out --labels"
    ):
        read_labels(tmp_path / "l.yaml")


@pytest.mark.fault("L6")
def test_without_a_label_file_the_names_are_the_descriptions():
    labels = labels_of(["order_status", "billing", "order_status"], "train.csv")
    assert {label.name: label.descriptions for label in labels} == {
        "billing": ("billing",),
        "order_status": ("order status",),
    }
    with pytest.raises(DataError):
        labels_of(["one"], "train.csv")


TWO_ROLES = (
    "--text-column, --label-column, --pair-column: found label, label and text_pair, expected three names. "
    "Give each its own column."
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ";;"}, "--delimiter: found ';;', expected one character such as ';', or tab. Correct it."),
        ({"delimiter": '"'}, "--delimiter: found '\"', expected one character such as ';', or tab. Correct it."),
        ({"encoding": "base64"}, "--encoding: found 'base64', expected the name of a text encoding, such as utf-8, utf-16 or cp1252."),
        ({"encoding": "no\0ne"}, "--encoding: found 'no\\x00ne', expected the name of a text encoding, such as utf-8, utf-16 or cp1252."),
        ({"input_format": "xml"}, "--input-format: found 'xml', expected one of auto, jsonl, json, csv, tsv, parquet, xlsx, text."),
        ({"text_column": "label"}, TWO_ROLES),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ConfigError) as caught:
        ReadOptions(**options)
    assert str(caught.value) == message


@pytest.mark.fault("L4")
@pytest.mark.parametrize("given", ["tab", "\\t", "\t"])
def test_a_tab_has_three_names(tmp_path, given):
    (tmp_path / "x.csv").write_text("text\tlabel\na\tx\n")
    assert read_examples(tmp_path / "x.csv", ReadOptions(delimiter=given)) == (Example("a", "x"),)


@pytest.mark.fault("L4")
def test_a_named_pair_column_must_be_there(tmp_path):
    (tmp_path / "x.csv").write_text("text,label,other\na,x,b\n")
    assert read_examples(tmp_path / "x.csv", ReadOptions(pair_column="other")) == (Example("a", "x", "b"),)
    with pytest.raises(DataError, match="expected 'text' and 'label' and 'second'"):
        read_examples(tmp_path / "x.csv", ReadOptions(pair_column="second"))
