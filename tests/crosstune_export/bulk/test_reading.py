"""Sources, lines, records, windows and rows: what is read, and what is said of rows that are bad."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import tracemalloc

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from crosstune_export import ConfigError, DataError
from crosstune_export.bulk import lines, windows
from crosstune_export.bulk.decode import BadRow, Columns, decode, output_name
from crosstune_export.bulk.lines import csv_records, numbered_lines
from crosstune_export.bulk.sources import Source, find_sources, format_of
from crosstune_export.bulk.windows import read_windows

SAVE = "Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8"
UNCLOSED = "not a row (unexpected end of data). Correct its quotes."


@pytest.fixture
def read(tmp_path):
    """Texts, columns and bad rows of some bytes in a file of this name."""

    def call(name, data, **columns):
        (tmp_path / name).write_bytes(data)
        (source,) = find_sources([str(tmp_path / name)])
        wanted = Columns(**columns)
        decoded = [decode(window, wanted) for window in read_windows(source, wanted.text)]
        texts = [text for part in decoded for text in part.texts]
        carried = [row for part in decoded for row in part.carried]
        return texts, carried, [(row.row, row.reason) for part in decoded for row in part.bad]

    return call


@pytest.mark.parametrize(("name", "between"), [("t.csv", ","), ("t.tsv", "\t")])
def test_a_row_of_empty_fields_is_a_row_and_a_blank_line_is_none(read, name, between):
    table = "\n".join(["text|id", "a|1", "|", " | ", "", "  ", "b|2"]).replace("|", between)
    texts, carried, bad = read(name, table.encode())
    assert (texts, [row["id"] for row in carried], bad) == (["a", "", " ", "b"], ["1", "", " ", "2"], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("a.csv", "csv"), ("a.tsv.gz", "tsv"), ("a.parquet", "parquet"),
     ("a.txt", "text"), ("a.gz", "text"), ("-", "text")],
)  # fmt: skip
def test_format_of(name, expected):
    assert format_of(name) == expected


def test_folders_and_patterns(tmp_path, monkeypatch):
    for name in ("b.jsonl", "a/z.csv", "a/y.txt.gz", "a/notes.md", ".hidden/x.jsonl", ".x.jsonl", "c.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"text")
    monkeypatch.chdir(tmp_path)
    found = find_sources(["."])
    assert [source.path for source in found] == ["a/y.txt.gz", "a/z.csv", "b.jsonl", "c.parquet"]
    assert found[0] == Source("a/y.txt.gz", "text", True, 4)
    assert [source.path for source in find_sources(["*.jsonl", "a/*", "b.jsonl"])] == [
        "b.jsonl", "a/notes.md", "a/y.txt.gz", "a/z.csv",
    ]  # fmt: skip
    assert [source.path for source in find_sources(["**/*.csv"])] == ["a/z.csv"]
    assert [source.path for source in find_sources(["./b.jsonl", "b.jsonl", str(tmp_path / "b.jsonl")])] == [
        "./b.jsonl"
    ]
    assert find_sources(["-", "b.jsonl"], "csv") == (Source("-", "csv"), Source("b.jsonl", "csv", False, 4))
    (tmp_path / "[1].csv").write_bytes(b"text")
    assert [source.path for source in find_sources(["[1].csv"])] == ["[1].csv"]


@pytest.mark.fault("A1")
def test_sources_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    endings = ".jsonl, .ndjson, .csv, .tsv, .parquet, .txt"
    for names, message in (
        (["t.csv"], "t.csv: cannot be read (No such file or directory), expected a file. Check the path."),
        (["x" * 300], f"{'x' * 300}: cannot be read (File name too long), expected a file. Check the path."),
        (["a\0b"], "a\0b: cannot be read (embedded null byte), expected a file. Check the path."),
        (
            ["empty"],
            f"empty: no file that ends in {endings} (or these with .gz), expected at least one. Check the folder.",
        ),
        (["*.csv"], "*.csv: no such file, expected at least one. Check the pattern."),
    ):
        with pytest.raises(DataError) as caught:
            find_sources(names)
        assert str(caught.value) == message


@pytest.mark.fault("A1")
def test_a_file_without_permission(tmp_path, monkeypatch):
    """Tests may run as root, who may read everything: the system's answer is put in its mouth."""
    (tmp_path / "t.csv").write_bytes(b"text\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(
        DataError, match=r"t\.csv: cannot be read \(Permission denied\), expected a file\. Check the path\.$"
    ):
        find_sources([str(tmp_path / "t.csv")])


