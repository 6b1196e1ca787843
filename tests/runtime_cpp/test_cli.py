"""crosstune-classify: results, whole error messages, exit codes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess

import numpy as np
import pytest

from crosstune.rows.lines import NumberedLines
from crosstune_export import Classifier, __version__
from crosstune_export.bundle.packing import pack
from tests.fixtures.edited_bundle import edited
from tests.tolerances import CPP_TO_PYTHON

SEE = "See crosstune-classify --help."
SAVE = "Save the file as UTF-8, for example with: iconv -f cp1252 -t utf-8"


def test_json_lines(run, tiny_fp32_bundle_dir, tiny_other_texts):
    lines = "".join(json.dumps({"text": text, "more": 1}) + "\n\n" for text in tiny_other_texts)
    code, out, err = run("--input-format", "jsonl", tiny_fp32_bundle_dir, stdin=lines.encode())
    assert (code, err) == (0, "")
    python = Classifier.load(tiny_fp32_bundle_dir)
    answers = python.classify(list(tiny_other_texts), batch_size=1)
    for line, text, answer in zip(out.splitlines(), tiny_other_texts, answers, strict=True):
        row = json.loads(line)
        assert list(row) == ["text", "label", "prob", "probs", "truncated", "similarity"]
        assert (row["text"], row["label"], row["truncated"]) == (text, answer.label, answer.truncated)
        assert list(row["probs"]) == list(python.labels)
        assert np.abs(np.subtract(list(row["probs"].values()), answer.probs)).max() <= CPP_TO_PYTHON
        assert np.float32(row["prob"]) == np.float32(max(row["probs"].values()))


def test_onnxruntime_writes_no_telemetry(program, tiny_fp32_bundle_dir, tmp_path):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    command = [program, str(tiny_fp32_bundle_dir)]
    done = subprocess.run(
        command, input=b"a box\n", capture_output=True, check=True, env=environment | {"HOME": str(tmp_path)}
    )
    assert json.loads(done.stdout)["text"] == "a box"
    assert list(tmp_path.rglob("*")) == []


def test_lines_of_text(run, tiny_fp32_bundle_dir, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes('\ufeffwhere is my parcel\r\n\n \u00a0\n  "quoted" \\ caf\u00e9 \U0001f600\nlast'.encode())
    code, out, err = run(tiny_fp32_bundle_dir, file)
    assert (code, err) == (0, "")
    texts = [json.loads(line)["text"] for line in out.splitlines()]
    assert texts == ["where is my parcel", '  "quoted" \\ caf\u00e9 \U0001f600', "last"]


@pytest.mark.parametrize("data", [b"a\rb\r\nc\n\nd", b"a\r", b"\r\r\n\r", b"\xef\xbb\xbfa\r\xef\xbb\xbfb"])
def test_line_endings_are_those_of_python(run, tiny_fp32_bundle_dir, data):
    code, out, err = run(tiny_fp32_bundle_dir, stdin=data)
    assert (code, err) == (0, "")
    lines = [row.data.decode().rstrip("\r\n") for row in NumberedLines(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")))]
    assert [json.loads(line)["text"] for line in out.splitlines()] == [line for line in lines if line.strip()]


def test_pairs(run, tiny_pair_bundle_dir, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"text_pair": "the box", "text": "where is it"}) + "\n", "utf-8")
    code, out, err = run(tiny_pair_bundle_dir, file)
    row = json.loads(out)
    assert (code, err, list(row)) == (0, "", ["text", "text_pair", "label", "prob", "probs", "truncated", "similarity"])
    assert row["label"] == Classifier.load(tiny_pair_bundle_dir).classify([("where is it", "the box")])[0].label


def test_ids(run, tiny_fp32_bundle_dir, tiny_other_texts):
    code, out, err = run("--ids", tiny_fp32_bundle_dir, stdin="\n".join(tiny_other_texts).encode())
    assert (code, err) == (0, "")
    python = Classifier.load(tiny_fp32_bundle_dir)
    texts = [text for text in tiny_other_texts if text]
    for line, text in zip(out.splitlines(), texts, strict=True):
        ids = list(python.token_ids([text])[0])
        assert json.loads(line) == {"text": text, "input_ids": ids, "truncated": len(ids) == 64}


def test_lone_surrogates_become_ufffd(run, tiny_fp32_bundle_dir):
    line = rb'{"text": "a\ud800b\\ud800 \udc00\ud83d\ude00"}'
    code, out, err = run("--input-format", "jsonl", tiny_fp32_bundle_dir, stdin=line)
    assert (code, err, json.loads(out)["text"]) == (0, "", "a\ufffdb\\ud800 \ufffd\U0001f600")


def test_no_label_below_a_threshold(run, tiny_fp32_bundle_dir):
    code, out, _ = run("--threshold", "1", tiny_fp32_bundle_dir, stdin=b"where is my parcel")
    row = json.loads(out)
    assert (code, row["label"], row["prob"] > 0.3) == (0, None, True)


def test_selftest(run, tiny_fp32_bundle_dir, tmp_path):
    code, out, err = run("--selftest", tiny_fp32_bundle_dir)
    report = Classifier.load(tiny_fp32_bundle_dir).selftest()
    assert (code, err) == (0, "")
    assert out.startswith(
        f"self-test: {report.samples} samples, largest probability difference {report.max_difference:.1e} "
        f"(at most {report.tolerance:.0e}), onnxruntime 1."
    )
    body = json.loads((tiny_fp32_bundle_dir / "selftest.json").read_bytes())
    body["samples"][3]["truncated"] = not body["samples"][3]["truncated"]
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": json.dumps(body).encode()})
    code, out, err = run("--selftest", path)
    assert (code, out) == (6, "")
    assert err.startswith(f"error: self-test: 1 of {report.samples} samples with other ids, largest probability")


def test_help_and_version(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: crosstune-classify [OPTIONS] BUNDLE [FILE]\n")
    import tokenizers

    assert run("--version") == (0, f"crosstune-classify {__version__}, tokenizers {tokenizers.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), f"found 0 arguments, expected BUNDLE and optionally FILE. {SEE}"),
        (("a", "b", "c"), f"found 3 arguments, expected BUNDLE and optionally FILE. {SEE}"),
        (("--frobnicate", "a"), f"--frobnicate: no such option. {SEE}"),
        (("a", "--threshold"), f"--threshold: found nothing, expected a value. {SEE}"),
        (("a", "--threshold", "much"), f"--threshold: found 'much', expected a number. {SEE}"),
        (("a", "--input-format", "xml"), f"--input-format: found 'xml', expected auto, jsonl or text. {SEE}"),
        (("a", "--threads", "0"), "threads: found 0, expected 1 to 256."),
        (("a", "--threads", "4294967297"), f"--threads: found '4294967297', expected a number. {SEE}"),
        (("a", "--threads", "9" * 30), f"--threads: found '{'9' * 30}', expected a number. {SEE}"),
        (("a", "--threads", "1.5"), f"--threads: found '1.5', expected a number. {SEE}"),
    ],
)
def test_usage(run, arguments, message):
    assert run(*arguments) == (2, "", f"error: {message}\n")


def test_tables_are_refused(run, tiny_fp32_bundle_dir):
    assert run(tiny_fp32_bundle_dir, "x.CSV") == (
        2,
        "",
        "error: x.CSV: ending '.csv', expected .jsonl or .txt. "
        "Use crosstune-export classify, which reads such files, or convert it.\n",
    )


@pytest.mark.fault("L5")
@pytest.mark.parametrize("name", ["x.log", "x", "x.dat"])
def test_endings_that_nobody_knows_are_refused_and_the_advice_works(run, tiny_fp32_bundle_dir, tmp_path, name):
    (tmp_path / name).write_bytes(b"where is it\n")
    assert run(tiny_fp32_bundle_dir, tmp_path / name) == (
        2,
        "",
        f"error: {tmp_path / name}: unknown ending, expected .jsonl, .ndjson, .jsonlines or .txt. "
        "Name the format with --input-format jsonl or --input-format text.\n",
    )
    code, out, err = run(tiny_fp32_bundle_dir, tmp_path / name, "--input-format", "text")
    assert (code, err, json.loads(out)["text"]) == (0, "", "where is it")


@pytest.mark.fault("L5")
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b"where is it\n", mtime=0), "a gzip file, expected text. Run gunzip first."),
        (b"PK\x03\x04rest", "a zip archive or an Excel workbook, expected text. Save its texts as UTF-8."),
        (b"PAR1rest", "a Parquet file, expected text. Use crosstune-export classify, which reads Parquet."),
        ("where\n".encode("utf-16"), "UTF-16, expected UTF-8. Run: iconv -f utf-16 -t utf-8"),
    ],
)
def test_binary_files_are_named_by_their_first_bytes(run, tiny_fp32_bundle_dir, tmp_path, content, what):
    (tmp_path / "x.txt").write_bytes(content)
    assert run(tiny_fp32_bundle_dir, tmp_path / "x.txt") == (3, "", f"error: {tmp_path / 'x.txt'}: is {what}\n")


def test_no_onnxruntime(run, tiny_fp32_bundle_dir):
    code, out, err = run(tiny_fp32_bundle_dir, environment={"CROSSTUNE_ONNXRUNTIME": "no-such-library.so"})
    assert (code, out) == (2, "")
    assert err.startswith("error: onnxruntime: cannot open no-such-library.so, expected its shared library.")


def test_files_that_cannot_be_read(run, tiny_fp32_bundle_dir, tmp_path):
    for file in (tmp_path / "none.txt", tmp_path):
        assert run(tiny_fp32_bundle_dir, file) == (
            3,
            "",
            f"error: {file}: cannot be read, expected a file. Check the path.\n",
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.txt",
            b"good\nbad \xff\n",
            f"2: byte 0xff at offset 9 is not UTF-8. {SAVE}",
        ),
        ("x.jsonl", b'{"text": "a"', "1: not valid JSON (syntax error at byte 13). Correct the line."),
        (
            "x.jsonl",
            b'\n{"text": 1, "b": 2}',
            "2: text is not a string, expected a string. Remove the row or fill it in.",
        ),
        ("x.jsonl", b'{"text": null}', "1: text is null, expected a string. Remove the row or fill it in."),
        ("x.jsonl", b'{"b": 2}', "1: no field 'text', found \"b\". Give every row text."),
        (
            "x.jsonl",
            b'{"text": "\xc3\xa9\\u0000"}',
            "1: text has the control character U+0000 at position 1. Remove it.",
        ),
        ("x.txt", b"a\n\xc3\xa9b\xc2\x85\n", "2: text has the control character U+0085 at position 2. Remove it."),
        (
            "x.jsonl",
            b'{"text": "a"}\0{"text": "b"}',
            "1: not valid JSON (syntax error at byte 14). Correct the line.",
        ),
        (
            "x.jsonl",
            b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}',
            "2: not valid JSON (syntax error at byte 1). Correct the line.",
        ),
        (
            "x.txt",
            b"a\rb\r\n\xff",
            f"3: byte 0xff at offset 5 is not UTF-8. {SAVE}",
        ),
        ("x.jsonl", b"[1]", "1: no field 'text', found none. Give every row text."),
        ("x.jsonl", b'{"text": "a", "text": "b"}', '1: not valid JSON (key "text" twice). Correct the line.'),
    ],
)
def test_bad_rows(run, tiny_fp32_bundle_dir, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    code, _, err = run(tiny_fp32_bundle_dir, tmp_path / name)
    assert (code, err) == (3, f"error: {tmp_path / name}:{message}\n")


def test_pairs_need_json_lines(run, tiny_pair_bundle_dir):
    assert run(tiny_pair_bundle_dir, stdin=b"one") == (
        3,
        "",
        "error: standard input: lines of text, expected pairs. Use JSON Lines with the fields text and text_pair.\n",
    )


def test_a_missing_bundle(run, tmp_path):
    assert run(tmp_path / "none") == (
        5,
        "",
        f"error: {tmp_path}/none: found nothing, expected a bundle folder. Build one with crosstune-export build.\n",
    )


def test_a_packed_bundle(run, tiny_fp32_bundle_dir, tmp_path):
    pack(tiny_fp32_bundle_dir, tmp_path / "tiny.zip")
    whole = run(tiny_fp32_bundle_dir, stdin=b"where is my parcel\n")
    assert whole[0] == 0
    assert run(tmp_path / "tiny.zip", stdin=b"where is my parcel\n") == whole
    assert run("--selftest", tmp_path / "tiny.zip")[0] == 0
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert run(tmp_path / "x.zip") == (
        5, "",
        f"error: {tmp_path}/x.zip: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. "
        "Copy or pack the bundle again.\n",
    )  # fmt: skip


def test_a_closed_pipe_is_not_an_error(program, tiny_fp32_bundle_dir):
    texts = b"where is my parcel\n" * 3000
    with subprocess.Popen(
        [program, tiny_fp32_bundle_dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        try:
            process.stdin.write(texts)
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.stderr.read() == b""
    assert process.returncode == 0
