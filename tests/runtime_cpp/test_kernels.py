"""The kernels against plain arithmetic, on random sizes, under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from crosstune_export import Classifier
from tests.conftest import REPO_ROOT
from tests.runtime_cpp.conftest import BUILD, built, wheel_library


@pytest.mark.parametrize("choice", ["portable", ""])
def test_the_kernels_of_the_program(tiny_bundle_dir, choice):
    """It runs those that Python runs, with the same bits, and onnxruntime's own where the environment says so."""
    environment = {**os.environ, "CROSSTUNE_KERNELS": choice, "CROSSTUNE_ONNXRUNTIME": wheel_library()}
    done = subprocess.run(
        [built("crosstune-classify"), "--selftest", tiny_bundle_dir],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    classifier = Classifier.load(tiny_bundle_dir, kernels=choice or "auto")
    report = classifier.selftest()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"largest probability difference {report.max_difference:.1e} " in done.stdout
    assert done.stdout.endswith(f", kernels {classifier.kernels}\n")


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_kernels_on_random_sizes(sanitizers):
    program = BUILD / sanitizers.replace(",", "-") / "crosstune-check-kernels"
    if not program.exists():
        pytest.fail(f"{program.relative_to(REPO_ROOT)}: not built, expected for this test. Run: make sanitizers")
    done = subprocess.run([program, "8", "1"], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"kernels plain[ a-z0-9-]*: \d{3,} comparisons, 0 wrong\n", done.stdout)
