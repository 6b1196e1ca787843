"""``crosstune-export classify``: one JSON object a line, in the order of the input, from every kind of input."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest

from crosstune_export import Classifier
from tests.cli.conftest import Outcome, files_in, json_lines
from tests.conftest import TINY_OTHER_TEXTS

TEXTS = [text for text in TINY_OTHER_TEXTS if text]


@pytest.fixture
def expected(tiny_fp32_bundle_dir):
    """The rows of TEXTS, by way of Python."""
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    return [
        {
            "text": text,
            "label": answer.label,
            "prob": answer.prob,
            "probs": dict(zip(classifier.labels, answer.probs.tolist(), strict=True)),
            "truncated": answer.truncated,
            "similarity": answer.similarity,
        }
        for text, answer in zip(TEXTS, classifier.classify(TEXTS, batch_size=8), strict=True)
    ]


@pytest.fixture
def closing(tiny_fp32_bundle_dir, expected):
    """The closing line for TEXTS."""
    usual = Classifier.load(tiny_fp32_bundle_dir).manifest.training_facts.usual_similarity
    assert sum(row["similarity"] < usual for row in expected) == 1
    return f"1 row ({100 / len(TEXTS):.1f}%) looks unlike the training texts\n"


@pytest.fixture
def stdin(monkeypatch):
    """Gives bytes as standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def as_jsonl(texts) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def test_jsonl_in_order_with_the_promised_fields(classify, task, closing, expected):
    (task.folder / "t.jsonl").write_bytes(as_jsonl(TEXTS))
    result = classify(task.folder / "t.jsonl")
    assert (result.code, result.err) == (0, closing)
    rows = json_lines(result.out)
    assert [list(row) for row in rows] == [["text", "label", "prob", "probs", "truncated", "similarity"]] * len(TEXTS)
    assert rows == expected
    assert [row["truncated"] for row in rows] == [False] * (len(TEXTS) - 1) + [True]
    assert all(row["label"] == max(row["probs"], key=row["probs"].get) for row in rows)


def _csv(texts) -> bytes:
    return b"text\n" + b"".join(b'"%s"\n' % text.encode() for text in texts)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.txt", "\n".join(TEXTS).encode()),
        ("bom.txt", b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode() + b"\r\n\r\n"),
        ("t.csv", _csv(TEXTS)),
        ("bom.csv", b"\xef\xbb\xbf" + _csv(TEXTS).replace(b"\n", b"\r\n")),
        ("t.tsv", b"text\n" + b"".join(text.encode() + b"\n" for text in TEXTS)),
        ("t.ndjson", b"\n" + as_jsonl(TEXTS)),
        ("bom.jsonl", b"\xef\xbb\xbf" + as_jsonl(TEXTS).replace(b"\n", b"\r\n")),
    ],
)
def test_every_kind_of_file(classify, task, closing, expected, name, content):
    (task.folder / name).write_bytes(content)
    result = classify(task.folder / name)
    assert (result.code, result.err) == (0, closing)
    assert json_lines(result.out) == expected


@pytest.mark.fault("A15")
@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        ((), "\n".join(TEXTS).encode()),
        (("-",), "\n".join(TEXTS).encode()),
        (("-", "--input-format", "jsonl"), as_jsonl(TEXTS)),
        (("--input-format", "csv"), _csv(TEXTS)),
    ],
    ids=["left out", "dash", "jsonl", "csv"],
)
def test_standard_input(classify, stdin, closing, expected, arguments, content):
    stdin(content)
    result = classify(*arguments)
    assert (result.code, result.err) == (0, closing)
    assert json_lines(result.out) == expected


def test_a_bad_line_of_standard_input(classify, stdin):
    stdin(b'{"text": "a"}\nnope\n')
    result = classify("--input-format", "jsonl")
    assert (result.code, result.out) == (3, "")
    assert result.err == "error: standard input:2: not valid JSON (Expecting value at column 1). Correct the line.\n"


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        ("stdin", Outcome(3, "", "error: standard input: is closed, expected texts. Give a file.\n")),
        (
            "stdout",
            Outcome(2, "", "error: standard output: is closed, expected an open stream. Give --output.\n"),
        ),
    ],
)
def test_a_stream_that_is_closed(classify, stdin, monkeypatch, stream, outcome):
    stdin(b"a\n")
    monkeypatch.setattr(sys, stream, None)
    assert classify("-") == outcome