def test_sources_that_make_no_sense(tmp_path):
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    for names, message in (
        (["-", "-"], "-: found twice, expected standard input once."),
        (
            [str(tmp_path / "a.parquet.gz")],
            f"{tmp_path}/a.parquet.gz: a Parquet file in gzip, expected it plain. Run: gunzip {tmp_path}/a.parquet.gz",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            find_sources(names)
        assert str(caught.value) == message


class Trickle(io.RawIOBase):
    """Gives its bytes in pieces of the sizes that it is told."""

    def __init__(self, data, sizes):
        self.data, self.sizes = data, list(sizes)

    def read1(self, size):
        size = self.sizes.pop() if self.sizes else size
        piece, self.data = self.data[:size], self.data[size:]
        return piece


@given(
    st.lists(st.sampled_from([b"a", b"\xc3\xa9", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b'"', b"\x85", b"\x0b"])),
    st.lists(st.integers(1, 3)),
)
def test_lines_are_those_of_universal_newlines(pieces, sizes):
    data = b"".join(pieces)
    expected = io.TextIOWrapper(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), "latin-1", newline="").readlines()
    rows = list(numbered_lines(Trickle(data, sizes)))
    assert [row.data for row in rows if row.data] == [line.encode("latin-1") for line in expected]
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert data[row.offset :].startswith(row.data)


cells = st.text(st.sampled_from('ab,"\n\t é'), max_size=5)


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=8))
def test_what_the_csv_module_writes_is_read_back(rows):
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([["text", "other"], *rows])
    source = Source("t.csv", "csv")
    records = list(csv_records(numbered_lines(io.BytesIO(sink.getvalue().encode())), ","))
    window = windows.Window(source, ("text", "other"), tuple(records[1:]))
    decoded = decode(window, Columns())
    assert [[row["text"], row["other"]] for row in decoded.carried] == rows
    assert decoded.bad == ()


@given(st.lists(st.sampled_from(['"a,b"', "a,b", 'a,"', 'a"b,c', '"x', 'y"', '"p""q",r', ""])))
def test_a_stray_quote_costs_no_row_that_could_be_read(parts):
    """Whatever the quotes, every line is in exactly one record, in order."""
    data = "".join(part + "\n" for part in parts).encode()
    records = list(csv_records(numbered_lines(io.BytesIO(data)), ","))
    assert b"".join(record.data for record in records) == data
    assert [record.offset for record in records] == [
        sum(len(record.data) for record in records[:i]) for i in range(len(records))
    ]


def test_formats(read):
    assert read("t.txt", b"\xef\xbb\xbfone\r\n\r\n  \ntwo words\n")[0] == ["one", "two words"]
    assert read("t.jsonl", b'{"text": "one", "id": 3}\n\n{"text": "two"}\n')[0] == ["one", "two"]
    pair = read("t.jsonl", b'{"text": "one", "text_pair": "two"}\n', text_pair=True)
    assert pair[0] == [("one", "two")]
    assert read("t.csv", b'id,text\n1,"a, b"\n\n2,c\n')[0] == ["a, b", "c"]
    assert read("t.tsv", b"text\ttext_pair\na\tb\n", text_pair=True)[0] == [("a", "b")]
    assert read("t.csv.gz", gzip.compress(b"text\na\n"))[0] == ["a"]


@pytest.mark.fault("A3")
@pytest.mark.fault("A15")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_mark_and_line_ends(read, end):
    for name, body in (("t.csv", "text,n|a,1|b,2|"), ("t.jsonl", '{"text": "a"}||{"text": "b"}|'), ("t.txt", "a|b")):
        texts, _, bad = read(name, b"\xef\xbb\xbf" + body.replace("|", end).encode())
        assert (texts, bad) == (["a", "b"], [])


def test_other_columns_are_carried_in_their_order(read):
    _, carried, _ = read(
        "t.jsonl", b'{"n": 1.5, "text": "one", "label": "x", "tags": ["a", null], "big": 123456789012345678901}\n'
    )
    assert [list(row.items()) for row in carried] == [
        [("n", 1.5), ("text", "one"), ("input_label", "x"), ("tags", ["a", None]), ("big", 123456789012345678901)]
    ]
    _, carried, _ = read("t.csv", b"body,id,prob\na,7,1\n", text="body", row_id="id")
    assert [list(row.items()) for row in carried] == [[("id", "7"), ("body", "a"), ("input_prob", "1")]]


@given(
    st.text(st.sampled_from("input_labeprobs"), max_size=14), st.text(st.sampled_from("input_labeprobs"), max_size=14)
)
def test_output_names_stay_apart(one, other):
    assert (output_name(one) == output_name(other)) == (one == other)
    assert output_name(one) not in ("label", "prob", "probs", "truncated")


def bad(fault, name, *values):
    return pytest.param(*values, marks=pytest.mark.fault(fault), id=name)


