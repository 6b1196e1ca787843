"""Rows of all formats: the decoded values, and the messages for bad rows."""

from __future__ import annotations

import csv
import gzip
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune.rows import lines, windows
from crosstune.rows.lines import NumberedLines, csv_records
from crosstune.rows.sources import Source, find_sources
from crosstune.rows.windows import read_windows
from crosstune_export.bulk.decode import Columns, decode, output_name

OTHER = (
    "Give its encoding, for example --encoding cp1251, --encoding shift_jis or --encoding gb18030, "
    "or save the file as UTF-8."
)


def windows_1252(word):
    return f"It looks like Windows-1252, which reads {word!r} there: give --encoding cp1252, or save the file as UTF-8."


FOUND_LIST = (
    'found list, expected an object such as {"text": "…"}. Correct the line. '
    "For an array of objects give --input-format json."
)
UNCLOSED = "not a valid row (unexpected end of data). Correct its quotes."


@pytest.fixture
def read(tmp_path):
    """Texts, columns and bad rows of some bytes in a file of this name."""

    def call(name, data, **columns):
        (tmp_path / name).write_bytes(data)
        (source,) = find_sources([str(tmp_path / name)])
        wanted = Columns(**columns)
        decoded = [decode(window, wanted) for window in read_windows(source, wanted.needed)]
        texts = [text for part in decoded for text in part.texts]
        carried = [row for part in decoded for row in part.carried]
        return texts, carried, [(row.row, row.reason) for part in decoded for row in part.bad]

    return call


@pytest.mark.parametrize(("name", "between"), [("t.csv", ","), ("t.tsv", "\t")])
def test_a_row_of_empty_fields_is_a_row_and_a_blank_line_is_none(read, name, between):
    table = "\n".join(["text|id", "a|1", "|", " | ", "", "  ", "b|2"]).replace("|", between)
    texts, carried, bad = read(name, table.encode())
    assert (texts, [row["id"] for row in carried], bad) == (["a", "", " ", "b"], ["1", "", " ", "2"], [])


cells = st.text(st.sampled_from('ab,"\n\t é'), max_size=5)


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=8))
def test_what_the_csv_module_writes_is_read_back(rows):
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([["text", "other"], *rows])
    source = Source("t.csv", "csv")
    records = list(csv_records(NumberedLines(io.BytesIO(sink.getvalue().encode())), ","))
    window = windows.Window(source, ("text", "other"), tuple(records[1:]))
    decoded = decode(window, Columns())
    assert [[row["text"], row["other"]] for row in decoded.carried] == rows
    assert decoded.bad == ()


@given(st.lists(st.sampled_from(['"a,b"', "a,b", 'a,"', 'a"b,c', '"x', 'y"', '"p""q",r', ""])))
def test_a_stray_quote_costs_no_row_that_could_be_read(parts):
    """For any quotes, every line is in exactly one record, in order."""
    data = "".join(part + "\n" for part in parts).encode()
    records = list(csv_records(NumberedLines(io.BytesIO(data)), ","))
    assert b"".join(record.data for record in records) == data
    assert [record.offset for record in records] == [
        sum(len(record.data) for record in records[:i]) for i in range(len(records))
    ]


def test_formats(read):
    assert read("t.txt", b"\xef\xbb\xbfone\r\n\r\n  \ntwo words\n")[0] == ["one", "two words"]
    assert read("t.jsonl", b'{"text": "one", "id": 3}\n\n{"text": "two"}\n')[0] == ["one", "two"]
    pair = read("t.jsonl", b'{"text": "one", "text_pair": "two"}\n', pair="text_pair")
    assert pair[0] == [("one", "two")]
    assert read("t.csv", b'id,text\n1,"a, b"\n\n2,c\n')[0] == ["a, b", "c"]
    assert read("t.tsv", b"text\ttext_pair\na\tb\n", pair="text_pair")[0] == [("a", "b")]
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
    assert output_name(one) not in ("label", "prob", "probs", "truncated", "similarity")


def bad(fault, name, *values):
    return pytest.param(*values, marks=pytest.mark.fault(fault), id=name)


