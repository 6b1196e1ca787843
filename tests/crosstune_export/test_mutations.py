"""Damaged and forged bundles: a small part of ``benchmarks/mutate_bundles.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT


@pytest.mark.fault("G1", "G2", "G3", "G4", "G12", "G16")
@pytest.mark.slow
def test_nothing_damaged_is_accepted_and_nothing_forged_breaks_out():
    script = REPO_ROOT / "benchmarks" / "mutate_bundles.py"
    bundle = REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip"
    done = subprocess.run(
        [sys.executable, script, bundle, bundle, "--mutations", "600", "--structural", "150"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}, capture_output=True, check=False, timeout=900,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, found["wrong"]) == (0, [])
    for kind, results in found["results"].items():
        assert sum(results.values()) == found["mutations"][kind]
        if kind != "rehashed":
            assert set(results) == {"accepted" if kind == "good" else "refused"}
    assert {"refused", "accepted"} <= set(found["results"]["rehashed"])  # the forgeries are no mere noise
