"""The library under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, with the real onnxruntime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.conftest import BUILD, built
from tests.runtime_cpp.test_c_abi import wheel_library

CMAKE = Path(sys.executable).parent / "cmake"
SUPPRESSIONS = REPO_ROOT / "tests" / "runtime_cpp" / "onnxruntime.supp"


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_threads_and_arbitrary_bytes(sanitizers, tiny_bundle_dir, tiny_fp32_bundle_dir):
    folder = BUILD / sanitizers.replace(",", "-")
    settings = (
        f"-DCROSSTUNE_SANITIZE={sanitizers}",
        "-DCROSSTUNE_STRESS=ON",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O1",
        f"-DCROSSTUNE_CHARACTER_TABLES={built('character_tables.inc')}",
        f"-DCMAKE_PREFIX_PATH={BUILD / 'packages' / 'usr'}",
    )
    configure = [CMAKE, "-S", REPO_ROOT / "runtime_cpp", "-B", folder, *settings]
    subprocess.run(configure, check=True, capture_output=True)
    make = [CMAKE, "--build", folder, "--target", "crosstune-stress", "--parallel", "2"]
    subprocess.run(make, check=True, capture_output=True)
    environment = os.environ | {
        "CROSSTUNE_ONNXRUNTIME": wheel_library(),
        "TSAN_OPTIONS": f"suppressions={SUPPRESSIONS}",
    }
    for bundle in (tiny_bundle_dir, tiny_fp32_bundle_dir):
        done = subprocess.run(
            [folder / "crosstune-stress", bundle, "6", "3"],
            env=environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert (done.returncode, done.stderr.decode(), done.stdout.decode()) == (0, "", "1728 answers, 0 wrong\n")
