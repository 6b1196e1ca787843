"""``crosstune train`` with bad examples: exit code 3, one line with the place and the next step, and no files."""

from __future__ import annotations

import pytest

from tests.cli.conftest import NOT_UTF8, files_in, jsonl

GOOD = b'{"text": "where is it", "label": "shipping"}\n'


LONG = "x" * ((1 << 20) + 1)


NO_EXAMPLES = "{f}: 0 examples, expected at least one. Check that it is the right file."


ADD = "Describe that label too, or correct the rows."


EMPTY = " is empty, expected visible characters. Remove the row or fill it in."


LISTED = "'shipping', 'billing', 'praise'"


BAD_EXAMPLES = [
    pytest.param(
        "t.jsonl",
        None,
        "{f}: cannot be read (No such file or directory), expected a file. Check the path.",
        id="missing",
        marks=pytest.mark.fault("A1"),
    ),
    pytest.param("t.jsonl", b"", NO_EXAMPLES, id="empty", marks=pytest.mark.fault("A2")),
    pytest.param("t.jsonl", b"\n \n", NO_EXAMPLES, id="blank lines only", marks=pytest.mark.fault("A2")),
    pytest.param("t.csv", b"text,label\n", NO_EXAMPLES, id="header only", marks=pytest.mark.fault("A2")),
    pytest.param(
        "t.jsonl",
        GOOD + b'{"text": nope}\n',
        "{f}:2: not valid JSON (Expecting value at column 10). Correct the line.",
        id="bad JSON",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        GOOD + b"\n" + b'{"text": "a", "label": "praise",}\n',
        None,
        id="trailing comma",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        b'["where is it", "shipping"]\n',
        '{f}:1: found list, expected an object such as {{"text": "…"}}. Correct the line. '
        "For an array of objects give --input-format json.",
        id="not an object",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        GOOD + b'{"text": "thanks"}\n',
        "{f}:2: no field 'label', found 'text'. Give every row text and label.",
        id="missing label",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"Text": "thanks", "label": "praise"}\n',
        "{f}:1: no field 'text', found 'Text', 'label'. Give every row text and label.",
        id="missing text",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": 5, "label": "praise"}\n',
        "{f}:1: text is 5, expected a string. Put it in quotes.",
        id="a number as text",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "a", "text": "b", "label": "praise"}\n',
        "{f}:1: not valid JSON (key 'text' twice). Correct the line.",
        id="a key twice",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "a", "label": NaN}\n',
        "{f}:1: not valid JSON (number NaN). Correct the line.",
        id="NaN",
        marks=pytest.mark.fault("A9"),
    ),
    pytest.param(
        "t.jsonl",
        b"[" * 100_000 + b"\n",
        "{f}:1: not valid JSON (nested too deeply). Correct the line.",
        id="deep",
        marks=pytest.mark.fault("A10"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "", "label": "praise"}\n',
        "{f}:1: text" + EMPTY,
        id="empty text",
        marks=pytest.mark.fault("A14"),
    ),
    pytest.param(
        "t.jsonl",
        GOOD + '{"text": " \u200b\u00a0", "label": "praise"}\n'.encode(),
        "{f}:2: text" + EMPTY,
        id="invisible text",
        marks=pytest.mark.fault("A14"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "a", "label": ""}\n',
        "{f}:1: label" + EMPTY,
        id="empty label",
        marks=pytest.mark.fault("A14"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "a\\u0000b", "label": "praise"}\n',
        "{f}:1: text has the control character U+0000 at position 1. Remove it.",
        id="NUL",
        marks=pytest.mark.fault("A5"),
    ),
    pytest.param(
        "t.jsonl",
        b'{"text": "a\\ud800", "label": "praise"}\n',
        "{f}:1: text has the unpaired surrogate U+D800 at position 1. Remove it.",
        id="surrogate",
    ),
    pytest.param(
        "t.jsonl",
        jsonl([(LONG, "praise")]),
        "{f}:1: text has 1048577 characters, expected at most 1048576. Shorten or split it.",
        id="too long",
        marks=pytest.mark.fault("A8"),
    ),
    pytest.param(
        "t.csv",
        b"text,label\n" + LONG.encode() + b",praise\n",
        "{f}:2: text has 1048577 characters, expected at most 1048576. Shorten or split it.",
        id="too long for csv",
        marks=pytest.mark.fault("A8"),
    ),
    pytest.param(
        "t.jsonl",
        GOOD + jsonl([("thanks", "refund"), ("why", "refund")]),
        "{f}:2: label 'refund' is not one of " + LISTED + " (2 such rows). " + ADD,
        id="unknown label",
    ),
    pytest.param(
        "t.jsonl",
        GOOD + '{"text": "caf\u00e9", "label": "praise"}\n'.encode("latin-1"),
        "{f}:2: byte 0xe9 at offset " + str(len(GOOD) + 13) + NOT_UTF8,
        id="Latin-1",
        marks=pytest.mark.fault("A4"),
    ),
    pytest.param(
        "t.csv",
        b"\xef\xbb\xbftext,label\ncaf\xe9,praise\n",
        "{f}:2: byte 0xe9 at offset 17 is not UTF-8, as the byte order mark says. Correct the row.",
        id="Latin-1 after a byte order mark",
        marks=pytest.mark.fault("A4"),
    ),
    pytest.param(
        "t.csv",
        b"words,label\na,praise\n",
        "{f}:1: columns 'words', 'label', expected 'text' and 'label'. Name it with --text-column.",
        id="csv header",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.csv",
        b"text,label,text\na,praise,b\n",
        "{f}:1: column 'text' appears more than once. Name each column differently.",
        id="csv column twice",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.csv",
        b"text,label\nwell, thanks,praise\n",
        "{f}:2: 3 columns, expected 2 (text, label). Quote texts that hold the separator.",
        id="csv separator",
        marks=pytest.mark.fault("A7"),
    ),
    pytest.param(
        "t.csv",
        b'text,label\na,praise\n"open,praise\nb,billing\n',
        "{f}:3: not a valid row (unexpected end of data). Correct its quotes.",
        id="csv open quote",
        marks=pytest.mark.fault("A6"),
    ),
    pytest.param("t.parquet", GOOD, None, id="not Parquet"),
    pytest.param(
        "t.jsonl",
        b'{"text": "a", "text_pair": "b", "label": "praise"}\n' + GOOD,
        "{f}:2: no text_pair where other rows have one. Give every row one, or none.",
        id="pairs and single texts",
    ),
]


