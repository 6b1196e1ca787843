"""The kernels against plain arithmetic, on random sizes, under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.conftest import BUILD


@pytest.mark.slow
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_kernels_on_random_sizes(sanitizers):
    program = BUILD / sanitizers.replace(",", "-") / "crosstune-check-kernels"
    if not program.exists():
        pytest.fail(f"{program.relative_to(REPO_ROOT)}: not built, expected for this test. Run: make sanitizers")
    done = subprocess.run([program, "8", "1"], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"kernels plain[ a-z0-9-]*: \d{3,} comparisons, 0 wrong\n", done.stdout)
