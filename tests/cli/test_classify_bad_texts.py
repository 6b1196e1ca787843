"""``crosstune-export classify`` with bad files: exit code 3, one line with the place and the next step, and no files."""

from __future__ import annotations

import pytest

from tests.cli.conftest import NOT_UTF8, files_in

BAD_TEXTS = [
    pytest.param(
        "t.txt",
        None,
        "{f}: cannot be read (No such file or directory), expected a file. Check the path.",
        id="missing",
        marks=pytest.mark.fault("A1"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "ok"}\n{"text":\n',
        "{f}:2: not valid JSON (Expecting value at column 9). Correct the line.",
        id="bad JSON",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "ok"}\n\n{"txt": "a"}\n',
        "{f}:3: no field 'text', found 'txt'. Give every row text.",
        id="missing field",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": null}\n',
        "{f}:1: text is null, expected a string. Remove the row or fill it in.",
        id="null",
        marks=pytest.mark.fault("L9"),
    ),
    pytest.param(
        "t.jsonl",
        b'["a"]\n',
        '{f}:1: found list, expected an object such as {{"text": "…"}}. Correct the line. '
        "For an array of objects give --input-format json.",
        id="not an object",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.txt",
        b"fine\ncaf\xe9\n",
        "{f}:2: byte 0xe9 at offset 8" + NOT_UTF8,
        id="Latin-1",
        marks=pytest.mark.fault("A4"),
    ),
    pytest.param(
        "t.csv",
        b"words\na\n",
        "{f}:1: columns 'words', expected 'text'. Name it with --text-column.",
        id="csv header",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.txt",
        b"a\0b\n",
        "{f}:1: text has the control character U+0000 at position 1. Remove it.",
        id="NUL",
        marks=pytest.mark.fault("L8"),
    ),
    pytest.param(
        "t.csv",
        b'text\n"a\n',
        "{f}:2: not a valid row (unexpected end of data). Correct its quotes.",
        id="csv open quote",
        marks=pytest.mark.fault("A6"),
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_TEXTS)
def test_classify_refuses_bad_texts(run_app, task, tiny_fp32_bundle_dir, name, content, message):
    file = task.folder / name
    if content is not None:
        file.write_bytes(content)
    result = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, file, "--output", task.out / "a.jsonl")
    assert (result.code, result.out) == (3, "")
    assert result.err == f"error: {message.format(f=file)}\n"
    assert files_in(task.out) == []
