"""The folders of the C++ and the web runtime: each imports only those below it, and no files import each other in a ring."""

from __future__ import annotations

import graphlib
import posixpath
import re

import pytest

from tests.conftest import REPO_ROOT

#: The folders that a folder may import; "" holds the files that lie in none.
ALLOWED = {
    "": {""},
    "bundle": {"", "bundle"},
    "guard": {"", "bundle", "guard"},
    "tokenize": {"", "bundle", "tokenize"},
    "kernels": {"kernels"},
    "run": {"", "bundle", "guard", "tokenize", "kernels", "run"},
}
#: The public entry points, which may import everything.
ENTRY_POINTS = {"c_api", "index", "node"}


def cpp_imports() -> dict[str, set[str]]:
    """The files that each file includes, without extension: a header and its source count as one."""
    root = REPO_ROOT / "runtime_cpp" / "src"
    imports: dict[str, set[str]] = {}
    for path in (*root.rglob("*.cpp"), *root.rglob("*.hpp")):
        name = path.relative_to(root).with_suffix("").as_posix()
        included = re.findall(r'#include "([^"]+)\.hpp"', path.read_text("utf-8"))
        imports.setdefault(name, set()).update(set(included) - {name})
    return imports


def web_imports() -> dict[str, set[str]]:
    root = REPO_ROOT / "runtime_web" / "src"
    imports = {}
    for path in root.rglob("*.ts"):
        folder = path.parent.relative_to(root).as_posix()
        targets = re.findall(r'from "(\.[^"]+)\.js"', path.read_text("utf-8"))
        name = path.relative_to(root).with_suffix("").as_posix()
        imports[name] = {posixpath.normpath(posixpath.join(folder, target)) for target in targets}
    return imports


@pytest.mark.parametrize("imports", [cpp_imports, web_imports])
def test_folders_import_only_those_below_them(imports):
    wrong = [
        f"{name} imports {target}"
        for name, targets in imports().items()
        for target in targets
        if name not in ENTRY_POINTS and posixpath.dirname(target) not in ALLOWED[posixpath.dirname(name)]
    ]
    assert wrong == []


@pytest.mark.parametrize("imports", [cpp_imports, web_imports])
def test_no_ring_of_imports(imports):
    found = imports()
    assert len(found) > 15
    graphlib.TopologicalSorter(found).prepare()  # raises CycleError
