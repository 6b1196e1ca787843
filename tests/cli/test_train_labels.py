"""``crosstune train`` and label files: bad ones are refused in one line, odd names are names like any."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import files_in, jsonl

BAD_LABELS = [
    pytest.param(
        "l.json",
        None,
        "{f}: cannot be read (No such file or directory), expected a file. Check the path.",
        id="missing",
    ),
    pytest.param("l.json", b"", "{f}: not valid JSON (Expecting value at column 1). Correct the line.", id="empty"),
    pytest.param("l.json", b"{}", "{f}: 0 labels, expected at least 2. Add labels with descriptions.", id="no label"),
    pytest.param(
        "l.json", b'{"a": "one"}', "{f}: 1 labels, expected at least 2. Add labels with descriptions.", id="one label"
    ),
    pytest.param(
        "l.json",
        b'["a", "b"]',
        "{f}: found list, expected an object of label and description. Correct it.",
        id="a list",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "b": ""}',
        "{f}: the description of 'b' is empty, expected a sentence. Write one.",
        id="empty description",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "b": null}',
        "{f}: the description of 'b' is None, expected a sentence or a list of them. Correct it.",
        id="no description",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "b": []}',
        "{f}: the description of 'b' is [], expected a sentence or a list of them. Correct it.",
        id="no descriptions",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "b": ["x", 2]}',
        "{f}: the description of 'b' is ['x', 2], expected a sentence or a list of them. Correct it.",
        id="a number as description",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "a": "two"}',
        "{f}: not valid JSON (key 'a' twice). Correct the line.",
        id="a label twice",
    ),
    pytest.param(
        "l.json",
        b'{\n "a": "one",\n "b": two\n}',
        "{f}:3: not valid JSON (Expecting value at column 7). Correct the line.",
        id="bad JSON in the third line",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", " ": "two"}',
        "{f}: a label's name is ' ', expected visible characters. Name it.",
        id="empty name",
    ),
    pytest.param(
        "l.json",
        b'{"Ok": "one", "ok ": "two"}',
        "{f}: labels 'Ok' (U+004F U+006B) and 'ok ' (U+006F U+006B U+0020) read alike. Rename one.",
        id="names alike",
    ),
    pytest.param(
        "l.json",
        '{"é": "one", "e\u0301": "two"}'.encode(),
        "{f}: labels 'é' (U+00E9) and 'e\u0301' (U+0065 U+0301) read alike. Rename one.",
        id="names alike in Unicode",
    ),
    pytest.param(
        "l.json",
        b'{"a": "one", "b": "\\udc00"}',
        "{f}: label 'b' has the unpaired surrogate U+DC00. Remove it.",
        id="surrogate",
    ),
    pytest.param(
        "l.toml",
        b'a = "one"\n',
        "{f}: 1 labels, expected at least 2. Add labels with descriptions.",
        id="one label in TOML",
    ),
    pytest.param(
        "l.toml", b"a = \n", "{f}: not valid TOML (Invalid value (at line 1, column 5)). Correct it.", id="bad TOML"
    ),
    pytest.param(
        "l.json",
        b'{"caf\xe9": "one"}',
        "{f}:1: byte 0xe9 at offset 5 is not UTF-8. Save the file as UTF-8, for example with: iconv -f cp1252 -t utf-8 {f}",
        id="Latin-1",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_LABELS)
def test_train_refuses_bad_labels(run_app, task, name, content, message):
    file = task.folder / name
    if content is not None:
        file.write_bytes(content)
    result = run_app("crosstune", "train", "--train", task.train, "--labels", file, "--output", task.out / "a.ckpt")
    assert (result.code, result.out) == (3, "")
    assert result.err == f"error: {message.format(f=file)}\n"
    assert files_in(task.out) == []


@pytest.mark.fault("B9")
def test_names_that_mislead_other_languages_are_labels_like_any(run_app, task, tiny_backbone_dir):
    names = ["__proto__", "null", "nan", "true", "1", "../x", "-rf"]
    task.labels.write_text(json.dumps({name: f"about {i}" for i, name in enumerate(names)}), "utf-8")
    task.train.write_bytes(jsonl([(f"text {i} {k}", name) for i, name in enumerate(names) for k in range(2)]))
    result = run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", tiny_backbone_dir,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    state = json.loads((task.out / "a.ckpt" / "checkpoint.json").read_text("utf-8"))
    assert list(state["labels"]) == names