@pytest.mark.fault("L12")
def test_texts_unlike_the_training_texts(run_app, classify, task, expected, tiny_paper_bundle_dir):
    """A smallest similarity on the command line decides what is unlike, and such texts get no label."""
    (task.folder / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    limit = sorted(row["similarity"] for row in expected)[1]
    result = classify(task.folder / "t.txt", "--min-similarity", limit)
    labels = [None if row["similarity"] < limit else row["label"] for row in expected]
    assert [row["label"] for row in json_lines(result.out)] == labels
    assert labels.count(None) == 1
    share = 100 / len(TEXTS)
    assert (result.code, result.err) == (0, f"1 row ({share:.1f}%) looks unlike the training texts\n")
    output = classify(task.folder / "t.txt", "--min-similarity", limit, "--output", task.out / "a.jsonl")
    assert output.err.splitlines()[-1] == f"1 row ({share:.1f}%) looks unlike the training texts"
    assert [classify(task.folder / "t.txt", "--min-similarity", value).code for value in ("nan", 2)] == [2, 2]
    paper = ("crosstune-export", "classify", tiny_paper_bundle_dir, task.folder / "t.txt", "--min-similarity", 0.5)
    assert run_app(*paper).code == 2


def test_no_text_is_no_line(classify, stdin):
    stdin(b"\n")
    result = classify()
    assert (result.code, result.out, result.err) == (0, "", "")


def test_text_that_is_not_ascii_stays_readable(classify, stdin):
    stdin("café 商 Ω\n".encode())
    result = classify()
    assert result.out.startswith('{"text": "café 商 Ω", ')


@pytest.mark.fault("H3")
def test_an_unpaired_surrogate_is_classified_as_its_replacement_and_carried_as_it_is(classify, task):
    (task.folder / "t.jsonl").write_bytes(b'{"text": "a\\ud800b"}\n{"text": "a\xef\xbf\xbdb"}\n')
    result = classify(task.folder / "t.jsonl")
    assert (result.code, result.err) == (0, "")
    first, second = json_lines(result.out)
    assert (first.pop("text"), second.pop("text")) == ("a\ud800b", "a\ufffdb")
    assert first == second


@pytest.mark.fault("H10")
def test_top_k(classify, task, expected):
    (task.folder / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    rows = json_lines(classify(task.folder / "t.txt", "--top-k", 2).out)
    for row, whole in zip(rows, expected, strict=True):
        best = sorted(whole["probs"].items(), key=lambda item: -item[1])[:2]
        assert list(row["probs"].items()) == best, "the most probable first"
        assert row | {"probs": None} == whole | {"probs": None}


@pytest.mark.fault("H10")
def test_threshold(classify, task, expected):
    (task.folder / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    middle = float(np.median([row["prob"] for row in expected]))
    rows = json_lines(classify(task.folder / "t.txt", "--threshold", repr(middle)).out)
    assert [row["label"] for row in rows] == [row["label"] if row["prob"] >= middle else None for row in expected]
    assert None in [row["label"] for row in rows]
    assert [row["prob"] for row in rows] == [row["prob"] for row in expected]


def test_output_file(classify, task):
    (task.folder / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    printed = classify(task.folder / "t.txt").out
    result = classify(task.folder / "t.txt", "--output", task.out / "a.jsonl")
    assert (result.code, result.out) == (0, "")
    assert (task.out / "a.jsonl").read_text("utf-8") == printed
    result = classify(task.folder / "t.txt", "--output", task.out / "a.jsonl", "--top-k", 1)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {task.out / 'a.jsonl'}: is already there. Choose another output file, or pass --force to replace it.\n"
    )
    assert (task.out / "a.jsonl").read_text("utf-8") == printed
    assert classify(task.folder / "t.txt", "--output", task.out / "a.jsonl", "--top-k", 1, "--force").code == 0
    assert len(json_lines((task.out / "a.jsonl").read_text("utf-8"))[0]["probs"]) == 1
    assert files_in(task.out) == ["a.jsonl"]


@pytest.mark.fault("H5")
def test_many_windows_keep_the_order(classify, task):
    texts = [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(150)]
    (task.folder / "t.txt").write_text("\n".join(texts), "utf-8")
    rows = json_lines(
        classify(task.folder / "t.txt", "--batch-size", 2, "--threads", 2).out
    )  # the command has a batch of 2
    assert [row["text"] for row in rows] == texts


def test_pretty(classify, task, expected):
    (task.folder / "t.txt").write_text("\n".join(TEXTS[:4]), "utf-8")
    result = classify(task.folder / "t.txt", "--pretty", "--threshold", "0.9")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["text", "label", "prob", "similarity", "ms"]
    for line, row in zip(lines[1:], expected[:4], strict=True):
        label = row["label"] if row["prob"] >= 0.9 else "(none)"
        assert line.split()[:-1] == [*row["text"].split(), label, f"{row['prob']:.2f}", f"{row['similarity']:.2f}"]


def test_explain(classify, task, tiny_fp32_bundle_dir, expected):
    (task.folder / "t.txt").write_text("\n".join(TEXTS[:3]), "utf-8")
    result = classify(task.folder / "t.txt", "--explain", "--top-k", 2)
    assert (result.code, result.err) == (0, "")
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    for row, plain in zip(json_lines(result.out), expected[:3], strict=True):
        assert [row["text"], row["label"]] == [plain["text"], plain["label"]]
        assert row["prob"] == pytest.approx(plain["prob"], abs=1e-6)
        found = classifier.explain(row["text"]).words
        assert len(row["words"]) == len(found) > 0
        for written, word in zip(row["words"], found, strict=True):
            assert list(written) == ["word", "start", "end", "evidence"]
            assert row["text"][written["start"] : written["end"]] == written["word"] == word.word
            assert list(written["evidence"]) == list(row["probs"]) and len(row["probs"]) == 2
            for label, value in written["evidence"].items():
                assert value == pytest.approx(word.evidence[classifier.labels.index(label)], abs=1e-3)


def test_explain_carries_columns_that_are_called_words(classify, task):
    (task.folder / "t.jsonl").write_text('{"words": 1, "input_words": 2, "text": "thanks"}\n', "utf-8")
    (row,) = json_lines(classify(task.folder / "t.jsonl", "--explain").out)
    assert (row["input_words"], row["input_input_words"]) == (1, 2)
    assert [word["word"] for word in row["words"]] == ["thanks"]


def test_explain_for_people(classify, task, tiny_fp32_bundle_dir):
    text = "where is my parcel"
    (task.folder / "t.txt").write_text(text, "utf-8")
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    found = classifier.explain(text)
    column = int(found.prediction.probs.argmax())
    strongest = sorted(found.words, key=lambda word: -abs(word.evidence[column]))
    figures = ", ".join(f"{word.word} {word.evidence[column]:+.2f}" for word in strongest)
    for threshold, given in (("0", ""), ("1", " (not given)")):
        result = classify(task.folder / "t.txt", "--explain", "--pretty", "--threshold", threshold)
        assert (result.code, result.err) == (0, "")
        assert [line.rstrip() for line in result.out.splitlines()] == [
            f"{classifier.labels[column]}{given} {found.prediction.prob:.2f}",
            f"  {text}",
            f"  {figures}",
        ]


@pytest.mark.slow
def test_pairs(run_app, task, tiny_pair_checkpoint_dir):
    bundle = task.out / "pair.bundle"
    built = run_app("crosstune-export", "build", tiny_pair_checkpoint_dir, "--output", bundle, "--precision", "fp32")
    assert (built.code, built.err) == (0, "")
    pairs = [("where is my parcel", "it is late"), ("thanks", "so good")]
    (task.folder / "p.jsonl").write_text(
        "".join(json.dumps({"text": first, "text_pair": second}) + "\n" for first, second in pairs), "utf-8"
    )
    result = run_app("crosstune-export", "classify", bundle, task.folder / "p.jsonl")
    assert (result.code, result.err) == (0, "")
    rows = json_lines(result.out)
    assert [list(row) for row in rows] == [
        ["text", "text_pair", "label", "prob", "probs", "truncated", "similarity"]
    ] * 2
    assert [(row["text"], row["text_pair"]) for row in rows] == pairs
    explained = run_app("crosstune-export", "classify", bundle, task.folder / "p.jsonl", "--explain")
    words = json_lines(explained.out)[0]["words"]
    assert [(word["of"], word["word"]) for word in words] == [
        *(("text", word) for word in pairs[0][0].split()),
        *(("text_pair", word) for word in pairs[0][1].split()),
    ]
    expected = Classifier.load(bundle).classify(pairs, batch_size=8)
    assert [(row["label"], row["prob"]) for row in rows] == [(answer.label, answer.prob) for answer in expected]

    (task.folder / "p.txt").write_text("one text\n", "utf-8")
    result = run_app("crosstune-export", "classify", bundle, task.folder / "p.txt")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {task.folder / 'p.txt'}:1: a line of text, expected a pair. Give JSON Lines with text and text_pair.\n"
    )
    (task.folder / "p.jsonl").write_text('{"text": "alone"}\n', "utf-8")
    result = run_app("crosstune-export", "classify", bundle, task.folder / "p.jsonl")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {task.folder / 'p.jsonl'}:1: no field 'text_pair', found 'text'. Give every row text and text_pair.\n"
    )
