"""Sources, lines and windows: the files that are found, where they are split, and files that cannot be read."""

from __future__ import annotations

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

from crosstune.rows import windows
from crosstune.rows.lines import NumberedLines
from crosstune.rows.options import ReadOptions
from crosstune.rows.sources import Source, find_sources, format_of
from crosstune.rows.windows import read_windows
from crosstune_export import ConfigError, DataError
from crosstune_export.bulk.decode import BadRow, Columns, decode


class Trickle(io.RawIOBase):
    """Gives its bytes in pieces of the sizes that it is told."""

    def __init__(self, data, sizes):
        self.data, self.sizes = data, list(sizes)

    def read1(self, size):
        size = self.sizes.pop() if self.sizes else size
        piece, self.data = self.data[:size], self.data[size:]
        return piece


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("a.csv", "csv"), ("a.tsv.gz", "tsv"), ("a.parquet", "parquet"),
     ("a.txt", "text"), ("a.json", "json"), ("a.tab", "tsv"), ("a.jsonlines.gz", "jsonl"), ("a.xlsx", "xlsx")],
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
    assert found[0] == Source("a/y.txt.gz", "text", 4)
    assert [source.path for source in find_sources(["*.jsonl", "a/[yz]*", "b.jsonl"])] == [
        "b.jsonl", "a/y.txt.gz", "a/z.csv",
    ]  # fmt: skip
    assert [source.path for source in find_sources(["**/*.csv"])] == ["a/z.csv"]
    assert [source.path for source in find_sources(["./b.jsonl", "b.jsonl", str(tmp_path / "b.jsonl")])] == [
        "./b.jsonl"
    ]
    csv = ReadOptions(input_format="csv")
    assert find_sources(["-", "b.jsonl"], csv) == (Source("-", "csv", 0, csv), Source("b.jsonl", "csv", 4, csv))
    (tmp_path / "[1].csv").write_bytes(b"text")
    assert [source.path for source in find_sources(["[1].csv"])] == ["[1].csv"]


@pytest.mark.fault("A1")
def test_sources_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    endings = ".jsonl, .ndjson, .jsonlines, .json, .csv, .tsv, .tab, .parquet, .xlsx, .txt"
    for names, message in (
        (["t.csv"], "t.csv: cannot be read (No such file or directory), expected a file. Check the path."),
        (["x" * 300], f"{'x' * 300}: cannot be read (File name too long), expected a file. Check the path."),
        (["a\0b"], "a\0b: cannot be read (embedded null byte), expected a file. Check the path."),
        (
            ["empty"],
            f"empty: no file ending in {endings} (or these with .gz), expected at least one. Check the folder.",
        ),
        (["*.csv"], "*.csv: no such file, expected at least one. Check the pattern."),
    ):
        with pytest.raises(DataError) as caught:
            find_sources(names)
        assert str(caught.value) == message


@pytest.mark.fault("A1")
def test_a_file_without_permission(tmp_path, monkeypatch):
    """Tests may run as root, who may read all files, so the answer of the system is simulated."""
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
            f"{tmp_path}/a.parquet.gz: a Parquet file in gzip, expected it uncompressed. Run: gunzip {tmp_path}/a.parquet.gz",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            find_sources(names)
        assert str(caught.value) == message


@given(
    st.lists(st.sampled_from([b"a", b"\xc3\xa9", b"\r", b"\n", b"\r\n", b'"', b"\x85", b"\x0b"])),
    st.lists(st.integers(1, 3)),
)
def test_lines_are_those_of_universal_newlines(pieces, sizes):
    data = b"".join(pieces)
    expected = io.TextIOWrapper(io.BytesIO(data), "latin-1", newline="").readlines()
    rows = list(NumberedLines(Trickle(data, sizes)))
    assert [row.data for row in rows if row.data] == [line.encode("latin-1") for line in expected]
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert data[row.offset :].startswith(row.data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"words,n\n", ":1: columns 'words', 'n', expected 'text'. Name it with --text-column."),
        (b"text,text\n", ":1: column 'text' appears more than once. Name each column differently."),
        (b'"text\n', ":1: not a valid header (unexpected end of data). Correct its quotes."),
    ],
)
@pytest.mark.fault("A7")
def test_bad_headers(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(tmp_path / "t.csv"), "csv"), ["text"]))
    assert str(caught.value) == f"{tmp_path / 't.csv'}" + (message if message[0] == ":" else f": {message}")


