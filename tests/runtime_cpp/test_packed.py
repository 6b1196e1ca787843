"""Bundles in one file, in C++: the answers of the folder, and the refusals of Python word for word."""

from __future__ import annotations

import os
import random

import pytest

from crosstune_export import BundleError
from crosstune_export.packing import pack
from crosstune_export.runtime.archive import MEMBERS, archive_parts
from crosstune_export.runtime.bundle_files import read_bundle
from tests.edited_bundle import changed_archives, edited, put
from tests.runtime_cpp.c_library import CallError


@pytest.fixture(scope="module")
def packed(tmp_path_factory, tiny_fp32_bundle_dir):
    path = tmp_path_factory.mktemp("packed") / "tiny.bundle.zip"
    pack(tiny_fp32_bundle_dir, path)
    return path


def refusals(library, path) -> tuple[str, str]:
    """What C++ and what Python say."""
    with pytest.raises(CallError) as ours:
        library.load(path)
    assert ours.value.status == 5
    with pytest.raises(BundleError) as theirs:
        read_bundle(path)
    return str(ours.value), str(theirs.value)


def test_it_answers_as_the_folder_does(library, packed, tiny_fp32_bundle_dir, tiny_other_texts):
    one, other = library.load(packed), library.load(tiny_fp32_bundle_dir)
    assert library.digest(one.handle) == library.digest(other.handle)
    for text in tiny_other_texts:
        assert one.classify(text.encode()) == other.classify(text.encode())
    report = one.selftest()
    assert (report.samples > 0, report.wrong_ids) == (True, 0)


def test_the_program_reads_both_forms(run, packed, tiny_fp32_bundle_dir):
    whole = run(tiny_fp32_bundle_dir, stdin=b"where is my parcel\n")
    assert whole[0] == 0
    assert run(packed, stdin=b"where is my parcel\n") == whole
    assert run("--selftest", packed)[0] == 0


def test_the_program_refuses_another_file(run, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert run(tmp_path / "x.zip") == (
        5, "",
        f"error: {tmp_path}/x.zip: no manifest.json at its place, expected what crosstune-export pack writes. "
        "Copy or pack the bundle again.\n",
    )  # fmt: skip


def test_a_link_to_it_is_followed(library, packed, tmp_path):
    (tmp_path / "current").symlink_to(packed)
    library.load(tmp_path / "current").classify(b"hello")


@pytest.mark.fault("G1", "G2", "G6")
def test_every_kind_of_change_is_refused_in_the_words_of_python(library, packed, tmp_path):
    path = tmp_path / "x.zip"
    for data in changed_archives(packed.read_bytes(), random.Random(29), 100):
        path.write_bytes(data)
        ours, theirs = refusals(library, path)
        assert ours == theirs


@pytest.mark.fault("G6")
def test_no_room_is_made_for_more_than_the_file_holds(library, packed, tmp_path):
    """The largest graph that the format allows, in a file of a few kilobytes."""
    data = bytearray(packed.read_bytes())
    at = data.rindex(b"PK\x03\x04") + 18
    data[at : at + 8] = (2**31 - 1).to_bytes(4, "little") * 2
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(CallError) as caught:
        library.load(tmp_path / "x.zip")
    end = "model.onnx is cut short or changed, expected it as packed. Copy or pack the bundle again."
    assert str(caught.value) == f"{tmp_path}/x.zip: {end}"


@pytest.mark.fault("G3", "G4")
def test_members_of_another_bundle_are_refused(library, packed, tiny_fp32_bundle_dir, tmp_path):
    other = edited(tiny_fp32_bundle_dir, tmp_path / "other.bundle", files={"README.md": b"# other"})
    card = (tiny_fp32_bundle_dir / "README.md").read_bytes()
    pack(other, tmp_path / "other.zip")
    data = (tmp_path / "other.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data[: data.index(b"# other")] + card + data[data.index(b"# other") + 7 :])
    ours, theirs = refusals(library, tmp_path / "x.zip")
    assert ours == theirs
    assert ours.startswith(f"{tmp_path}/x.zip: README.md is cut short or changed")


def test_a_pipe_is_no_bundle(library, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CallError) as caught:
        library.load(tmp_path / "pipe")
    end = "found a file, expected a bundle folder. Build one with crosstune-export build."
    assert str(caught.value) == f"{tmp_path}/pipe: {end}"


def test_a_newer_format_says_so(library, tiny_fp32_bundle_dir, tmp_path):
    """The manifest is read before the other members, so that a newer layout of those is no riddle."""
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("format_version", "2.0"))
    parts = archive_parts({name: (path / name).read_bytes() for name in MEMBERS})
    (tmp_path / "x.zip").write_bytes(b"".join(parts))
    with pytest.raises(CallError) as caught:
        library.load(tmp_path / "x.zip")
    assert str(caught.value) == (
        f"{tmp_path}/x.zip/manifest.json: bundle format 2.0, this library knows 1. Upgrade libcrosstune."
    )
