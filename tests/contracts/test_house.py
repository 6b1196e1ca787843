"""The packages keep their shape, and the figures of ``python -m tests.contracts.house`` are right."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPO_ROOT
from tests.contracts.house import PACKAGES, circles, entries_of, imports_of, levels, report


def test_circles_and_levels_of_a_small_package():
    line = {"a": {"b"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert (circles(line), levels(line)) == ([], 3)
    circle = {"a": {"b"}, "b": {"c"}, "c": {"b", "e"}, "d": {"a"}, "e": set(), "f": {"g"}, "g": {"f"}}
    assert (circles(circle), levels(circle)) == ([["b", "c"], ["f", "g"]], 4)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_imports_itself_by_way_of_others(package):
    assert circles(imports_of(package)) == []


def test_the_top_of_crosstune_can_be_read_at_a_glance():
    assert len(entries_of("crosstune")) <= 14


@pytest.mark.parametrize("package", PACKAGES)
def test_the_report(package):
    first, file, function, entries = report(package).splitlines()[:4]
    assert re.fullmatch(rf"{package}: \d+ files on \d+ levels, \d+ circles", first)
    assert re.fullmatch(rf"  longest file: {PACKAGES[package]}/[\w/]+\.py, \d+ lines", file)
    assert re.fullmatch(rf"  longest function: {PACKAGES[package]}/[\w/]+\.py:\w+, \d+ lines", function)
    assert entries.startswith(f"  entries at the top: {len(entries_of(package))} (")


def test_the_contracts_that_make_lint_checks_are_there():
    assert (REPO_ROOT / "pyproject.toml").read_text("utf-8").count("[[tool.importlinter.contracts]]") >= 7
    assert "\t$(BIN)/lint-imports\n" in (REPO_ROOT / "Makefile").read_text("utf-8")
