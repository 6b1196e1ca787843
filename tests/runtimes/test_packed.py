"""Packed bundles: the same answers as the folder, and the same messages in every runtime."""

from __future__ import annotations

import os
import random

import pytest

from crosstune_export import BundleError
from crosstune_export.bundle.archive import MEMBERS, archive_parts
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.packing import pack
from tests.fixtures.edited_bundle import changed_archives, edited, put
from tests.runtimes.every_runtime import Refused, refusal


@pytest.fixture(scope="module")
def packed(tmp_path_factory, tiny_fp32_bundle_dir):
    path = tmp_path_factory.mktemp("packed") / "tiny.bundle.zip"
    pack(tiny_fp32_bundle_dir, path)
    return path


def pythons_refusal(path) -> str:
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    return str(caught.value)


def test_it_answers_as_the_folder_does(runtime, packed, tiny_fp32_bundle_dir, tiny_other_texts):
    one, other = runtime.load(packed), runtime.load(tiny_fp32_bundle_dir)
    assert one.digest == other.digest
    for text in tiny_other_texts:
        assert one.answer(text) == other.answer(text)
    assert one.selftest_passes()
    one.close()
    other.close()


def test_a_link_to_it_is_followed(runtime, packed, tmp_path):
    """Deployments switch bundles with a link; the file behind it is checked like any other."""
    (tmp_path / "current").symlink_to(packed)
    assert runtime.load(tmp_path / "current").digest == read_bundle(packed).manifest.digest


@pytest.mark.fault("G1", "G2", "G6")
def test_every_kind_of_change_is_refused_with_pythons_message(runtime, packed, tmp_path):
    path = tmp_path / "x.zip"
    for data in changed_archives(packed.read_bytes(), random.Random(29), 100):
        path.write_bytes(data)
        assert refusal(runtime, path) == pythons_refusal(path)


@pytest.mark.fault("G6")
def test_memory_is_limited_by_the_size_of_the_file(runtime, packed, tmp_path):
    """The header claims the largest possible graph, in a file of a few kilobytes."""
    data = bytearray(packed.read_bytes())
    at = data.rindex(b"PK\x03\x04") + 18
    data[at : at + 8] = (2**31 - 1).to_bytes(4, "little") * 2
    (tmp_path / "x.zip").write_bytes(data)
    end = "model.onnx is cut short or changed, expected it as packed. Copy or pack the bundle again."
    assert refusal(runtime, tmp_path / "x.zip") == f"{tmp_path}/x.zip: {end}"


@pytest.mark.fault("G3", "G4")
def test_files_of_another_bundle_are_refused(runtime, packed, tiny_fp32_bundle_dir, tmp_path):
    other = edited(tiny_fp32_bundle_dir, tmp_path / "other.bundle", files={"README.md": b"# other"})
    card = (tiny_fp32_bundle_dir / "README.md").read_bytes()
    pack(other, tmp_path / "other.zip")
    data = (tmp_path / "other.zip").read_bytes()
    path = tmp_path / "x.zip"
    path.write_bytes(data[: data.index(b"# other")] + card + data[data.index(b"# other") + 7 :])
    assert refusal(runtime, path) == pythons_refusal(path)
    assert refusal(runtime, path).startswith(f"{path}: README.md is cut short or changed")


def test_a_pipe_is_refused(runtime, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    end = "found a file, expected a bundle folder. Build one with crosstune-export build."
    assert refusal(runtime, tmp_path / "pipe") == f"{tmp_path}/pipe: {end}"


def test_a_newer_format_is_recognized(runtime, tiny_fp32_bundle_dir, tmp_path):
    """The manifest is read first, so the message is about the version even if the other files changed."""
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("format_version", "2.0"))
    parts = archive_parts({name: (path / name).read_bytes() for name in MEMBERS})
    (tmp_path / "x.zip").write_bytes(b"".join(parts))
    with pytest.raises(Refused) as caught:
        runtime.load(tmp_path / "x.zip")
    assert caught.value.code == 5
    assert caught.value.kind in ("BundleVersionError", None)
    assert caught.value.message.startswith(f"{tmp_path}/x.zip/manifest.json: bundle format 2.0, this ")
