"""Bundles that the C++ runtime must refuse, and what it says."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil

import onnx
import pytest

from crosstune_export.manifest import SIZE_LIMITS
from tests.edited_bundle import drop, edited, put, signed, with_digest
from tests.runtime_cpp.c_library import CallError

AGAIN = "Build the bundle again."
COPY = "Copy or build the bundle again."


def refusal(library, path) -> str:
    with pytest.raises(CallError) as caught:
        library.load(path)
    assert caught.value.status == 5
    return str(caught.value)


@pytest.fixture
def bundle(tiny_fp32_bundle_dir, tmp_path):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


def test_no_bundle(library, tmp_path):
    (tmp_path / "file").touch()
    assert refusal(library, tmp_path / "none") == (
        f"{tmp_path}/none: found nothing, expected a bundle folder. Build one with crosstune-export build."
    )
    assert refusal(library, tmp_path / "file") == (
        f"{tmp_path}/file: no manifest.json at its place, expected what crosstune-export pack writes. "
        "Copy or pack the bundle again."
    )


@pytest.mark.parametrize("name", SIZE_LIMITS)
def test_a_missing_file(library, bundle, name):
    (bundle / name).unlink()
    assert refusal(library, bundle) == f"{bundle}/{name}: missing, expected in every bundle. {COPY}"


def test_a_foreign_file(library, bundle):
    (bundle / "model.onnx.data").touch()
    assert refusal(library, bundle) == (
        f"{bundle}/model.onnx.data: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, "
        "tokenizer.json. Remove it or build the bundle again."
    )


@pytest.mark.fault("G5")
@pytest.mark.parametrize("name", SIZE_LIMITS)
def test_a_link_a_pipe_or_a_folder_in_the_place_of_a_file(library, bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    assert refusal(library, bundle) == (
        f"{bundle}/{name}: cannot be opened ({os.strerror(errno.ELOOP)}), expected a regular file. {COPY}"
    )
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    assert refusal(library, bundle) == f"{bundle}/{name}: not a regular file. {COPY}"
    (bundle / name).unlink()
    (bundle / name).mkdir()
    assert refusal(library, bundle) == f"{bundle}/{name}: not a regular file. {COPY}"


@pytest.mark.fault("G6")
def test_a_manifest_that_is_too_large_is_not_read(library, bundle):
    size = SIZE_LIMITS["manifest.json"] + 1
    os.truncate(bundle / "manifest.json", size)
    assert refusal(library, bundle) == f"{bundle}/manifest.json: {size} bytes, expected at most {size - 1}. {AGAIN}"


@pytest.mark.fault("G1", "G2")
@pytest.mark.slow
def test_any_change_of_any_byte_is_refused(library, bundle):
    """Bits flipped, ends cut or added, in every file; each names the file and is refused before anything parses it."""
    source = random.Random(2)
    for name in SIZE_LIMITS:
        path = bundle / name
        whole = path.read_bytes()
        for _ in range(150):
            kind = source.randrange(4)
            if kind < 2:
                at = source.randrange(len(whole))
                changed = whole[:at] + bytes([whole[at] ^ 1 << source.randrange(8)]) + whole[at + 1 :]
            else:
                changed = whole[: source.randrange(len(whole))] if kind == 2 else whole + source.randbytes(3)
            path.write_bytes(changed)
            message = refusal(library, bundle)
            assert message.startswith(f"{path}: ")
            assert message.endswith(COPY)
        path.write_bytes(whole)
    library.load(bundle)


def test_hashes_and_sizes_are_checked(library, bundle):
    data = (bundle / "README.md").read_bytes()
    (bundle / "README.md").write_bytes(data + b" ")
    assert refusal(library, bundle) == f"{bundle}/README.md: {len(data) + 1} bytes, expected {len(data)}. {COPY}"
    (bundle / "README.md").write_bytes(data[:-1] + b"~")
    assert refusal(library, bundle).startswith(f"{bundle}/README.md: sha256 ")
    (bundle / "README.md").write_bytes(data)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json").write_bytes(manifest.replace(b'"opset"', b'"Opset"'))
    assert refusal(library, bundle) == (
        f"{bundle}/manifest.json: the digest does not match the bytes, expected them as they were built. {COPY}"
    )


ONE_LABEL = [{"name": "a", "descriptions": ["a"]}]
LENGTH = "tokens.max_length_tokens"
OF_LENGTH = f"expected an integer from 8 to 1048576. {AGAIN}"
OF_CARD = f"expected an integer from 0 to 1048576. {AGAIN}"
INPUTS = f"expected input_ids, attention_mask and at most token_type_ids. {AGAIN}"
FILE_SETTING = "graph.session_config.session.optimized_model_filepath is a setting about files, expected only settings that touch none"
NO_SCOPE = f"expected null, as the graph gives no scope. {AGAIN}"


def without_scope(body):
    body["graph"]["outputs"] = ["probs", "text_vector"]
    body["decision"]["scope_threshold"] = 0.5


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put("format", "other"), 'format is "other", expected "crosstune-bundle". Give a folder that crosstune-export built.'),
        (put("format_version", "2.0"), "bundle format 2.0, this library knows 1. Upgrade libcrosstune."),
        (put("format_version", "10.0"), "bundle format 10.0, this library knows 1. Upgrade libcrosstune."),
        (put("labels", 3), f"labels is 3, expected an array. {AGAIN}"),
        (put("labels", ONE_LABEL), f"labels is an array of 1, expected an array of at least 2 labels. {AGAIN}"),
        (put("labels", 1, 5), f"labels[1] is 5, expected an object. {AGAIN}"),
        (put("labels", 1, "name", "shipping"), f"labels is a list with one name twice, expected distinct names. {AGAIN}"),
        (put("labels", 0, "name", "a\0b"), f'labels[0].name is "a\\u0000b", expected a name without NUL. {AGAIN}'),
        (put("labels", 0, "descriptions", []), f"labels[0].descriptions is empty, expected at least one sentence. {AGAIN}"),
        (drop("tokens", "suffix_ids"), f"tokens.suffix_ids is nothing, expected an array. {AGAIN}"),
        (put("tokens", "prefix_ids", [-1]), f"tokens.prefix_ids is an array with -1, expected an array of ids. {AGAIN}"),
        (put("tokens", "max_length_tokens", 7), f"{LENGTH} is 7, {OF_LENGTH}"),
        (put("tokens", "max_length_tokens", 1e9), f"{LENGTH} is 1000000000.0, {OF_LENGTH}"),
        (put("tokens", "prefix_ids", [1] * 70), f"{LENGTH} is 64, expected more than the 72 special ids. {AGAIN}"),
        (put("text_pair", 0), f"text_pair is 0, expected true or false. {AGAIN}"),
        (put("graph", "inputs", ["ids"]), f"graph.inputs is something else, {INPUTS}"),
        (put("graph", "outputs", ["probs"]), f"graph.outputs is something else, expected probs, text_vector and at most scope. {AGAIN}"),
        (put("graph", "precision", "fp8"), f'graph.precision is "fp8", expected fp32 or int8. {AGAIN}'),
        (put("graph", "session_config", {"a": 1}), f"graph.session_config.a is 1, expected a string. {AGAIN}"),
        (put("graph", "session_config", {"session.optimized_model_filepath": "x"}), f"{FILE_SETTING}. {AGAIN}"),
        (put("graph", "session_config", []), f"graph.session_config is an array, expected an object. {AGAIN}"),
        (put("decision", "threshold", 1.5), f"decision.threshold is 1.5, expected a probability or null. {AGAIN}"),
        (put("decision", "threshold", "x"), f'decision.threshold is "x", expected a probability or null. {AGAIN}'),
        (without_scope, f"decision.scope_threshold is a number, {NO_SCOPE}"),
        (drop("files", "README.md"), f"files is 3 files, expected the four other files. {AGAIN}"),
        (put("files", "model.onnx", "sha256", "ab"), f'files.model.onnx.sha256 is "ab", expected 64 lowercase hexadecimal digits. {AGAIN}'),
        (put("files", "README.md", "size_bytes", 1 << 21), f"files.README.md.size_bytes is 2097152, {OF_CARD}"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_bad_field(library, tiny_fp32_bundle_dir, tmp_path, edit, message):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    assert refusal(library, path) == f"{path}/manifest.json: {message}"


@pytest.mark.parametrize(
    "edit", [put("format_version", "1.7"), put("new_field", {"a": [1]}), drop("name"), put("tokens", "x", 1)]
)
def test_what_a_newer_minor_version_adds_is_ignored(library, tiny_fp32_bundle_dir, tmp_path, edit):
    library.load(edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)).classify(b"hello")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"a": 1, "a": 2}', 'key "a" twice'),
        (b'"a": NaN}', "byte N does not belong there"),
        (b'"a": 1e999}', "byte N does not belong there"),
        (b'"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper than 64"),
        (b'"a": "\xff"}', "byte N does not belong there"),
        (b'"a": 1} x', "byte N does not belong there"),
        (b"", "byte N does not belong there"),
    ],
)
def test_a_manifest_that_is_not_strict_json(library, bundle, body, reason):
    data = b'{\n  "digest": "' + b"0" * 64 + b'", ' + body
    (bundle / "manifest.json").write_bytes(with_digest(data))
    found = re.sub(r"byte \d+", "byte N", refusal(library, bundle))  # the parser counts
    assert found == f"{bundle}/manifest.json: not valid JSON ({reason}). {AGAIN}"


def test_a_graph_with_other_inputs_than_the_manifest_says(library, tiny_fp32_bundle_dir, tmp_path):
    edit = put("graph", "inputs", ["input_ids", "attention_mask", "token_type_ids"])
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    assert refusal(library, path) == (
        f"{path}: the graph has inputs ['input_ids', 'attention_mask'] and outputs ['probs', 'text_vector', 'scope'] unlike "
        "the manifest, expected only what a build writes. Do not use it; build the bundle again."
    )


def test_a_graph_that_onnxruntime_refuses(library, tiny_fp32_bundle_dir, tmp_path):
    model = onnx.load(tiny_fp32_bundle_dir / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Add", ["nowhere", "probs"], ["x"]))
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"model.onnx": model.SerializeToString()})
    message = refusal(library, path)
    assert message.startswith(f"{path}: onnxruntime refuses the graph (")
    assert message.endswith(f"). {AGAIN}")
    assert "\n" not in message


@pytest.mark.fault("G9")
def test_a_graph_for_a_newer_onnxruntime(library, tiny_fp32_bundle_dir, tmp_path):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "min_onnxruntime", "99.1"))
    message = refusal(library, path)
    assert message.startswith(f"{path}: needs onnxruntime >= 99.1 (opset 18), found 1.")
    assert message.endswith(". Install a newer onnxruntime.")


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'{"tolerance": "x", "samples": []}', b'{"tolerance": 1, "samples": [{}]}', b"no"]
)
def test_a_selftest_that_is_not_one(library, tiny_fp32_bundle_dir, tmp_path, content):
    loaded = library.load(edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": content}))
    with pytest.raises(CallError) as caught:
        loaded.selftest()
    assert caught.value.status == 5
    assert str(caught.value).endswith(AGAIN)


def test_the_digest_is_the_manifests(library, tiny_fp32_bundle_dir):
    body = json.loads((tiny_fp32_bundle_dir / "manifest.json").read_bytes())
    loaded = library.load(tiny_fp32_bundle_dir)
    assert library.digest(loaded.handle).decode() == body["digest"]
    assert json.loads(signed(body))["digest"] == body["digest"]
