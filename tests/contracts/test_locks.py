"""The locks: what pyproject.toml requires, in one version each, and every file with its hash."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO_ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKS = {"requirements.lock": ("dev",), "image.lock": ("cpu", "serve")}
PROJECT = tomllib.loads((REPO_ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def locked(name: str) -> dict[str, str]:
    """Version of each package."""
    blocks = re.split(r"\n(?=\S)", (REPO_ROOT / name).read_text("utf-8").strip())
    pins = {}
    for block in blocks:
        first, *hashes = block.split(" \\\n    ")
        package, version = re.fullmatch(r"([a-z0-9-]+)==([\w.+]+)", first).groups()
        assert hashes, f"{package} has no hashes"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in hashes), package
        pins[package] = version
    assert len(pins) == len(blocks)
    return pins


def required(extras: tuple[str, ...]) -> list[Requirement]:
    """The dependencies, and those of the extras; an extra that names others stands for theirs."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    requirements = []
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            requirements += required(tuple(sorted(requirement.extras)))
        elif requirement.marker is None or requirement.marker.evaluate(
            default_environment()
            | {"python_version": "3.11", "sys_platform": "linux", "platform_machine": "x86_64", "extra": ""}
        ):
            requirements.append(requirement)
    return requirements


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_satisfies_what_is_required(name):
    pins = locked(name)
    for requirement in required(LOCKS[name]):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{name}: {requirement.name} is missing, run: make lock"
        assert requirement.specifier.contains(version), f"{name}: {requirement} is {version}, run: make lock"


def test_the_locks_agree():
    tested, image = locked("requirements.lock"), locked("image.lock")
    assert image.items() <= tested.items()


def test_torch_is_the_wheel_for_the_cpu():
    pins = locked("requirements.lock")
    assert pins["torch"].endswith("+cpu")
    assert not [name for name in pins if name == "triton" or name.startswith(("nvidia", "cuda"))]
    assert "torch" not in locked("image.lock")


def test_the_environment_is_the_locked_one():
    """The tests run with the locked versions, or with others, which need not be these."""
    marker = Path(sys.prefix) / ".installed"
    if not marker.exists() or marker.read_text("utf-8").strip() != "requirements.lock":
        pytest.skip("installed without the lock")
    pins = locked("requirements.lock")
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
    assert {name: installed.get(name) for name in pins} == pins
