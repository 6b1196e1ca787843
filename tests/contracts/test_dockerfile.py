"""The Dockerfile as far as it can be checked without an engine: linted, followed step by step where it installs."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT

DOCKERFILE = (REPO_ROOT / "Dockerfile").read_text("utf-8")


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the wheel of hadolint is for Linux on x86-64"
)
def test_hadolint_has_nothing_to_say():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, REPO_ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=300
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def instructions() -> list[tuple[str, str]]:
    """(keyword, rest) of every instruction, continued lines joined."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in joined.splitlines() if line.strip()]


@pytest.mark.parametrize("printed", ["Name:      python:3.12-slim\nDigest:    sha256:0f0f\n\nManifests:\n", ""])
def test_one_command_names_the_base_by_its_digest(tmp_path, printed):
    """With a program in the place of docker that prints what its documentation shows, or fails."""
    for name in ("Makefile", "Dockerfile"):
        shutil.copy(REPO_ROOT / name, tmp_path)
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\nprintf '{printed}'\n", "utf-8")
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["make", "image-base"], cwd=tmp_path, env=environment, capture_output=True, check=False)
    written = (tmp_path / "Dockerfile").read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dockerfile", "Makefile", "docker"]
    if printed:
        assert done.returncode == 0
        assert written == DOCKERFILE.replace(
            "\nARG BASE=python:3.12-slim\n", "\nARG BASE=python:3.12-slim@sha256:0f0f\n"
        )
        assert written != DOCKERFILE
    else:
        assert done.returncode != 0 and written == DOCKERFILE


def test_it_does_not_run_as_root():
    users = [rest for keyword, rest in instructions() if keyword == "USER"]
    assert users
    assert users[-1] not in ("root", "0")


def test_what_it_copies_is_there_and_not_ignored():
    sources = [
        source
        for keyword, rest in instructions()
        if keyword == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(sources) == {
        "pyproject.toml",
        "image.lock",
        "README.md",
        "LICENSE",
        "crosstune",
        "crosstune_export",
        "cli",
    }
    ignored = (REPO_ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    for source in sources:
        assert (REPO_ROOT / source).exists()
        assert f"!{source}" in ignored


def test_its_command_line_is_one_of_ours():
    from crosstune_cli import export_app, run

    (entry,) = (json.loads(rest) for keyword, rest in instructions() if keyword == "ENTRYPOINT")
    assert Path(entry[0]).name == "crosstune-export"
    assert run.exit_code(export_app.app, "crosstune-export", [*entry[1:], "--help"]) == 0
    (port,) = (rest for keyword, rest in instructions() if keyword == "EXPOSE")
    assert entry[-1] == port
    (health,) = (rest for keyword, rest in instructions() if keyword == "HEALTHCHECK")
    assert f"http://127.0.0.1:{port}/ready" in health


@pytest.mark.slow
def test_its_lock_is_whole(tmp_path):
    """Resolved, not installed: every package it needs is in the lock, and every file has one of its hashes."""
    (line,) = re.findall(r"(--no-deps --require-hashes -r [\w.]+)", DOCKERFILE)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run", "--ignore-installed",
         *line.removeprefix("--no-deps ").split()],
        cwd=REPO_ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    locked = set(re.findall(r"^([a-z0-9-]+)==", (REPO_ROOT / "image.lock").read_text("utf-8"), re.MULTILINE))
    assert {"onnxruntime", "tokenizers", "fastapi", "uvicorn", "prometheus-client"} <= locked
    assert locked.isdisjoint({"torch", "transformers", "onnx", "scikit-learn", "scipy", "pyarrow", "safetensors"})