BAD = [
    bad("A4", "byte", "t.txt", b"a\n\xf2\xff\n", 2, "byte 0xf2 at offset 2 is not UTF-8. " + OTHER),
    bad("A4", "Latin-1", "t.csv", b"text\nb\xe9\n", 2, "byte 0xe9 at offset 6 is not UTF-8. " + windows_1252("bé")),
    bad("A7", "too few columns", "t.csv", b"text,n\na,1\nb\n", 3, "1 columns, expected 2 (text, n). Quote texts that hold the separator."),
    bad("A7", "too many columns", "t.csv", b"text\na, b\n", 2, "2 columns, expected 1 (text). Quote texts that hold the separator."),
    bad("A6", "open quote", "t.csv", b'text,n\na,1\n"b,2\nc,3\n', 3, UNCLOSED),
    bad("A6", "open quote before another", "t.csv", b'text,n\na,1\n"b,2\nc,3\n"d",4\n', 3, UNCLOSED),
    bad("A6", "text after a quote", "t.csv", b'text\n"a" b\nc\n', 2, "not a valid row (',' expected after '\"'). Correct its quotes."),
    bad("A9", "cut", "t.jsonl", b'{"text": "a"}\n{"text"', 2, "not valid JSON (Expecting ':' delimiter at column 8). Correct the line."),
    bad("A9", "key twice", "t.jsonl", b'{"text": "a", "text": "b"}\n', 1, "not valid JSON (key 'text' twice). Correct the line."),
    bad("A9", "NaN", "t.jsonl", b'{"text": "a", "n": NaN}\n', 1, "not valid JSON (number NaN). Correct the line."),
    bad("A9", "1e400", "t.jsonl", b'{"text": "a", "n": 1e400}\n', 1, "not valid JSON (number 1e400). Correct the line."),
    bad("A9", "number", "t.jsonl", b'{"text": 3}', 1, "text is 3, expected a string. Put it in quotes."),
    bad("A9", "array", "t.jsonl", b"[1]", 1, FOUND_LIST),
    bad("A7", "other field", "t.jsonl", b'{"txt": "a"}', 1, "no field 'text', found 'txt'. Give every row text."),
    bad("L9", "null", "t.jsonl", b'{"text": null}', 1, "text is null, expected a string. Remove the row or fill it in."),
    bad("L8", "NUL", "t.jsonl", b'{"text": "a\\u0000"}', 1, "text has the control character U+0000 at position 1. Remove it."),
    bad("L8", "C1", "t.txt", "ab\x85".encode(), 1, "text has the control character U+0085 at position 2. Remove it."),
    bad("A10", "deep", "t.jsonl", b"[" * 100_000, 1, "not valid JSON (nested too deeply). Correct the line."),
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
    assert row == 1 and re.fullmatch(r"not valid JSON \(number 9{40}\)\. Correct the line\.", reason)


def test_pairs_need_both(read):
    reason = "no field 'text_pair', found 'text'. Give every row text and text_pair."
    assert read("t.jsonl", b'{"text": "a"}', pair="text_pair")[2] == [(1, reason)]
    assert read("t.txt", b"a\n", pair="text_pair")[2] == [
        (1, "a line of text, expected a pair. Give JSON Lines with text and text_pair.")
    ]


def test_every_row_needs_its_id(read):
    _, _, bad = read("t.jsonl", b'{"id": 0, "text": "a"}\n{"text": "b"}\n{"id": "", "text": "c"}\n', row_id="id")
    reason = "no 'id', expected one in every row. Fill it in, or omit --id-column."
    assert bad == [(2, reason), (3, reason)]


@pytest.mark.fault("A8")
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.txt"])
def test_a_row_has_a_limit_of_its_own(read, name, monkeypatch):
    monkeypatch.setattr(lines, "MAX_ROW_BYTES", 300_000)
    monkeypatch.setattr("crosstune.rows.decode.MAX_ROW_BYTES", 300_000)
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
    assert bad == [(2, "not a valid row (unexpected end of data). Correct its quotes.")]
    assert len(texts) == 500
