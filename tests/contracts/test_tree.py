"""House rules that a reader of the tree relies on."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT

PACKAGES = ("crosstune", "crosstune_export", "cli")
SOURCES = sorted(path for package in PACKAGES for path in (REPO_ROOT / package).rglob("*.py"))
LOCKS = ("requirements.lock", "image.lock")
TESTS = sorted((REPO_ROOT / "tests").rglob("*.py"))
#: SHA-256 of the licence as the Apache Software Foundation publishes it.
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def name_of(path: Path) -> str:
    return path.relative_to(REPO_ROOT).as_posix()


def test_there_are_sources():
    assert len(SOURCES) > 40


def test_no_room_for_everything():
    """A file has one job that its name says."""
    everything = {"utils.py", "util.py", "helpers.py", "common.py", "base.py", "misc.py"}
    made = {"build", "out", "node_modules"}
    paths = (path for path in REPO_ROOT.glob("[!.]*/**/*.py") if not made & set(path.relative_to(REPO_ROOT).parts))
    found = [name_of(path) for path in paths if path.name in everything]
    assert found == []


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param(SOURCES, id="sources"),
        pytest.param(TESTS, id="tests"),
    ],
)
def test_no_file_is_longer_than_400_lines(paths):
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package):
    assert (REPO_ROOT / package / "py.typed").is_file()


def test_every_package_folder_is_shipped():
    """setuptools ships the packages that pyproject.toml lists, and no other."""
    text = (REPO_ROOT / "pyproject.toml").read_text("utf-8")
    listed = set(re.search(r"^packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)[1].replace('"', "").split(",\n"))
    listed = {name.strip() for name in listed if name.strip()}
    found = {name_of(path.parent).replace("/", ".") for path in SOURCES if path.name == "__init__.py"}
    assert {name.replace("crosstune_cli", "cli") for name in listed} == found


def test_the_licence_is_apache_2():
    assert hashlib.sha256((REPO_ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2
    assert 'license = "Apache-2.0"' in (REPO_ROOT / "pyproject.toml").read_text("utf-8")


def test_nothing_of_this_machine_is_in_the_tree():
    """No folder of the machine that wrote a file, and no package index beside the ordinary one."""
    marks = re.compile("/" + r"(root|work|tmp|opt)/\w|index" + r"-url|/pypi" + r"-")
    written = {".py", ".md", ".json", ".jsonl", ".toml", ".txt", ".svg", ".ts", ".mjs", ".html", ".css", ".sh"}
    skipped = {"out", "build", "dist", "__pycache__", "node_modules"}
    files = [REPO_ROOT / name for name in ("Makefile", ".ci/run", ".gitignore", "pyproject.toml", *LOCKS)]
    files += REPO_ROOT.glob("*.md")
    files += [
        path
        for path in REPO_ROOT.glob("[!.]*/**/*")
        if path.suffix in written
        and not skipped & set(path.relative_to(REPO_ROOT).parts)
        and ".egg-info" not in str(path)
    ]
    assert len(files) > 80
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def public_functions():
    """(file, qualified name, node) of every public function and method of the two packages."""
    for path in SOURCES:
        if path.parts[len(REPO_ROOT.parts)] == "cli":
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield path, node.name, node
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield path, node.name, node
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield path, f"{node.name}.{inner.name}", inner


def raised_in(function: ast.FunctionDef) -> set[str]:
    """Names of the exception classes in the function's own raise statements."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            found.add(node.exc.func.id)
    return {name for name in found if name[0].isupper()}  # others are functions that word an exception


PUBLIC = list(public_functions())


def test_everything_public_is_documented():
    assert len(PUBLIC) > 100
    bare = [f"{name_of(path)}: {name}" for path, name, node in PUBLIC if not ast.get_docstring(node)]
    assert bare == []


@pytest.mark.parametrize(
    ("path", "name", "node"),
    [
        pytest.param(path, name, node, id=f"{name_of(path)}:{name}")
        for path, name, node in PUBLIC
        if isinstance(node, ast.FunctionDef) and raised_in(node) - {"NotImplementedError"}
    ],
)
def test_what_a_function_raises_is_in_its_docstring(path, name, node):
    documented = ast.get_docstring(node).partition("Raises:")[2]
    inner = {
        raised
        for nested in ast.walk(node)
        if isinstance(nested, ast.FunctionDef) and nested is not node
        for raised in raised_in(nested)
    }
    caught = {"error_class"}  # a class that the caller gives
    for handler in ast.walk(node):
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None:
            caught |= {part.id for part in ast.walk(handler.type) if isinstance(part, ast.Name)}
    missing = [
        raised
        for raised in raised_in(node) - inner - caught - {"NotImplementedError"}
        if not re.search(rf"^\s*{raised}:", documented, re.MULTILINE)
    ]
    assert missing == []
