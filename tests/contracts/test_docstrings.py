"""The examples in docstrings run and say what comes out; where one reads a bundle, it is a tiny one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import shutil

import pytest

import crosstune
import crosstune_export
from crosstune_export.edit.labels import add_label

MODULES = [
    name
    for package in (crosstune, crosstune_export)
    for name in (
        package.__name__,
        *(module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")),
    )
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_fp32_bundle_dir):
    """A working folder with the bundles that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("support", "a", "b"):
        shutil.copytree(tiny_fp32_bundle_dir, folder / f"{name}.bundle")
    add_label(folder / "b.bundle", "weather", ["rain and sun"])
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name, folder, monkeypatch, one_thread):
    monkeypatch.chdir(folder)
    failed, _ = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert failed == 0


def test_there_are_examples_in_both_packages():
    finder = doctest.DocTestFinder(exclude_empty=True)
    counts = dict.fromkeys(("crosstune", "crosstune_export"), 0)
    for name in MODULES:
        counts[name.partition(".")[0]] += sum(len(test.examples) for test in finder.find(importlib.import_module(name)))
    assert counts["crosstune"] >= 60
    assert counts["crosstune_export"] >= 20
