"""Encodings, delimiters and column names of tables, and advice that works when it is followed."""

import pytest

from crosstune import DataError, Example, ReadOptions, read_examples


def refused_bytes(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    return str(caught.value), path


@pytest.mark.fault("A4", "L4")
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "after a byte order mark"])
@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_windows_byte_is_refused_with_its_line_and_offset_and_the_advice_works(tmp_path, mark, ending):
    head, row = ("text,label\n", "café,x\n") if ending == ".csv" else ("", '{"text": "café", "label": "x"}\n')
    good = "ok,x\n" if ending == ".csv" else '{"text": "ok", "label": "x"}\n'
    before = mark + head.encode() + good.encode()
    message, path = refused_bytes(tmp_path, f"x{ending}", before + row.encode("cp1252"))
    offset = len(before) + row.index("é")
    found = f"{path}:{3 if head else 2}: byte 0xe9 at offset {offset} is not UTF-8"
    if mark:
        assert message == f"{found}, as the byte order mark says. Correct the row."
    else:
        assert message == (
            f"{found}. It looks like Windows-1252, which reads 'café' there: "
            "give --encoding cp1252, or save the file as UTF-8."
        )
        assert read_examples(path, ReadOptions(encoding="cp1252")) == (Example("ok", "x"), Example("café", "x"))


@pytest.mark.fault("A4", "L4")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".json"])
def test_utf_16_is_recognised(tmp_path, encoding, ending):
    rows = {
        ".jsonl": '{"text": "Ærø 商品", "label": "x"}\n',
        ".csv": "text,label\nÆrø 商品,x\n",
        ".json": '[{"text": "Ærø 商品", "label": "x"}]',
    }
    path = tmp_path / f"x{ending}"
    path.write_bytes(rows[ending].encode(encoding))
    assert read_examples(path) == (Example("Ærø 商品", "x"),)


@pytest.mark.fault("A7", "L4")
@pytest.mark.parametrize(
    ("header", "found", "advice"),
    [
        ("sentence,label", "'sentence', 'label'", "Name it with --text-column."),
        ("Text,Label", "'Text', 'Label'", "Did you mean --text-column Text --label-column Label?"),
        ("text, label", "'text', ' label'", "Did you mean --label-column ' label'?"),
        ("message;topic;date", "'message', 'topic', 'date' separated by semicolons", "Name them with --text-column and --label-column."),
        ("texts;topic", "'texts', 'topic' separated by semicolons", "Did you mean --text-column texts? Give also --label-column."),
    ],
)  # fmt: skip
def test_other_column_names_are_refused_with_those_that_were_meant(tmp_path, header, found, advice):
    message, path = refused_bytes(tmp_path, "x.csv", f"{header}\n".encode())
    assert message == f"{path}:1: columns {found}, expected 'text' and 'label'. {advice}"
