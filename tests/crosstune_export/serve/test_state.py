"""What the server remembers of a bundle that a reload refused."""

from __future__ import annotations

import os

import pytest

from crosstune_export import BundleIntegrityError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.packing import pack
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.server import BundleLoader
from crosstune_export.serve.state import ServerState


@pytest.fixture
def refuse(tiny_bundle_dir):
    """Refuses the bundle at a path, and returns what ``/health`` shows of it."""
    state = ServerState(ServeLimits(), 1)
    BundleLoader(tiny_bundle_dir, state).load()

    def call(path):
        state.refuse_bundle(path, BundleIntegrityError("no"))
        return state.served.refused

    yield call
    state.pool.executor.shutdown()


@pytest.mark.fault("J9")
def test_the_digest_of_a_refused_bundle_is_shown(refuse, tiny_bundle_dir, tmp_path):
    pack(tiny_bundle_dir, tmp_path / "a.zip")
    with (tmp_path / "a.zip").open("r+b") as file:
        file.truncate(40_000)
    digest = read_bundle(tiny_bundle_dir).manifest.digest
    assert [refuse(path).digest for path in (tiny_bundle_dir, tmp_path / "a.zip")] == [digest, digest]
    assert refuse(tiny_bundle_dir).error == "BundleIntegrityError"


@pytest.mark.fault("J9")
def test_a_pipe_instead_of_a_manifest_does_not_block(refuse, tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    assert [refuse(path).digest for path in (tmp_path, tmp_path / "manifest.json", tmp_path / "none")] == [None] * 3