BAD = [
    bad("A4", "byte", "t.txt", b"a\nb\xff\n", 2, "byte 0xff at offset 3 is not UTF-8. " + SAVE),
    bad("A4", "Latin-1", "t.csv", b"text\nb\xe9\n", 2, "byte 0xe9 at offset 6 is not UTF-8. " + SAVE),
    bad("A4", "UTF-16", "t.jsonl", '{"text": "a"}'.encode("utf-16"), 1, "byte 0xff at offset 0 is not UTF-8. " + SAVE),
    bad("A7", "too few columns", "t.csv", b"text,n\na,1\nb\n", 3, "1 columns, expected 2 (text, n). Quote texts that hold the separator."),
    bad("A7", "too many columns", "t.csv", b"text\na, b\n", 2, "2 columns, expected 1 (text). Quote texts that hold the separator."),
    bad("A6", "open quote", "t.csv", b'text,n\na,1\n"b,2\nc,3\n', 3, UNCLOSED),
    bad("A6", "open quote before another", "t.csv", b'text,n\na,1\n"b,2\nc,3\n"d",4\n', 3, UNCLOSED),
    bad("A6", "text after a quote", "t.csv", b'text\n"a" b\nc\n', 2, "not a row (',' expected after '\"'). Correct its quotes."),
    bad("A9", "cut", "t.jsonl", b'{"text": "a"}\n{"text"', 2, "not valid JSON (Expecting ':' delimiter). Correct the line."),
    bad("A9", "key twice", "t.jsonl", b'{"text": "a", "text": "b"}\n', 1, "not valid JSON (key 'text' twice). Correct the line."),
    bad("A9", "NaN", "t.jsonl", b'{"text": "a", "n": NaN}\n', 1, "not valid JSON (number NaN). Correct the line."),
    bad("A9", "1e400", "t.jsonl", b'{"text": "a", "n": 1e400}\n', 1, "not valid JSON (number 1e400). Correct the line."),
    bad("A9", "number", "t.jsonl", b'{"text": 3}', 1, "no string 'text', found fields 'text'. Give every row text."),
    bad("A9", "array", "t.jsonl", b"[1]", 1, "no string 'text', found fields none. Give every row text."),
    bad("A7", "other field", "t.jsonl", b'{"txt": "a"}', 1, "no string 'text', found fields 'txt'. Give every row text."),
    bad("A10", "deep", "t.jsonl", b"[" * 100_000, 1, "not valid JSON (RecursionError). Correct the line."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "row", "reason"), BAD)
def test_bad_rows_and_the_rows_around_them(read, name, data, row, reason):
    texts, _, bad = read(name, data)
    assert bad == [(row, reason)]
    lines_of_text = [line for line in data.split(b"\n")[1 if name.endswith("csv") else 0 :] if line.strip()]
    assert len(texts) == len(lines_of_text) - 1, "only the bad row is lost"


@pytest.mark.fault("A10")
def test_a_number_of_5000_digits(read):
    texts, _, bad = read("t.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b'}\n{"text": "b"}\n')
    assert texts == ["b"]
    ((row, reason),) = bad
    assert row == 1 and re.fullmatch(r"not valid JSON \(Exceeds the limit .+\)\. Correct the line\.", reason)


def test_pairs_need_both(read):
    reason = "no string 'text_pair', found fields 'text'. Give every row text and text_pair."
    assert read("t.jsonl", b'{"text": "a"}', text_pair=True)[2] == [(1, reason)]
    assert read("t.txt", b"a\n", text_pair=True)[2] == [
        (1, "a line of text, expected a pair. Give JSON Lines with text and text_pair.")
    ]


def test_every_row_needs_its_id(read):
    _, _, bad = read("t.jsonl", b'{"id": 0, "text": "a"}\n{"text": "b"}\n{"id": "", "text": "c"}\n', row_id="id")
    reason = "no 'id', expected one in every row. Fill it in, or leave --id-column out."
    assert bad == [(2, reason), (3, reason)]


@pytest.mark.fault("A8")
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.txt"])
def test_a_row_has_a_limit_of_its_own(read, name, monkeypatch):
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 300_000)
    monkeypatch.setattr("crosstune_export.bulk.decode.MAX_ROW_BYTES", 300_000)
    head, row = {"t.csv": ("text\n", '"{}"\n'), "t.jsonl": ("", '{{"text": "{}"}}\n'), "t.txt": ("", "{}\n")}[name]
    good, long = "x" * 200_000, "y" * 2_000_000  # the csv module's own limit is 131,072
    texts, _, bad = read(name, (head + row.format(good) + row.format(long) + row.format("z")).encode())
    assert texts == [good, "z"]
    reason = "a row of more than 300000 bytes, expected at most that. Shorten or split it."
    assert bad == [(2 + bool(head), reason)]


