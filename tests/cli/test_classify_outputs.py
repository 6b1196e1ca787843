"""``crosstune-export classify``: options that exclude each other, and outputs that must not be replaced."""

from __future__ import annotations

import io

import pytest

from tests.cli.conftest import files_in


@pytest.fixture
def source(task):
    """A file of two texts."""
    path = task.folder / "t.jsonl"
    path.write_text('{"text": "where is it"}\n{"text": "thanks"}\n', "utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "xml"], "format: found 'xml', expected one of auto, jsonl, csv, tsv, parquet."),
        (["--resume"], "--resume: found standard output, expected a file. Give --output."),
        (["--format", "parquet"], "format: found parquet on standard output, expected a file. Give --output."),
        (["--output", "a.jsonl.gz"], "a.jsonl.gz: a compressed output, expected a plain one. Compress it afterwards."),
        (["--on-error", "record"], "--on-error record: found neither --output nor --bad-rows, expected one. Give --bad-rows."),
        (["--bad-rows", "b.jsonl"], "--bad-rows: found --on-error fail, expected record. Give --on-error record."),
        (["--threshold", "nan"], "threshold: found nan, expected a probability from 0 to 1."),
        (["--spreadsheet-safe"], "--spreadsheet-safe: found format jsonl, expected csv or tsv. Give --format csv."),
        (["--pretty", "--output", "a.jsonl"], "--pretty: cannot be combined with --output. Remove one of the two options."),
        (["--pretty", "--on-error", "skip"], "--pretty: cannot be combined with --on-error. Remove one of the two options."),
        (["--ray-address", "auto"], "--ray-address: found engine local, expected ray. Give --engine ray."),
        (["--engine", "ray"], "--engine ray: standard input cannot be read by other processes. Give files."),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(classify, monkeypatch, arguments, message):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    result = classify("-", *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")


def test_an_output_that_is_its_input(classify, task, source):
    before = source.read_bytes()
    result = classify(task.folder, "--output", source, "--force")
    assert (result.code, result.err) == (
        2, f"error: {source}: is both input and output. Choose another output file.\n",
    )  # fmt: skip
    assert source.read_bytes() == before


def test_bad_rows_that_would_replace_something_else(classify, task, source):
    out = task.out / "a.jsonl"
    before = source.read_bytes()
    result = classify(source, "--output", out, "--on-error", "record", "--bad-rows", source, "--force")
    assert (result.code, result.err) == (
        2, f"error: {source}: is both input and output. Choose another output file.\n",
    )  # fmt: skip
    assert source.read_bytes() == before
    result = classify(source, "--output", out, "--on-error", "record", "--bad-rows", out)
    assert (result.code, result.err) == (2, f"error: {out}: is --output and --bad-rows. Give each its own file.\n")


def test_an_output_that_is_a_folder(classify, task, source):
    result = classify(source, "--output", task.out, "--force")
    assert (result.code, result.err) == (
        2, f"error: {task.out}: is a folder, expected a file. Choose another output file.\n",
    )  # fmt: skip
    assert files_in(task.folder) == ["labels.json", "out", "t.jsonl", "test.jsonl", "train.jsonl"]


@pytest.mark.fault("I1")
def test_a_provider_that_is_not_there(classify, task):
    import onnxruntime

    (task.folder / "t.txt").write_bytes(b"where is it\n")
    available = onnxruntime.get_available_providers()
    assert "CUDAExecutionProvider" not in available
    result = classify(task.folder / "t.txt", "--provider", "cuda")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        f"error: providers: CUDAExecutionProvider is not in this onnxruntime, available: {', '.join(available)}. "
        "Install crosstune-export[gpu] for CUDA, or pass allow_fallback (--allow-fallback).\n",
    )
    fallen = classify(task.folder / "t.txt", "--provider", "cuda", "--allow-fallback")
    assert (fallen.code, fallen.err) == (0, "")
    assert fallen.out == classify(task.folder / "t.txt").out
