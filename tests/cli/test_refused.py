"""Checkpoints and bundles that are not as they were written: exit code 5, the file named, before anything reads it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
import safetensors.numpy

from crosstune_export.bundle.manifest import digest_of
from tests.cli.conftest import Outcome

CHECKPOINT_FILES = ("SHA256SUMS", "checkpoint.json", "examples.jsonl", "head.safetensors")
BUNDLE_FILES = ("README.md", "manifest.json", "model.onnx", "selftest.json", "tokenizer.json")
AGAIN = "Copy it again, or train again."
BUILD = "Copy or build the bundle again."


@pytest.fixture
def checkpoint(tmp_path, tiny_checkpoint_dir):
    return shutil.copytree(tiny_checkpoint_dir, tmp_path / "a.ckpt")


@pytest.fixture
def bundle(tmp_path, tiny_fp32_bundle_dir):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "a.bundle")


@pytest.fixture
def refused_checkpoint(run_app, task, checkpoint):
    """The common error message of evaluate and build."""

    def call() -> str:
        evaluated = run_app("crosstune", "evaluate", checkpoint, "--data", task.test)
        built = run_app("crosstune-export", "build", checkpoint, "--output", task.out / "b.bundle")
        assert evaluated == built
        assert (built.code, built.out) == (5, "")
        assert list(task.out.iterdir()) == []
        return built.err

    return call


@pytest.fixture
def refused_bundle(run_app, task, bundle):
    """The common error message of all commands that read a bundle."""

    def call() -> str:
        found = {
            run_app("crosstune-export", "classify", bundle, task.train, "--output", task.out / "a.jsonl"),
            run_app("crosstune-export", "verify", bundle),
            run_app("crosstune-export", "inspect", bundle),
            run_app("crosstune-export", "bench", bundle),
        }
        assert len(found) == 1
        result = found.pop()
        assert (result.code, result.out) == (5, "")
        assert list(task.out.iterdir()) == []
        return result.err

    return call


def flip(path, position: int = -2) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_file_of_the_checkpoint_is_missing(refused_checkpoint, checkpoint, name):
    (checkpoint / name).unlink()
    assert refused_checkpoint() == f"error: {checkpoint / name}: missing, expected in every checkpoint. {AGAIN}\n"


def test_a_foreign_file_in_a_checkpoint(refused_checkpoint, checkpoint):
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert refused_checkpoint() == (
        f"error: {checkpoint / 'pytorch_model.bin'}: a foreign file, expected only {', '.join(CHECKPOINT_FILES)}. "
        "Remove it, or train again.\n"
    )


@pytest.mark.parametrize(
    "change",
    [flip, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b"")],
    ids=["flipped", "truncated", "emptied"],
)
@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_changed_file_of_the_checkpoint(refused_checkpoint, checkpoint, name, change):
    change(checkpoint / name)
    what = "changed since it was written" if name == "SHA256SUMS" else "changed since it was written (sha256)"
    assert refused_checkpoint() == f"error: {checkpoint / name}: {what}. {AGAIN}\n"


@pytest.mark.parametrize(("there", "found"), [(False, "nothing"), (True, "a file")])
def test_no_checkpoint_folder(refused_checkpoint, checkpoint, there, found):
    shutil.rmtree(checkpoint)
    if there:
        checkpoint.write_bytes(b"")
    assert refused_checkpoint() == (
        f"error: {checkpoint}: found {found}, expected a checkpoint folder. Make one with crosstune train.\n"
    )


def rewrite(checkpoint, name, data: bytes) -> None:
    """Change a file together with its hash, as an attacker would."""
    (checkpoint / name).write_bytes(data)
    sums = {
        file: hashlib.sha256((checkpoint / file).read_bytes()).hexdigest()
        for file in CHECKPOINT_FILES
        if file != "SHA256SUMS"
    }
    (checkpoint / "SHA256SUMS").write_text("".join(f"{digest}  {file}\n" for file, digest in sums.items()), "ascii")


@pytest.mark.fault("F6")
def test_a_checkpoint_of_a_newer_format(refused_checkpoint, checkpoint):
    state = json.loads((checkpoint / "checkpoint.json").read_text("utf-8"))
    rewrite(checkpoint, "checkpoint.json", json.dumps(state | {"format_version": 3}).encode())
    assert refused_checkpoint() == (
        f"error: {checkpoint / 'checkpoint.json'}: format crosstune-checkpoint 3, this reader knows "
        "crosstune-checkpoint 2. Upgrade crosstune-export.\n"
    )


def test_a_checkpoint_without_a_field(refused_checkpoint, checkpoint):
    state = json.loads((checkpoint / "checkpoint.json").read_text("utf-8"))
    del state["tokens"]
    rewrite(checkpoint, "checkpoint.json", json.dumps(state).encode())
    assert refused_checkpoint() == (
        f"error: {checkpoint / 'checkpoint.json'}: not a usable checkpoint (KeyError('tokens')). Train again.\n"
    )


@pytest.mark.fault("F2")
def test_a_pickle_in_place_of_tensors(refused_checkpoint, checkpoint):
    rewrite(checkpoint, "head.safetensors", b"\x80\x04}q\x00.")
    error = refused_checkpoint()
    assert error.startswith(f"error: {checkpoint / 'head.safetensors'}: not safetensors (")
    assert error.endswith("). Train again.\n")


@pytest.mark.fault("F5")
def test_tensors_that_are_not_finite(refused_checkpoint, checkpoint):
    tensors = safetensors.numpy.load((checkpoint / "head.safetensors").read_bytes())
    tensors = {name: value.copy() for name, value in tensors.items()}
    tensors["label_keys"][0, :3] = float("nan")
    rewrite(checkpoint, "head.safetensors", safetensors.numpy.save(tensors))
    assert refused_checkpoint() == (
        f"error: {checkpoint / 'head.safetensors'}: tensor label_keys has 3 values that are not finite. Train again.\n"
    )


@pytest.mark.fault("F4")
def test_tensors_of_another_shape(refused_checkpoint, checkpoint):
    tensors = safetensors.numpy.load((checkpoint / "head.safetensors").read_bytes())
    tensors["label_bias"] = tensors["label_bias"][:2].copy()
    rewrite(checkpoint, "head.safetensors", safetensors.numpy.save(tensors))
    assert refused_checkpoint() == (
        f"error: {checkpoint / 'head.safetensors'}: tensor label_bias is torch.float32 (2,), "
        "expected torch.float32 (3,). Train again.\n"
    )


@pytest.mark.fault("G3")
@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_file_of_the_bundle_is_missing(refused_bundle, bundle, name):
    (bundle / name).unlink()
    expected = (
        f"{bundle}: no manifest.json, expected a bundle folder. Build one with crosstune-export build."
        if name == "manifest.json"
        else f"{bundle / name}: missing, expected in every bundle. {BUILD}"
    )
    assert refused_bundle() == f"error: {expected}\n"


@pytest.mark.fault("G3")
def test_a_foreign_file_in_a_bundle(refused_bundle, bundle):
    (bundle / "weights.bin").write_bytes(b"")
    assert refused_bundle() == (
        f"error: {bundle / 'weights.bin'}: a foreign file, expected only {', '.join(BUNDLE_FILES)}. "
        "Remove it or build the bundle again.\n"
    )


@pytest.mark.fault("G1")
@pytest.mark.parametrize("name", [name for name in BUNDLE_FILES if name != "manifest.json"])
def test_a_flipped_bit_in_a_bundle(refused_bundle, bundle, name):
    expected = json.loads((bundle / "manifest.json").read_text("ascii"))["files"][name]["sha256"]
    flip(bundle / name)
    found = hashlib.sha256((bundle / name).read_bytes()).hexdigest()
    assert refused_bundle() == f"error: {bundle / name}: sha256 {found[:12]}…, expected {expected[:12]}…. {BUILD}\n"


@pytest.mark.fault("G2")
@pytest.mark.parametrize("name", [name for name in BUNDLE_FILES if name != "manifest.json"])
@pytest.mark.parametrize("size", [0, -1, 1], ids=["emptied", "truncated", "longer"])
def test_a_file_of_another_size_in_a_bundle(refused_bundle, bundle, name, size):
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data + b"\n" if size == 1 else data[:size])
    found = (bundle / name).stat().st_size
    assert found != len(data)
    assert refused_bundle() == f"error: {bundle / name}: {found} bytes, expected {len(data)}. {BUILD}\n"


@pytest.mark.parametrize("position", [0, 20, 100, -3], ids=["start", "digest", "body", "end"])
def test_a_flipped_bit_in_the_manifest(refused_bundle, bundle, position):
    flip(bundle / "manifest.json", position)
    assert refused_bundle() == (
        f"error: {bundle / 'manifest.json'}: the digest does not match the contents, expected the file as it was built. {BUILD}\n"
    )


def sign(bundle, body: bytes) -> None:
    """Write a manifest with the digest that goes with it."""
    assert body.startswith(b'{\n  "digest": "')
    start = len(b'{\n  "digest": "')
    (bundle / "manifest.json").write_bytes(body[:start] + digest_of(body).encode("ascii") + body[start + 64 :])


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b'"format_version": "1.4"',
            b'"format_version": "2.0"',
            "bundle format 2.0, this reader knows 1.4. Upgrade crosstune-export.",
        ),
        (
            b'"format": "crosstune-bundle"',
            b'"format": "other"',
            "format is 'other', expected 'crosstune-bundle'. Give a folder that crosstune-export built.",
        ),
        (
            b'"max_length_tokens": 64',
            b'"max_length_tokens": "64"',
            "tokens.max_length_tokens is '64', expected an integer from 8 to 1048576. Build the bundle again.",
        ),
        (
            b'"threshold": null',
            b'"threshold": 1.5',
            "decision.threshold is 1.5, expected a number from 0 to 1 or null. Build the bundle again.",
        ),
        (
            b'"name": "billing"',
            b'"name": "shipping"',
            "labels is a list with a duplicate name, expected distinct names. Build the bundle again.",
        ),
    ],
    ids=["newer format", "another format", "wrong type", "out of range", "a name twice"],
)
def test_a_manifest_that_cannot_be_used(refused_bundle, bundle, old, new, message):
    body = (bundle / "manifest.json").read_bytes()
    assert old in body
    sign(bundle, body.replace(old, new))
    assert refused_bundle() == f"error: {bundle / 'manifest.json'}: {message}\n"


@pytest.mark.fault("G10")
def test_a_newer_minor_format_with_unknown_fields_is_read(run_app, bundle):
    body = (bundle / "manifest.json").read_bytes()
    body = body.replace(b'"format_version": "1.4"', b'"format_version": "1.9",\n  "from_the_future": 1')
    sign(bundle, body)
    result = run_app("crosstune-export", "verify", bundle)
    assert (result.code, result.err) == (0, "")


@pytest.mark.fault("G9")
def test_a_graph_that_needs_a_newer_onnxruntime(run_app, task, bundle):
    import onnxruntime

    body = (bundle / "manifest.json").read_bytes()
    found = json.loads(body)["graph"]
    assert f'"min_onnxruntime": "{found["min_onnxruntime"]}"'.encode() in body
    sign(bundle, body.replace(f'"{found["min_onnxruntime"]}"'.encode(), b'"99.1.0"'))
    assert run_app("crosstune-export", "classify", bundle, task.train) == Outcome(
        5,
        "",
        f"error: {bundle}: needs onnxruntime >= 99.1.0 (opset {found['opset']}), found {onnxruntime.__version__}. "
        "Run: pip install 'onnxruntime>=99.1.0'\n",
    )


@pytest.mark.fault("G5")
@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_a_link_in_place_of_a_file(refused_bundle, bundle, tmp_path, name):
    shutil.move(bundle / name, tmp_path / name)
    (bundle / name).symlink_to(tmp_path / name)
    reason = os.strerror(40 if os.uname().sysname == "Linux" else 62)  # ELOOP
    assert refused_bundle() == (
        f"error: {bundle / name}: cannot be opened ({reason}), expected a regular file. {BUILD}\n"
    )


def test_no_bundle_folder(refused_bundle, bundle):
    shutil.rmtree(bundle)
    assert refused_bundle() == (
        f"error: {bundle}: found nothing, expected a bundle folder. Build one with crosstune-export build.\n"
    )
    bundle.write_bytes(b"")
    assert refused_bundle() == (
        f"error: {bundle}: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. "
        "Copy or pack the bundle again.\n"
    )