#: Messages that hold another library's wording, which differs between its versions.
STARTS = {
    "trailing comma": "{f}:3: not valid JSON (",
    "not Parquet": "{f}: not a Parquet file (",
}


@pytest.mark.fault("A1")
@pytest.mark.parametrize(("name", "content", "message"), BAD_EXAMPLES)
@pytest.mark.parametrize("option", ["--train", "--dev"])
def test_train_refuses_bad_examples(run_app, task, tiny_backbone_dir, request, name, content, message, option):
    file = task.folder / name
    if content is not None:
        file.write_bytes(content)
    files = {"--train": task.train, option: file}
    result = run_app(
        "crosstune", "train", *(part for pair in files.items() for part in pair), "--labels", task.labels,
        "--output", task.out / "a.ckpt", "--backbone", tiny_backbone_dir,
    )  # fmt: skip
    assert (result.code, result.out) == (3, "")
    if message is None:
        start = STARTS[request.node.callspec.id.removeprefix(f"{option}-")]
        assert result.err.startswith("error: " + start.format(f=file))
        assert result.err.count("\n") == 1
    else:
        assert result.err == f"error: {message.format(f=file)}\n"
    assert files_in(task.out) == []


@pytest.mark.fault("A1")
def test_a_folder_in_place_of_examples(run_app, task):
    folder = task.folder / "t.jsonl"
    folder.mkdir()
    result = run_app(
        "crosstune", "train", "--train", folder, "--labels", task.labels, "--output", task.out / "a.ckpt"
    )  # fmt: skip
    assert (result.code, result.out) == (3, "")
    assert result.err == f"error: {folder}: cannot be read (Is a directory), expected a file. Check the path.\n"


@pytest.mark.fault("A13")
@pytest.mark.parametrize("option", ["--dev", "--test"])
def test_with_strict_train_refuses_to_measure_on_training_texts(run_app, task, option):
    task.test.write_bytes(
        jsonl([("a new text", "praise"), ("  Where is MY\tparcel ", "shipping"), ("i love it", "praise")])
    )
    result = run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        option, task.test, "--strict",
    )  # fmt: skip
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {task.test}:2: the text '  Where is MY\\tparcel ' is also a training text (2 such rows). "
        "Remove them from one of the files.\n"
    )
    assert files_in(task.out) == []


TWICE = GOOD + jsonl([("why", "praise"), ("where is it", "praise"), ("why", "billing"), ("where is it", "shipping")])
CONFLICTS = (
    "'where is it' ('shipping' in line {1} and {5}, 'praise' in line {3}); "
    "'why' ('praise' in line {2}, 'billing' in line {4})"
)


@pytest.mark.fault("A12", "L3")
def test_train_lists_texts_under_several_labels_and_does_with_them_what_it_is_told(run_app, task, tiny_backbone_dir):
    file = task.folder / "t.jsonl"
    file.write_bytes(task.train.read_bytes() + TWICE)
    before = len(task.train.read_bytes().splitlines())
    listed = CONFLICTS.format(*(before + number for number in range(6)))
    command = (
        "crosstune", "train", "--train", file, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", tiny_backbone_dir, "--force",
    )  # fmt: skip
    result = run_app(*command)
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {file}: 2 texts have more than one label: {listed}. "
        "Keep one label for each text, or pass --on-conflict drop or majority.\n"
    )
    assert files_in(task.out) == []
    for option, kept in (("drop", before), ("majority", before + 1)):
        result = run_app(*command, "--on-conflict", option)
        assert result.code == 0
        assert f"{kept} examples" in result.out
        assert f"2 texts have more than one label; {kept - before} kept with the most frequent one" in result.err
