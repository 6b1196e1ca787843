"""The library under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, with the real onnxruntime."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.conftest import BUILD, wheel_library

SUPPRESSIONS = REPO_ROOT / "tests" / "runtime_cpp" / "onnxruntime.supp"


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_threads_and_arbitrary_bytes(sanitizers, tiny_bundle_dir, tiny_fp32_bundle_dir):
    program = BUILD / sanitizers.replace(",", "-") / "crosstune-stress"
    if not program.exists():
        pytest.fail(f"{program.relative_to(REPO_ROOT)}: not built, expected for this test. Run: make sanitizers")
    environment = os.environ | {
        "CROSSTUNE_ONNXRUNTIME": wheel_library(),
        "TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}",
    }
    for bundle in (tiny_bundle_dir, tiny_fp32_bundle_dir):
        done = subprocess.run(
            [program, bundle, "6", "3"],
            env=environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "1728 answers, 0 wrong\n")
