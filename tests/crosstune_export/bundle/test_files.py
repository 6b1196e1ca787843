from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest

from crosstune_export import BundleError, BundleIntegrityError, Classifier
from crosstune_export.bundle.files import read_bundle, read_manifest
from crosstune_export.bundle.manifest import SIZE_LIMITS
from crosstune_export.bundle.packing import pack
from crosstune_export.bundle.write import write_bundle

FILES = sorted(SIZE_LIMITS)


@pytest.fixture
def bundle(tmp_path, tiny_bundle_dir):
    return shutil.copytree(tiny_bundle_dir, tmp_path / "copy.bundle")


@pytest.fixture(autouse=True)
def unseen_by_parsers(monkeypatch):
    """No bad byte may reach onnxruntime or the tokenizers: whoever is asked to parse fails the test."""
    import onnxruntime

    from crosstune_export.runtime import tokenization

    class Refusing:
        @staticmethod
        def from_str(data):
            raise AssertionError("tokenizers saw a bundle")

    def refuse(*args, **kwargs):
        raise AssertionError("onnxruntime saw a bundle")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr(tokenization, "Tokenizer", Refusing)


def test_the_spies_see_a_good_bundle(bundle, monkeypatch):
    """Or the other tests here would prove nothing."""
    from tokenizers import Tokenizer

    from crosstune_export import BundleContentError
    from crosstune_export.runtime import tokenization

    with pytest.raises(BundleContentError, match=r"\(tokenizers saw a bundle\)"):
        Classifier.load(bundle)
    monkeypatch.setattr(tokenization, "Tokenizer", Tokenizer)
    with pytest.raises(BundleContentError, match=r"\(onnxruntime saw a bundle\)|\(.*onnxruntime saw a bundle.*\)"):
        Classifier.load(bundle)


def refused(path, message=None):
    with pytest.raises(BundleIntegrityError) as caught:
        Classifier.load(path)
    assert caught.value.exit_code == 5
    if message is not None:
        assert str(caught.value) == message


def test_good_bundle_reads(bundle):
    files = read_bundle(bundle)
    assert files.model == (bundle / "model.onnx").read_bytes()
    assert files.size_bytes == sum((bundle / name).stat().st_size for name in FILES)


def test_no_folder(tmp_path):
    path = tmp_path / "none.bundle"
    refused(path, f"{path}: found nothing, expected a bundle folder. Build one with crosstune-export build.")
    path.write_text("x")
    refused(
        path,
        f"{path}: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. Copy or pack the bundle again.",
    )
    path.unlink()
    path.mkdir()
    refused(path, f"{path}: no manifest.json, expected a bundle folder. Build one with crosstune-export build.")


@pytest.mark.fault("G3")
@pytest.mark.parametrize("name", FILES)
def test_missing_file(bundle, name):
    (bundle / name).unlink()
    message = f"{bundle / name}: missing, expected in every bundle. Copy or build the bundle again."
    refused(bundle, message if name != "manifest.json" else None)


@pytest.mark.fault("G3")
def test_foreign_file(bundle):
    (bundle / "model.onnx.data").write_bytes(b"x")
    refused(
        bundle,
        f"{bundle / 'model.onnx.data'}: a foreign file, expected only README.md, manifest.json, model.onnx, selftest.json, "
        "tokenizer.json. Remove it or build the bundle again.",
    )


@pytest.mark.fault("G2")
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


@pytest.mark.fault("G1")
@pytest.mark.parametrize("name", FILES)
def test_flipped_bit(bundle, name):
    data = (bundle / name).read_bytes()
    chance = random.Random(13)
    for position in {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(40))}:
        flipped = bytearray(data)
        flipped[position] ^= 1 << chance.randrange(8)
        (bundle / name).write_bytes(flipped)
        refused(bundle)