@pytest.mark.fault("A15")
@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"plain", lambda data: data[:40] + b"\0" * 9 + data[49:]]
)
def test_broken_gzip(tmp_path, damage):
    path = tmp_path / "t.txt.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(3000).hex().encode(), mtime=0)))
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "text"), ["text"]))
    assert re.fullmatch(rf"{path}: not a complete gzip file \(.+\)\. Copy or compress it again\.", str(caught.value))


@pytest.mark.fault("A15")
def test_a_zip_bomb_is_one_bad_row(tmp_path):
    """64 MiB of digits in a small file: the row is given up at the limit of a row, and never held whole."""
    path = tmp_path / "t.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as sink:
        for _ in range(64):
            sink.write(b"0" * (1 << 20))
        sink.write(b'\n{"text": "a"}\n')
    tracemalloc.start()
    found = [decode(window, Columns()) for window in read_windows(Source(str(path), "jsonl"), ["text"])]
    assert [text for part in found for text in part.texts] == ["a"]
    assert [row.row for part in found for row in part.bad] == [1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20, "half of the row"


@pytest.mark.fault("A15")
def test_a_file_that_is_rewritten_at_the_same_size_while_it_is_read(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"one\n" * 3000)
    reading = read_windows(Source(str(path), "text"), "text")
    next(reading)
    path.write_bytes(b"two\n" * 3000)
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataError, match=r"changed while it was read\."):
        list(reading)


@pytest.mark.fault("A15")
def test_a_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(b"one\n" * 3000)
    reading = read_windows(Source(str(path), "text"), ["text"])
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
    texts = [text for window in read_windows(source, ["text"]) for text in decode(window, Columns()).texts]
    writer.join()
    assert texts == ["one", "two"]


def test_progress_of_parquet_grows_with_the_rows_to_the_size_of_the_file(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["a"] * 2500}), path)
    size = path.stat().st_size
    source = Source(str(path), "parquet", size_bytes=size)
    found = [(window.first_row, window.read_bytes) for window in read_windows(source, ["text"], before_bytes=1000)]
    assert found == [(1, 1000 + size * 1024 // 2500), (1025, 1000 + size * 2048 // 2500), (2049, 1000 + size)]


def test_windows_are_cut_at_the_same_places(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW_BYTES", 100)
    path = tmp_path / "t.txt"
    path.write_bytes(b"short\n" * 2 + b"x" * 150 + b"\n" + b"tail\n" * 21)
    found = list(read_windows(Source(str(path), "text", size_bytes=path.stat().st_size), ["text"], before_bytes=1000))
    assert [len(window.rows) for window in found] == [3, 20, 1]
    assert found[-1].read_bytes == 1000 + path.stat().st_size
    assert len({window.digest() for window in found}) == 3
    monkeypatch.setattr(windows, "WINDOW_ROWS", 10)
    assert [len(window.rows) for window in read_windows(Source(str(path), "text"), ["text"])] == [3, 10, 10, 1]


def test_parquet(tmp_path):
    path = str(tmp_path / "t.parquet")
    texts = [None if i % 100 == 7 else f"text {i}" for i in range(2500)]
    parquet.write_table(pa.table({"n": list(range(2500)), "text": texts, "label": ["x"] * 2500}), path)
    (source,) = find_sources([path])
    decoded = [decode(window, Columns(row_id="n")) for window in read_windows(source, ["text"])]
    assert [text for part in decoded for text in part.texts] == [text for text in texts if text]
    bad = [row for part in decoded for row in part.bad]
    assert bad[0] == BadRow(path, 8, "text is null, expected a string. Remove the row or fill it in.", 7)
    assert [row.row for row in bad] == list(range(8, 2501, 100))
    assert decoded[0].carried.schema.names == ["n", "text", "input_label"]
    with pytest.raises(DataError) as caught:
        list(read_windows(source, ["body"]))
    assert str(caught.value) == (f"{path}: columns 'n', 'text', 'label', expected 'body'. Name it with --text-column.")


def test_not_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(json.dumps({"text": "a"}).encode())
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "parquet"), ["text"]))
    assert re.fullmatch(rf"{path}: not a Parquet file \(.+\)\. Check the format\.", str(caught.value))


def test_a_column_of_parquet_twice(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=["text", "n", "n"]), path)
    with pytest.raises(DataError) as caught:
        list(read_windows(Source(str(path), "parquet"), ["text"]))
    assert str(caught.value) == f"{path}: column 'n' appears more than once. Name each column differently."
