"""Bundles that the web runtime refuses, with the whole message."""

from __future__ import annotations

import shutil

import pytest

from tests.fixtures.edited_bundle import drop, edited, put, with_digest
from tests.fixtures.node_runtime import WebError

AGAIN = "Build the bundle again."


def refusal(runtime, source) -> tuple[str, str]:
    with pytest.raises(WebError) as caught:
        runtime.load(source)
    return caught.value.name, str(caught.value)


@pytest.fixture
def bundle(tiny_fp32_bundle_dir, tmp_path):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


ONE_LABEL = [{"name": "a", "descriptions": ["a"]}]
INPUTS = f"expected input_ids, attention_mask and optionally token_type_ids. {AGAIN}"
FIVE = '["README.md","model.onnx","selftest.json","tokenizer.json","x"]'
OF_CARD = f"expected an integer from 0 to 1048576. {AGAIN}"
LENGTH = "tokens.max_length_tokens"
OF_LENGTH = f"expected an integer from 8 to 1048576. {AGAIN}"


def without_scope(body):
    body["graph"]["outputs"] = ["probs", "text_vector"]
    body["decision"]["scope_threshold"] = 0.5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("format", "other"), 'format is "other", expected "crosstune-bundle". Give a folder that crosstune-export built.'),
        (put("format_version", "1"), f'format_version is "1", expected a string "major.minor". {AGAIN}'),
        (put("format_version", "2.0"), "bundle format 2.0, this reader knows 1. Upgrade crosstune-web."),
        (put("format_version", "10.0"), "bundle format 10.0, this reader knows 1. Upgrade crosstune-web."),
        (put("labels", 3), f"labels is 3, expected an array of objects. {AGAIN}"),
        (put("labels", ONE_LABEL), f"labels is an array of 1, expected an array of at least 2 labels. {AGAIN}"),
        (put("labels", 1, 5), f"labels is an array of 3, expected an array of objects. {AGAIN}"),
        (put("labels", 1, "name", "shipping"), f"labels is a list with a duplicate name, expected distinct names. {AGAIN}"),
        (put("labels", 0, "descriptions", []), f"labels[0].descriptions is empty, expected at least one sentence. {AGAIN}"),
        (drop("tokens", "suffix_ids"), f"tokens.suffix_ids is nothing, expected an array of ids. {AGAIN}"),
        (put("tokens", "prefix_ids", [-1]), f"tokens.prefix_ids is an array of 1, expected an array of ids. {AGAIN}"),
        (put("tokens", "max_length_tokens", 7), f"{LENGTH} is 7, {OF_LENGTH}"),
        (put("tokens", "max_length_tokens", 8.5), f"{LENGTH} is 8.5, {OF_LENGTH}"),
        (put("tokens", "prefix_ids", [1] * 70), f"{LENGTH} is 64, expected more than the 72 special ids. {AGAIN}"),
        (put("text_pair", 0), f"text_pair is 0, expected true or false. {AGAIN}"),
        (put("graph", "inputs", ["ids"]), f'graph.inputs is ["ids"], {INPUTS}'),
        (put("graph", "outputs", ["scope"]), f'graph.outputs is ["scope"], expected probs, text_vector and optionally scope. {AGAIN}'),
        (put("graph", "precision", "fp8"), f'graph.precision is "fp8", expected fp32 or fp16 or int8. {AGAIN}'),
        (put("decision", "threshold", 1.5), f"decision.threshold is 1.5, expected a number from 0 to 1 or null. {AGAIN}"),
        (put("decision", "threshold", "x"), f'decision.threshold is "x", expected a number from 0 to 1 or null. {AGAIN}'),
        (without_scope, f"decision.scope_threshold is 0.5, expected null where the graph has no output scope. {AGAIN}"),
        (put("files", "x", {}), f"files is {FIVE}, expected the other four files. {AGAIN}"),
        (put("files", "model.onnx", "sha256", "ab"), f'files.model.onnx.sha256 is "ab", expected 64 lowercase hexadecimal digits. {AGAIN}'),
        (put("files", "README.md", "size_bytes", 1 << 21), f"files.README.md.size_bytes is 2097152, {OF_CARD}"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_bad_field(runtime, tiny_fp32_bundle_dir, tmp_path, edit, message):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    name, text = refusal(runtime, path)
    assert text == f"{path}/manifest.json: {message}"
    assert name == ("BundleVersionError" if "Upgrade" in message else "BundleContentError")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"a": 1, "a": 2}', 'key "a" twice'),
        (b'"a": NaN}', "syntax error"),
        (b'"a": 1e999}', "number 1e999"),
        (b'"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper than 64 levels"),
        (b'"a": "\xff"}', "not UTF-8"),
        (b"", "syntax error"),
    ],
)
def test_a_manifest_that_is_not_strict_json(runtime, bundle, body, reason):
    (bundle / "manifest.json").write_bytes(with_digest(b'{\n  "digest": "' + b"0" * 64 + b'", ' + body))
    assert refusal(runtime, bundle)[1] == f"{bundle}/manifest.json: not valid JSON ({reason}). {AGAIN}"


def test_a_graph_for_a_newer_onnxruntime(runtime, tiny_fp32_bundle_dir, tmp_path):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "min_onnxruntime", "99.1"))
    name, message = refusal(runtime, path)
    assert name == "BundleVersionError"
    assert message.startswith(f"{path}/model.onnx: needs onnxruntime >= 99.1, found onnxruntime-web 1.")
    assert message.endswith(". Upgrade crosstune-web.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "samples is nothing, expected an array of objects."),
        (b"[]", "found an array of 0, expected an object."),
        (b'{"tolerance": "x", "samples": []}', 'tolerance is "x", expected a number from 0 to 0.0001.'),
        (b'{"tolerance": 1, "samples": [{}]}', "samples[0].text is nothing, expected a string."),
    ],
)
def test_an_invalid_selftest(runtime, tiny_fp32_bundle_dir, tmp_path, content, reason):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": content})
    loaded = runtime.load(path)
    with pytest.raises(WebError) as caught:
        loaded.selftest()
    assert caught.value.name == "BundleContentError"
    assert str(caught.value) == f"{path}/selftest.json: {reason} {AGAIN}"
