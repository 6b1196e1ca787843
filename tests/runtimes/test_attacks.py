"""The bundles of an attacker (``benchmarks/robustness/attack_bundles.py``), in each runtime: refused, or as harmless as the genuine one."""

from __future__ import annotations

import pytest

from benchmarks.robustness.attack_bundles import forged
from crosstune_export.bundle.files import read_bundle
from tests.conftest import REPO_ROOT
from tests.runtimes.every_runtime import Refused

GOOD = dict(read_bundle(REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip").contents)
FORGED = forged(GOOD)
#: Only one more word, or text that no runtime shows as it is.
HARMLESS = {"tokenizer: an added word", *(name for name in FORGED if "terminal escapes" in name)}


def written(folder, contents):
    folder.mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.fault("L17", "L18", "L22")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_bundle_is_refused(runtime, tmp_path, name):
    path = written(tmp_path / "x.bundle", FORGED[name])
    try:
        loaded = runtime.load(path)
        if name.startswith("self-test"):
            loaded.selftest_passes()
    except Refused as error:
        assert error.code == 5, error.message
        assert "\x1b" not in error.message
    else:
        assert name in HARMLESS
        assert loaded.answer("where is my parcel").label is not None


def test_the_genuine_bundle_is_accepted(runtime, tmp_path):
    loaded = runtime.load(written(tmp_path / "x.bundle", GOOD))
    assert loaded.selftest_passes()
    assert loaded.answer("where is my parcel").label is not None
