"""The same table in the dialects and encodings of spreadsheets: trained, evaluated and classified with the same answers."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shlex

import pytest

from tests.cli.conftest import files_in
from tests.conftest import TINY_TEXTS

TRAIN = [(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
TRAIN[0] = ("where is my parcel, the \u201ccafé\u201d one; now?", "shipping")
TRAIN[7] = ('he said "wrong"\nand left \u2013 naïve', "billing")
TEST = [
    ("where is the lamp \u2013 résumé", "shipping"),
    ("the price, is wrong", "billing"),
    ("so good; thanks", "praise"),
]


def table(rows, delimiter=",", *, head="", tail="", line_end="\r\n"):
    """A table as a spreadsheet saves it: columns Message and Topic, quotes where needed."""
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=line_end)
    writer.writerows([("Message", "Topic"), *rows])
    text = sink.getvalue()
    return head + (text if not tail else _with_tail(rows, delimiter, tail, line_end))


def _with_tail(rows, delimiter, tail, line_end):
    sink = io.StringIO()
    for row in [("Message", "Topic"), *rows]:
        csv.writer(sink, delimiter=delimiter, lineterminator=tail + line_end).writerow(row)
    return sink.getvalue()


#: Name → ending, bytes of a table, and the options that the first refusal must advise.
DIALECTS = {
    "comma": (".csv", lambda rows: table(rows).encode(), ""),
    "semicolon": (".csv", lambda rows: table(rows, ";").encode(), ""),
    "tab": (".csv", lambda rows: table(rows, "\t").encode(), ""),
    "tsv with commas": (".tsv", lambda rows: table(rows).encode(), ""),
    "pipe": (".csv", lambda rows: table(rows, "|").encode(), ""),
    "UTF-8 with mark": (".csv", lambda rows: table(rows, ";").encode("utf-8-sig"), ""),
    "UTF-16 LE with mark": (".csv", lambda rows: b"\xff\xfe" + table(rows, "\t").encode("utf-16-le"), ""),
    "UTF-16 BE with mark": (".csv", lambda rows: b"\xfe\xff" + table(rows, ";").encode("utf-16-be"), ""),
    "UTF-16 LE": (".csv", lambda rows: table(rows, ";").encode("utf-16-le"), ""),
    "UTF-16 BE": (".csv", lambda rows: table(rows).encode("utf-16-be"), ""),
    "Windows": (".csv", lambda rows: table(rows, ";").encode("cp1252"), "--encoding cp1252"),
    "old Mac line ends": (".csv", lambda rows: table(rows, line_end="\r").encode(), ""),
    "sep= line": (".csv", lambda rows: table(rows, "^", head="sep=^\r\n").encode(), ""),
    "trailing commas": (".csv", lambda rows: table(rows, tail=",").encode(), ""),
    "gzip": (".csv.gz", lambda rows: gzip.compress(table(rows, ";").encode()), ""),
    "gzip under a plain name": (".csv", lambda rows: gzip.compress(table(rows).encode()), ""),
    "unusual delimiter": (".csv", lambda rows: table(rows, "~").encode(), "--delimiter '~'"),
    "no known ending": (".export", lambda rows: table(rows, ";").encode(), "--input-format csv"),
}
NAMES = ("--text-column", "Message", "--label-column", "Topic")


@pytest.fixture(scope="module")
def expected(tmp_path_factory, tiny_backbone_dir):
    """The answers for the same rows as JSON Lines, in a folder of their own."""
    folder = tmp_path_factory.mktemp("expected")
    for name, rows in (("train", TRAIN), ("test", TEST)):
        lines = (json.dumps({"Message": text, "Topic": label}) + "\n" for text, label in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return folder


def answers(run_app, folder, train, test, backbone, bundle, options):
    """Train, evaluate and classify; the examples in the checkpoint, the metrics, and the rows with their labels."""
    options = (*NAMES, *options)
    checkpoint = folder / "a.ckpt"
    done = run_app(
        "crosstune", "train", "--train", train, "--output", checkpoint, "--backbone", backbone, "--force", *options
    )
    if done.code:
        return done
    assert done.err == ""
    measured = run_app("crosstune", "evaluate", checkpoint, "--data", test, "--json", *options)
    classify_options = [part for i, part in enumerate(options) if i not in (2, 3)]
    classified = run_app("crosstune-export", "classify", bundle, test, *classify_options)
    assert (measured.code, measured.err, classified.code, classified.err) == (0, "", 0, "")
    return (
        (checkpoint / "examples.jsonl").read_text("utf-8"),
        json.loads(measured.out),
        [json.loads(line) for line in classified.out.splitlines()],
    )


@pytest.mark.slow
@pytest.mark.fault("A3", "A4", "A15", "L4", "L5", "L6")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_the_same_answers(
    run_app, tmp_path, expected, tiny_backbone_dir, tiny_fp32_bundle_dir, dialect
):
    ending, encode, advice = DIALECTS[dialect]
    train, test = tmp_path / f"train{ending}", tmp_path / f"test{ending}"
    train.write_bytes(encode(TRAIN))
    test.write_bytes(encode(TEST))
    arguments = (tiny_backbone_dir, tiny_fp32_bundle_dir)
    right = answers(run_app, expected, expected / "train.jsonl", expected / "test.jsonl", *arguments, ())
    found = answers(run_app, tmp_path, train, test, *arguments, ())
    if advice:
        assert found.code in (2, 3)
        option = advice.split()[0]
        assert option in found.err
        assert files_in(tmp_path) == sorted([train.name, test.name])
        found = answers(run_app, tmp_path, train, test, *arguments, shlex.split(advice))
    assert found == right


@pytest.mark.fault("L4")
def test_the_advice_for_windows_files_shows_how_they_would_read(run_app, tmp_path, tiny_fp32_bundle_dir):
    path = tmp_path / "t.txt"
    path.write_bytes("fine\nthe café is late\n".encode("cp1252"))
    refused = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, path)
    assert (refused.code, refused.out) == (3, "")
    assert "reads 'café' there: give --encoding cp1252" in refused.err
    done = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, path, "--encoding", "cp1252")
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["fine", "the café is late"]


@pytest.mark.fault("L4")
def test_another_encoding_than_the_file_seems_to_have_is_obeyed_with_a_warning(run_app, tmp_path, tiny_fp32_bundle_dir):
    path = tmp_path / "t.txt"
    path.write_text("café\n", "utf-8")
    done = run_app("crosstune-export", "classify", tiny_fp32_bundle_dir, path, "--encoding", "cp1252")
    assert json.loads(done.out)["text"] == "cafÃ©"
    assert done.err.startswith(f"warning: {path}: looks like UTF-8, read as cp1252 because --encoding says so.\n")
