"""Bundles in one file."""

from __future__ import annotations

import random
import shutil
import stat
import zipfile

import pytest

from crosstune_export import BundleIntegrityError, Classifier, ConfigError
from crosstune_export.bundle.archive import MEMBERS
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.packing import pack, unpack
from crosstune_export.edit.labels import rename_label


@pytest.fixture(scope="module")
def packed(tmp_path_factory, tiny_bundle_dir):
    path = tmp_path_factory.mktemp("packed") / "tiny.bundle.zip"
    pack(tiny_bundle_dir, path)
    return path


def refused(path) -> str:
    with pytest.raises(BundleIntegrityError) as caught:
        read_bundle(path)
    return str(caught.value)


def test_a_packed_bundle_answers_as_the_folder_does(packed, tiny_bundle_dir, tiny_other_texts):
    one, other = Classifier.load(packed), Classifier.load(tiny_bundle_dir)
    assert one.manifest == other.manifest
    assert (one.predict_proba(tiny_other_texts) == other.predict_proba(tiny_other_texts)).all()
    assert one.selftest().passed


def test_any_zip_program_reads_it(packed, tiny_bundle_dir):
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == list(MEMBERS)
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert stat.S_IMODE(info.external_attr >> 16) == 0o644
            assert archive.read(info) == (tiny_bundle_dir / info.filename).read_bytes()


def test_packing_and_unpacking_give_the_same_bytes(tmp_path, packed, tiny_bundle_dir):
    unpack(packed, tmp_path / "again.bundle")
    for name in MEMBERS:
        assert (tmp_path / "again.bundle" / name).read_bytes() == (tiny_bundle_dir / name).read_bytes()
    pack(tmp_path / "again.bundle", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_the_archive_of_a_zip_program_is_refused(tmp_path, packed, tiny_bundle_dir):
    """Another order, another date, compression: one bundle has one archive."""
    for count, (names, method) in enumerate(
        [
            (MEMBERS, zipfile.ZIP_STORED),
            (MEMBERS, zipfile.ZIP_DEFLATED),
            (sorted(MEMBERS), zipfile.ZIP_STORED),
            (MEMBERS[:-1], zipfile.ZIP_STORED),
            ((*MEMBERS, "more.bin"), zipfile.ZIP_STORED),
        ]
    ):
        path = tmp_path / f"{count}.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in names:
                data = (tiny_bundle_dir / name).read_bytes() if name in MEMBERS else b"x"
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
        refused(path)


@pytest.mark.fault("G1", "G2")
def test_every_kind_of_change_is_seen(tmp_path, packed):
    data, chance = packed.read_bytes(), random.Random(13)
    path = tmp_path / "changed.zip"
    places = [*range(200), *range(len(data) - 420, len(data)), *(chance.randrange(len(data)) for _ in range(200))]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        refused(path)
    for length in [*range(60), *(chance.randrange(len(data)) for _ in range(60)), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path)
    for changed in (data + b"\0", b"\0" + data, data + data):
        path.write_bytes(changed)
        refused(path)


@pytest.mark.fault("G6")
def test_a_member_larger_than_its_limit_is_not_read(tmp_path, packed):
    data = bytearray(packed.read_bytes())
    data[18:26] = (0xFFFFFFFF).to_bytes(4, "little") * 2
    path = tmp_path / "large.zip"
    path.write_bytes(data)
    assert refused(path) == (
        f"{path}: 4294967295 bytes of manifest.json, expected at most 16777216. Copy or pack the bundle again."
    )


def test_messages(tmp_path, packed):
    path = tmp_path / "x.zip"
    again = "Copy or pack the bundle again."
    path.write_bytes(b"PK")
    assert (
        refused(path)
        == f"{path}: manifest.json is missing or misplaced, expected a file written by crosstune-export pack. {again}"
    )
    data = packed.read_bytes()
    path.write_bytes(data[:-1])
    assert refused(path) == f"{path}: unexpected bytes after its members, expected only their directory. {again}"
    path.write_bytes(data[:100])
    assert refused(path) == f"{path}: manifest.json is cut short or changed, expected it as packed. {again}"


def test_labels_of_a_packed_bundle_are_not_edited(tmp_path, packed):
    path = shutil.copy(packed, tmp_path / "x.zip")
    with pytest.raises(ConfigError) as caught:
        rename_label(path, "praise", "thanks")
    assert str(caught.value) == f"{path}: is a packed bundle, expected a folder. Run crosstune-export unpack first."
    assert path.read_bytes() == packed.read_bytes()
