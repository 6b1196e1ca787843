"""Every test here runs in each runtime: Python, C++ as ``make cpp`` built it, and the web one as ``make web`` did."""

from __future__ import annotations

import platform

import pytest

from tests.conftest import REPO_ROOT
from tests.runtime_cpp.c_library import Library
from tests.runtime_cpp.conftest import built
from tests.runtime_web.node_runtime import NodeRuntime
from tests.runtimes.every_runtime import CppRuntime, PythonRuntime, Runtime, WebRuntime


@pytest.fixture(scope="session")
def library() -> Library:
    return Library(str(built("libcrosstune.dylib" if platform.system() == "Darwin" else "libcrosstune.so")))


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """Node with the package as it lies in the checkout; tests/runtime_web installs what is packed."""
    package = REPO_ROOT / "runtime_web"
    if not (package / "dist" / "node.js").exists():
        pytest.fail("runtime_web/dist: not built, expected for these tests. Run: make web")
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "crosstune-web").symlink_to(package)
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n', "utf-8")
    runtime = NodeRuntime(folder)
    yield runtime
    runtime.close()


@pytest.fixture(params=["python", "c++", "web"])
def runtime(request) -> Runtime:
    if request.param == "python":
        return PythonRuntime()
    if request.param == "c++":
        return CppRuntime(request.getfixturevalue("library"))
    return WebRuntime(request.getfixturevalue("node"))
