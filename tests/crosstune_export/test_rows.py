from __future__ import annotations

import pytest

from crosstune_export import InputError
from crosstune_export.rows import format_of, read_texts

SAVE_AS_UTF8 = "Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8"


def read(data, file_format, text_pair=False):
    return list(read_texts(data.splitlines(keepends=True), "here", file_format, text_pair))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("a.csv", "csv"), ("a.tsv", "tsv"), ("a.txt", "text"), ("-", "text")],
)
def test_format_of(name, expected):
    assert format_of(name) == expected


def test_formats():
    assert read(b"\xef\xbb\xbfone\r\n\r\n  \ntwo words\n", "text") == ["one", "two words"]
    assert read(b'{"text": "one", "id": 3}\n\n{"text": "two"}\n', "jsonl") == ["one", "two"]
    assert read(b'{"text": "one", "text_pair": "two"}\n', "jsonl", True) == [("one", "two")]
    assert read(b'id,text\n1,"a, b"\n2,c\n', "csv") == ["a, b", "c"]
    assert read(b"text\ttext_pair\na\tb\n", "tsv", True) == [("a", "b")]


@pytest.mark.parametrize(
    ("data", "file_format", "text_pair", "message"),
    [
        (b"a\nb\xff\n", "text", False, "here:2: byte 0xff at offset 3 is not UTF-8. " + SAVE_AS_UTF8),
        (b"a\n", "text", True, "here: lines of text, expected pairs. Give JSON Lines with text and text_pair."),
        (b'{"text": "a"}\n{"text"', "jsonl", False, "here:2: not valid JSON (Expecting ':' delimiter). Correct the line."),
        (b"[" * 100_000, "jsonl", False, "here:1: not valid JSON (RecursionError). Correct the line."),
        (b'{"txt": "a"}', "jsonl", False, "here:1: no string 'text', found fields 'txt'. Give every row text."),
        (b'{"text": 3}', "jsonl", False, "here:1: no string 'text', found fields 'text'. Give every row text."),
        (b"[1]", "jsonl", False, "here:1: no string 'text', found fields none. Give every row text."),
        (b'{"text": "a"}', "jsonl", True, "here:1: no string 'text_pair', found fields 'text'. Give every row text and text_pair."),
        (b"body\nx\n", "csv", False, "here:2: no string 'text', found fields 'body'. Give every row text."),
        (b"a", "xml", False, "format: found 'xml', expected one of jsonl, csv, tsv, text."),
    ],
)  # fmt: skip
def test_bad_rows(data, file_format, text_pair, message):
    with pytest.raises(InputError) as caught:
        read(data, file_format, text_pair)
    assert str(caught.value) == message
