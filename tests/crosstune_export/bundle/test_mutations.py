"""Damaged and forged bundles, in all three runtimes: a small part of ``benchmarks/robustness/mutate_bundles.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.conftest import built


@pytest.mark.fault("G1", "G2", "G3", "G4", "G7", "G12", "G16")
@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["python", "c++", "node"])
def test_nothing_damaged_is_accepted_and_nothing_forged_breaks_out(runtime):
    command = [sys.executable, "-m", "benchmarks.robustness.mutate_bundles"]
    bundle, other = (REPO_ROOT / "tests" / "golden" / f"format-1.{minor}.bundle.zip" for minor in (4, 3))
    options = {"python": [], "c++": ["--libcrosstune", built("libcrosstune.so")], "node": ["--node"]}[runtime]
    done = subprocess.run(
        [*command, bundle, other, "--mutations", "400", "--structural", "150", *options], cwd=REPO_ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}, capture_output=True, check=False, timeout=900,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, found["runtime"], found["wrong"]) == (0, runtime, [])
    for kind, results in found["results"].items():
        assert sum(results.values()) == found["mutations"][kind]
        if kind != "rehashed":
            assert set(results) == {"accepted" if kind.startswith("good") else "refused"}
    assert {"refused", "accepted"} <= set(found["results"]["rehashed"])  # the forgeries are no mere noise