@pytest.mark.fault("A6")
def test_an_open_quote_does_not_swallow_more_than_a_row_may_hold(read, monkeypatch):
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 1000)
    rows = b"".join(b"row %d,x\n" % i for i in range(500))
    texts, _, bad = read("t.csv", b'text,n\n"open,1\n' + rows)
    assert bad == [(2, "not a row (unexpected end of data). Correct its quotes.")]
    assert len(texts) == 500


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"words,n\n", "columns words, n, expected text. Give the name of the column with --text-column."),
        (b"text,text\n", ":1: column 'text' stands there more than once. Name each column differently."),
        (b'"text\n', ":1: not a header (unexpected end of data). Name the columns in the first line."),
    ],
)
@pytest.mark.fault("A7")
def test_bad_headers(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(tmp_path / "t.csv"), "csv"), "text"))
    assert str(caught.value) == f"{tmp_path / 't.csv'}" + (message if message[0] == ":" else f": {message}")


@pytest.mark.fault("A15")
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"plain", lambda data: data[:40] + b"\0" * 9 + data[49:]]
)
def test_broken_gzip(tmp_path, damage):
    path = tmp_path / "t.txt.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(3000).hex().encode(), mtime=0)))
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "text", True), "text"))
    assert re.fullmatch(rf"{path}: not a whole gzip file \(.+\)\. Copy or compress it again\.", str(caught.value))


@pytest.mark.fault("A15")
def test_a_zip_bomb_is_one_bad_row(tmp_path):
    """64 MiB of digits in a small file: the row is given up at the limit of a row, and never held whole."""
    path = tmp_path / "t.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as sink:
        for _ in range(64):
            sink.write(b"0" * (1 << 20))
        sink.write(b'\n{"text": "a"}\n')
    tracemalloc.start()
    found = [decode(window, Columns()) for window in read_windows(Source(str(path), "jsonl", True), "text")]
    assert [text for part in found for text in part.texts] == ["a"]
    assert [row.row for part in found for row in part.bad] == [1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20, "half of the row"


@pytest.mark.fault("A15")
def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"one\n" * 3000)
    reading = read_windows(Source(str(path), "text"), "text")
    next(reading)
    with path.open("ab") as sink:
        sink.write(b"two\n")
    with pytest.raises(DataError) as caught:
        list(reading)
    assert str(caught.value) == f"{path}: changed while it was read. Run again when nothing writes to it."


@pytest.mark.fault("A15")
def test_a_named_pipe(tmp_path):
    import threading

    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(b"one\ntwo\n"))
    writer.start()
    (source,) = find_sources([str(path)])
    texts = [text for window in read_windows(source, "text") for text in decode(window, Columns()).texts]
    writer.join()
    assert texts == ["one", "two"]


def test_windows_are_cut_at_the_same_places(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_BYTES", 100)
    path = tmp_path / "t.txt"
    path.write_bytes(b"short\n" * 2 + b"x" * 150 + b"\n" + b"tail\n" * 21)
    found = list(read_windows(Source(str(path), "text", size_bytes=path.stat().st_size), "text", before_bytes=1000))
    assert [len(window.rows) for window in found] == [3, 20, 1]
    assert found[-1].read_bytes == 1000 + path.stat().st_size
    assert len({window.digest() for window in found}) == 3
    monkeypatch.setattr(windows, "WINDOW_ROWS", 10)
    assert [len(window.rows) for window in read_windows(Source(str(path), "text"), "text")] == [3, 10, 10, 1]


def test_parquet(tmp_path):
    path = str(tmp_path / "t.parquet")
    texts = [None if i % 100 == 7 else f"text {i}" for i in range(2500)]
    parquet.write_table(pa.table({"n": list(range(2500)), "text": texts, "label": ["x"] * 2500}), path)
    (source,) = find_sources([path])
    decoded = [decode(window, Columns(row_id="n")) for window in read_windows(source, "text")]
    assert [text for part in decoded for text in part.texts] == [text for text in texts if text]
    bad = [row for part in decoded for row in part.bad]
    assert bad[0] == BadRow(path, 8, "no string 'text', found fields 'n', 'text', 'label'. Give every row text.", 7)
    assert [row.row for row in bad] == list(range(8, 2501, 100))
    assert decoded[0].carried.schema.names == ["n", "text", "input_label"]
    with pytest.raises(DataError) as caught:
        list(read_windows(source, "body"))
    assert str(caught.value) == (
        f"{path}: columns n, text, label, expected body. Give the name of the column with --text-column."
    )


def test_not_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(json.dumps({"text": "a"}).encode())
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "parquet"), "text"))
    assert re.fullmatch(rf"{path}: not a Parquet file \(.+\)\. Check the format\.", str(caught.value))


def test_a_column_of_parquet_twice(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "n", "n"]), path)
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "parquet"), "text"))
    assert str(caught.value) == f"{path}: column 'n' stands there more than once. Name each column differently."
