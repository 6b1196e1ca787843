"""Commands that are killed and interrupted at random instants: a small part of ``benchmarks/kill_anything.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT


@pytest.mark.fault("E1", "E2", "E3", "E4")
@pytest.mark.slow
def test_the_output_is_the_old_one_or_the_new_one():
    bundle = REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip"
    command = [sys.executable, REPO_ROOT / "benchmarks" / "kill_anything.py", "--bundle", bundle]
    done = subprocess.run(
        [*command, "--kills", "4", "--every", "0"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}, capture_output=True, check=False, timeout=900,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert done.returncode == 0, found
    for job in ("labels", "classify", "pack"):
        assert found[job].pop("problems") == []
        assert {how: sum(counts.values()) for how, counts in found[job].items()} == dict.fromkeys(
            ("SIGKILL", "SIGINT", "SIGINT twice", "SIGTERM"), 4
        )