@pytest.fixture
def other_bundle(tmp_path, tiny_fp32_bundle_dir):
    """Valid as well, and no file of it is that of the first."""
    files = read_bundle(tiny_fp32_bundle_dir)
    tokenizer = json.dumps(json.loads(files.tokenizer)).encode()
    write_bundle(tmp_path / "other.bundle", files.manifest, files.model, tokenizer, files.selftest)
    read_bundle(tmp_path / "other.bundle")
    return tmp_path / "other.bundle"


@pytest.mark.fault("G12")
@pytest.mark.parametrize("name", FILES)
def test_file_of_another_bundle(bundle, other_bundle, name):
    assert (bundle / name).read_bytes() != (other_bundle / name).read_bytes()
    shutil.copy(other_bundle / name, bundle / name)
    refused(bundle)


@pytest.mark.fault("G12")
@pytest.mark.parametrize("name", FILES)
def test_all_files_but_one_of_another_bundle(bundle, other_bundle, name):
    for other in set(FILES) - {name}:
        shutil.copy(other_bundle / other, bundle / other)
    refused(bundle)


def test_flipped_bit_message(bundle):
    data = bytearray((bundle / "tokenizer.json").read_bytes())
    data[-1] ^= 1
    (bundle / "tokenizer.json").write_bytes(data)
    with pytest.raises(BundleIntegrityError) as caught:
        Classifier.load(bundle)
    assert re.fullmatch(
        rf"{re.escape(str(bundle / 'tokenizer.json'))}: sha256 [0-9a-f]{{12}}…, expected [0-9a-f]{{12}}…\. "
        r"Copy or build the bundle again\.",
        str(caught.value),
    )


@pytest.mark.fault("G3")
def test_file_of_another_case(bundle):
    (bundle / "model.onnx").rename(bundle / "Model.onnx")
    refused(bundle)


@pytest.mark.fault("G5")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_not_a_regular_file(bundle, tmp_path, name, kind):
    (bundle / name).rename(tmp_path / "aside")
    if kind == "link":
        (bundle / name).symlink_to(tmp_path / "aside")
    elif kind == "folder":
        (bundle / name).mkdir()
    else:
        os.mkfifo(bundle / name)  # opening it the plain way would wait for a writer for ever
    found = (
        "cannot be opened (Too many levels of symbolic links), expected a regular file"
        if kind == "link"
        else "not a regular file"
    )
    refused(bundle, f"{bundle / name}: {found}. Copy or build the bundle again.")


@pytest.mark.fault("G5")
@pytest.mark.parametrize("name", FILES)
def test_link_to_nowhere(bundle, name):
    (bundle / name).unlink()
    (bundle / name).symlink_to(bundle / "nowhere")
    refused(bundle)


@pytest.mark.fault("G6")
@pytest.mark.parametrize("name", FILES)
def test_too_large(bundle, name):
    with (bundle / name).open("r+b") as stream:
        stream.truncate(SIZE_LIMITS[name] + 1)  # sparse: takes no room on the disk
    refused(
        bundle,
        f"{bundle / name}: {SIZE_LIMITS[name] + 1} bytes, expected at most {SIZE_LIMITS[name]}. Build the bundle again.",
    )


def test_a_folder_that_cannot_be_listed(bundle, monkeypatch):
    """Tests may run as root, who may read all files, so the answer of the system is simulated."""

    def no(self):
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "iterdir", no)
    refused(
        bundle,
        f"{bundle}: cannot be listed (Permission denied), expected a bundle folder. Check its permissions.",
    )


def test_a_name_that_is_too_long():
    name = "x" * 300
    refused(name, f"{name}: found nothing, expected a bundle folder. Build one with crosstune-export build.")


def test_the_manifest_alone(tiny_bundle_dir, bundle, tmp_path):
    pack(tiny_bundle_dir, tmp_path / "x.zip")
    whole = read_bundle(tiny_bundle_dir).manifest
    assert read_manifest(tiny_bundle_dir) == read_manifest(tmp_path / "x.zip") == whole
    (bundle / "manifest.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=re.escape(str(bundle / "manifest.json"))):
        read_manifest(bundle)
