"""What a reload that was refused leaves behind."""

from __future__ import annotations

import os

import pytest

from crosstune_export import BundleIntegrityError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.packing import pack
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.state import Desk


@pytest.fixture
def refuse():
    """What ``/health`` says of a bundle at a path that does not load."""

    def call(path):
        desk = Desk(ServeLimits(), 1)
        desk.refuse(path, BundleIntegrityError("no"))
        desk.pool.shutdown()
        return desk.refused

    return call


@pytest.mark.fault("J9")
def test_what_a_refused_bundle_calls_itself(refuse, tiny_bundle_dir, tmp_path):
    pack(tiny_bundle_dir, tmp_path / "a.zip")
    with (tmp_path / "a.zip").open("r+b") as file:
        file.truncate(40_000)
    digest = read_bundle(tiny_bundle_dir).manifest.digest
    assert [refuse(path).digest for path in (tiny_bundle_dir, tmp_path / "a.zip")] == [digest, digest]
    assert refuse(tiny_bundle_dir).error == "BundleIntegrityError"


@pytest.mark.fault("J9")
def test_a_pipe_in_the_place_of_a_manifest_holds_nobody_up(refuse, tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    assert [refuse(path).digest for path in (tmp_path, tmp_path / "manifest.json", tmp_path / "none")] == [None] * 3
