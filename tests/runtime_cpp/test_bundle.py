"""Bundles that the C++ runtime refuses, with the whole message."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.fixtures.c_library import CallError
from tests.fixtures.edited_bundle import drop, edited, put, signed, with_digest

AGAIN = "Build the bundle again."


def refusal(library, path) -> str:
    with pytest.raises(CallError) as caught:
        library.load(path)
    assert caught.value.status == 5
    return str(caught.value)


@pytest.fixture
def bundle(tiny_fp32_bundle_dir, tmp_path):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


ONE_LABEL = [{"name": "a", "descriptions": ["a"]}]
LENGTH = "tokens.max_length_tokens"
OF_LENGTH = f"expected an integer from 8 to 1048576. {AGAIN}"
OF_CARD = f"expected an integer from 0 to 1048576. {AGAIN}"
INPUTS = f"expected input_ids, attention_mask and optionally token_type_ids. {AGAIN}"
NO_SCOPE = f"expected null where the graph has no output scope. {AGAIN}"


def without_scope(body):
    body["graph"]["outputs"] = ["probs", "text_vector"]
    body["decision"]["scope_threshold"] = 0.5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("format", "other"), 'format is "other", expected "crosstune-bundle". Give a folder that crosstune-export built.'),
        (put("format_version", "2.0"), "bundle format 2.0, this library knows 1. Upgrade libcrosstune."),
        (put("format_version", "10.0"), "bundle format 10.0, this library knows 1. Upgrade libcrosstune."),
        (put("format_version", "1"), f'format_version is "1", expected a string "major.minor". {AGAIN}'),
        (put("labels", 3), f"labels is 3, expected an array. {AGAIN}"),
        (put("labels", ONE_LABEL), f"labels is an array of 1, expected an array of at least 2 labels. {AGAIN}"),
        (put("labels", 1, 5), f"labels[1] is 5, expected an object. {AGAIN}"),
        (put("labels", 1, "name", "shipping"), f"labels is a list with a duplicate name, expected distinct names. {AGAIN}"),
        (put("labels", 0, "name", "a\0b"), f'labels[0].name is "a\\u0000b", expected a name without NUL. {AGAIN}'),
        (put("labels", 0, "descriptions", []), f"labels[0].descriptions is empty, expected at least one sentence. {AGAIN}"),
        (drop("tokens", "suffix_ids"), f"tokens.suffix_ids is nothing, expected an array. {AGAIN}"),
        (put("tokens", "prefix_ids", [-1]), f"tokens.prefix_ids is an array with -1, expected an array of ids. {AGAIN}"),
        (put("tokens", "max_length_tokens", 7), f"{LENGTH} is 7, {OF_LENGTH}"),
        (put("tokens", "max_length_tokens", 1e9), f"{LENGTH} is 1000000000.0, {OF_LENGTH}"),
        (put("tokens", "prefix_ids", [1] * 70), f"{LENGTH} is 64, expected more than the 72 special ids. {AGAIN}"),
        (put("text_pair", 0), f"text_pair is 0, expected true or false. {AGAIN}"),
        (put("graph", "inputs", ["ids"]), f"graph.inputs is something else, {INPUTS}"),
        (put("graph", "outputs", ["probs"]), f"graph.outputs is something else, expected probs, text_vector and optionally scope. {AGAIN}"),
        (put("graph", "precision", "fp8"), f'graph.precision is "fp8", expected fp32 or fp16 or int8. {AGAIN}'),
        (put("decision", "threshold", 1.5), f"decision.threshold is 1.5, expected a number from 0 to 1 or null. {AGAIN}"),
        (put("decision", "threshold", "x"), f'decision.threshold is "x", expected a number from 0 to 1 or null. {AGAIN}'),
        (without_scope, f"decision.scope_threshold is 0.5, {NO_SCOPE}"),
        (drop("files", "README.md"), f"files is 3 files, expected the other four files. {AGAIN}"),
        (put("files", "model.onnx", "sha256", "ab"), f'files.model.onnx.sha256 is "ab", expected 64 lowercase hexadecimal digits. {AGAIN}'),
        (put("files", "README.md", "size_bytes", 1 << 21), f"files.README.md.size_bytes is 2097152, {OF_CARD}"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_bad_field(library, tiny_fp32_bundle_dir, tmp_path, edit, message):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    assert refusal(library, path) == f"{path}/manifest.json: {message}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"a": 1, "a": 2}', 'key "a" twice'),
        (b'"a": NaN}', "syntax error at byte N"),
        (b'"a": 1e999}', "syntax error at byte N"),
        (b'"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 64 levels"),
        (b'"a": "\xff"}', "syntax error at byte N"),
        (b'"a": 1} x', "syntax error at byte N"),
        (b'"a": 1}\0', "syntax error at byte N"),
        (b"", "syntax error at byte N"),
    ],
)
def test_a_manifest_that_is_not_strict_json(library, bundle, body, reason):
    data = b'{\n  "digest": "' + b"0" * 64 + b'", ' + body
    (bundle / "manifest.json").write_bytes(with_digest(data))
    message = re.sub(r"byte \d+", "byte N", refusal(library, bundle))
    assert message == f"{bundle}/manifest.json: not valid JSON ({reason}). {AGAIN}"


@pytest.mark.fault("G9")
def test_a_graph_for_a_newer_onnxruntime(library, tiny_fp32_bundle_dir, tmp_path):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "min_onnxruntime", "99.1"))
    message = refusal(library, path)
    assert message.startswith(f"{path}: needs onnxruntime >= 99.1 (opset 18), found 1.")
    assert message.endswith(". Install a newer onnxruntime.")


def test_digest_is_that_of_the_manifest(library, tiny_fp32_bundle_dir):
    body = json.loads((tiny_fp32_bundle_dir / "manifest.json").read_bytes())
    loaded = library.load(tiny_fp32_bundle_dir)
    assert library.digest(loaded.handle).decode() == body["digest"]
    assert json.loads(signed(body))["digest"] == body["digest"]


@pytest.mark.fault("L19")
def test_only_the_bundle_of_the_digest_that_is_asked_for(library, run, bundle):
    digest = json.loads((bundle / "manifest.json").read_bytes())["digest"]
    other = "0" * 64
    message = f"{bundle}: digest {digest}, expected {other}. Get the bundle of that digest, or check where the digest is from."
    assert library.load(bundle, digest=digest).labels
    with pytest.raises(CallError) as caught:
        library.load(bundle, digest=other)
    assert (caught.value.status, str(caught.value)) == (5, message)
    code, out, err = run(bundle, "--digest", digest, stdin=b"a box")
    assert (code, json.loads(out)["text"], err) == (0, "a box", "")
    assert run(bundle, "--digest", other, stdin=b"a box") == (5, "", f"error: {message}\n")


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64])
def test_what_is_no_digest_is_a_usage_error(run, bundle, digest):
    expected = f"error: digest: found '{digest}', expected 64 digits from 0 to f.\n"
    assert run(bundle, "--digest", digest, stdin=b"a box") == (2, "", expected)
