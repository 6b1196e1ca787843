from __future__ import annotations

import os
import random
import shutil

import pytest

from crosstune_export import BundleIntegrityError, Classifier
from crosstune_export.manifest import SIZE_LIMITS
from crosstune_export.runtime.bundle_files import read_bundle

FILES = sorted(SIZE_LIMITS)


@pytest.fixture
def bundle(tmp_path, tiny_bundle_dir):
    return shutil.copytree(tiny_bundle_dir, tmp_path / "copy.bundle")


@pytest.fixture(autouse=True)
def unseen_by_onnxruntime(monkeypatch):
    """No bad byte may reach onnxruntime: building a session fails the test."""
    import onnxruntime

    def refuse(*args, **kwargs):
        raise AssertionError("onnxruntime saw a bundle that must be refused")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)


def refused(path, message=None):
    with pytest.raises(BundleIntegrityError) as caught:
        Classifier.load(path)
    assert caught.value.exit_code == 5
    if message is not None:
        assert str(caught.value) == message


def test_good_bundle_reads(bundle):
    files = read_bundle(bundle)
    assert files.model == (bundle / "model.onnx").read_bytes()
    assert files.size_bytes == sum((bundle / name).stat().st_size for name in FILES if name != "manifest.json")


def test_no_folder(tmp_path):
    path = tmp_path / "none.bundle"
    refused(path, f"{path}: found nothing, expected a bundle folder. Build one with crosstune-export build.")
    path.write_text("x")
    refused(path, f"{path}: found a file, expected a bundle folder. Build one with crosstune-export build.")
    path.unlink()
    path.mkdir()
    refused(path, f"{path}: no manifest.json, expected a bundle folder. Build one with crosstune-export build.")


@pytest.mark.parametrize("name", FILES)
def test_missing_file(bundle, name):
    (bundle / name).unlink()
    message = f"{bundle / name}: missing, expected in every bundle. Copy or build the bundle again."
    refused(bundle, message if name != "manifest.json" else None)


def test_foreign_file(bundle):
    (bundle / "model.onnx.data").write_bytes(b"x")
    refused(
        bundle,
        f"{bundle / 'model.onnx.data'}: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, "
        "tokenizer.json. Remove it or build the bundle again.",
    )


@pytest.mark.parametrize("name", FILES)
def test_truncated_file(bundle, name):
    data = (bundle / name).read_bytes()
    for length in (0, 1, len(data) // 2, len(data) - 1):
        (bundle / name).write_bytes(data[:length])
        refused(bundle)
    (bundle / name).write_bytes(data + b"\0")
    refused(bundle)


def test_truncated_message(bundle):
    data = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(data[:-1])
    refused(
        bundle,
        f"{bundle / 'model.onnx'}: {len(data) - 1} bytes, expected {len(data)}. Copy or build the bundle again.",
    )


@pytest.mark.parametrize("name", FILES)
def test_flipped_bit(bundle, name):
    data = (bundle / name).read_bytes()
    chance = random.Random(13)
    for position in {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(40))}:
        flipped = bytearray(data)
        flipped[position] ^= 1 << chance.randrange(8)
        (bundle / name).write_bytes(flipped)
        refused(bundle)


@pytest.mark.parametrize("name", [name for name in FILES if name != "README.md"])
def test_file_of_another_bundle(bundle, tiny_fp32_bundle_dir, name):
    if (bundle / name).read_bytes() == (tiny_fp32_bundle_dir / name).read_bytes():
        pytest.skip("both bundles share this file")
    shutil.copy(tiny_fp32_bundle_dir / name, bundle / name)
    refused(bundle)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_not_a_regular_file(bundle, tmp_path, name, kind):
    (bundle / name).rename(tmp_path / "aside")
    if kind == "link":
        (bundle / name).symlink_to(tmp_path / "aside")
    elif kind == "folder":
        (bundle / name).mkdir()
    else:
        os.mkfifo(bundle / name)
    refused(bundle)


def test_too_large(bundle):
    with (bundle / "README.md").open("r+b") as stream:
        stream.truncate(SIZE_LIMITS["README.md"] + 1)
    refused(
        bundle,
        f"{bundle / 'README.md'}: {SIZE_LIMITS['README.md'] + 1} bytes, expected at most {SIZE_LIMITS['README.md']}. "
        "Build the bundle again.",
    )
