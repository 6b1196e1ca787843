"""The documentation site, the workflows and the places that state the version."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPO_ROOT

WORKFLOWS = sorted((REPO_ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_asks_no_other_server(tmp_path):
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--quiet", "--site-dir", tmp_path], cwd=REPO_ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pages = {path: path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert len(pages) > 20
    asset = re.compile(
        r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="https?:'
    )
    assert [path.name for path, text in pages.items() if asset.search(text)] == []
    assert 'id="crosstune.CrossTuneClassifier.fit"' in pages[tmp_path / "python.html"]
    assert "abstain" in (tmp_path / "search" / "search_index.json").read_text("utf-8")


def test_every_place_states_the_same_version():
    spec = importlib.util.spec_from_file_location("release_check", REPO_ROOT / ".ci" / "release_check.py")
    release_check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release_check)
    import crosstune

    assert release_check.check_versions(development=True) == crosstune.__version__


def test_the_citation_is_complete():
    citation = yaml.safe_load((REPO_ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    assert citation["references"][0]["identifiers"] == [{"type": "other", "value": "arXiv:2403.12468"}]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_exists_with_the_least_rights(path):
    text = path.read_text("utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job or "environment" in job for job in workflow["jobs"].values())
    targets = set(re.findall(r"^([a-z-]+):", (REPO_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"run: make ([a-z-]+)", text)) <= targets
    named = re.findall(r"(?<![\w/])(?:tests|runtime_cpp|\.ci)/[\w/.-]+", text)
    assert [name for name in named if not (REPO_ROOT / name).exists()] == []


def test_the_tested_versions_of_python_are_those_of_the_package():
    matrix = yaml.safe_load((REPO_ROOT / ".github/workflows/tests.yml").read_text("utf-8"))["jobs"]["runtime"][
        "strategy"
    ]
    classifiers = re.findall(r"Python :: (3\.\d+)", (REPO_ROOT / "pyproject.toml").read_text("utf-8"))
    assert matrix["matrix"]["python"] == classifiers
    assert f'requires-python = ">={classifiers[0]}"' in (REPO_ROOT / "pyproject.toml").read_text("utf-8")
