"""The C++ runtime as ``make cpp`` built it, and bundles for it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.c_library import Library

BUILD = REPO_ROOT / "build" / "cpp"


def built(name: str) -> Path:
    path = BUILD / "release" / name
    if not path.exists():
        pytest.fail(f"{path.relative_to(REPO_ROOT)}: not built, expected for these tests. Run: make cpp")
    return path


def wheel_library() -> str:
    """The path of onnxruntime's shared library in its Python wheel."""
    script = REPO_ROOT / "runtime_cpp" / "tools" / "wheel_library.py"
    return subprocess.run([sys.executable, script], capture_output=True, check=True, text=True).stdout.strip()


@pytest.fixture(scope="session")
def library() -> Library:
    """libcrosstune, opened in this process beside Python's own onnxruntime."""
    suffix = "dylib" if platform.system() == "Darwin" else "so"
    return Library(str(built(f"libcrosstune.{suffix}")))


@pytest.fixture(scope="session")
def program() -> Path:
    return built("crosstune-classify")


@pytest.fixture(scope="session")
def run(program):
    """Runs crosstune-classify; gives exit code, standard output and standard error."""

    def run(*arguments, stdin: bytes = b"", environment=None):
        done = subprocess.run(
            [program, *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=300,
            env=os.environ | (environment or {}),
        )  # fmt: skip
        return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")

    return run
