"""The quickstart of the Makefile and the command blocks of the README, run once with the real programs and MiniLM."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPO_ROOT

SCRIPTS = Path(sys.executable).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test to ask for the quickstart waits for all of it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


@dataclass(frozen=True)
class Done:
    """A command line as it is written, and what it printed."""

    line: str
    out: str


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language and its text."""

    language: str
    text: str


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    return found | {
        "CROSSTUNE_CACHE": str(tmp_path_factory.mktemp("end-to-end-cache")),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    }


def run(line: str, cwd: Path, environment: dict[str, str]) -> str:
    """Standard output of a command line that must succeed in silence."""
    done = subprocess.run(["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, check=False, timeout=600)
    assert (done.returncode, done.stderr.decode()) == (0, ""), line
    return done.stdout.decode()


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory, environment) -> tuple[Path, list[Done]]:
    """The output folder of ``make quickstart``, one of its own, and its commands with what they printed."""
    out = tmp_path_factory.mktemp("quickstart") / "out"
    recipe = subprocess.run(
        ["make", "--dry-run", "quickstart", f"BIN={SCRIPTS}", f"OUT={out}"],
        cwd=REPO_ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    lines = [line for line in recipe.splitlines() if line.startswith(f"{SCRIPTS}/crosstune")]
    return out, [Done(line, run(line, REPO_ROOT, environment).replace(str(out), "out")) for line in lines]


@pytest.fixture(scope="session")
def fp32_bundle(quickstart, environment) -> Path:
    """The fp32 bundle of the quickstart's checkpoint."""
    folder, _ = quickstart
    run("crosstune-export build support.ckpt --output fp32.bundle --precision fp32", folder, environment)
    return folder / "fp32.bundle"


@pytest.fixture(scope="session")
def desk(tmp_path_factory, environment, readme_blocks) -> tuple[Path, list[Done]]:
    """A folder with the examples in which the README's commands were run, and what they printed."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(REPO_ROOT / "examples", folder / "examples")
    done = []
    for block in readme_blocks:
        if block.language == "bash":
            done += [
                Done(line, run(f"set -o pipefail; {line}", folder, environment))
                for line in block.text.splitlines()
                if "crosstune" in shlex.split(line)[0] or " | crosstune" in line
            ]
    return folder, done


@pytest.fixture(scope="session")
def readme_blocks() -> list[Block]:
    text = (REPO_ROOT / "README.md").read_text("utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]
