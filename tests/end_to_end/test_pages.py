"""Blocks of the pages in docs/: commands and options exist, imports work, and the blocks of some pages run.

``test_readme``, ``test_data_page``, ``test_spark`` and ``tests/cli/test_hub.py`` run those of other pages.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import importlib
import io
import re
import shutil
import subprocess

import pytest
import typer

from tests.conftest import REPO_ROOT
from tests.end_to_end.conftest import Block
from tests.end_to_end.test_readme import APPS, assert_shows

PAGES = sorted((REPO_ROOT / "docs").glob("*.md"))


def blocks(path) -> list[Block]:
    text = path.read_text("utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def command_lines(block: Block) -> list[list[str]]:
    """The words of each line that calls one of the programs, also in a pipe."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = (re.search(r"(?:^|\| |\$ )(crosstune(?:-export)? .+)$", line) for line in lines)
    return [match[1].split() for match in found if match]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_blocks_name_commands_options_and_names_that_exist(path):
    for block in blocks(path):
        for program, command, *words in command_lines(block) if block.language in ("bash", "text") else ():
            tree = typer.main.get_command(APPS[program]).commands[command]
            if hasattr(tree, "commands"):
                tree = tree.commands[words[0]]
            known = {name for option in tree.params for name in (*option.opts, *option.secondary_opts)}
            assert {word for word in words if re.fullmatch(r"--[a-z-]+", word)} <= known, words
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("crosstune"):
                    module = importlib.import_module(node.module)
                    assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory, quickstart):
    """A folder with what the pages name: a part of the example data, a checkpoint, a bundle, and a file with one example."""
    target = tmp_path_factory.mktemp("pages")
    shutil.copytree(REPO_ROOT / "examples" / "support_desk", target, dirs_exist_ok=True)
    for name in ("support.ckpt", "support.bundle"):
        shutil.copytree(quickstart[0] / name, target / name)
    for name, source, count in (
        ("few.jsonl", "train.jsonl", 1), ("train.jsonl", "train.jsonl", 40), ("test.jsonl", "test.jsonl", 30), ("log.txt", "log.txt", 260),
    ):  # fmt: skip
        lines = (target / source).read_text("utf-8").splitlines(keepends=True)
        (target / name).write_text("".join(lines[:count]), "utf-8")
    return target


def typed(line: str, folder, environment) -> str:
    """Standard output of a command line that must succeed; it may print notes and warnings."""
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["improve", "moving", "explain", "build", "abstain", "encoders", "signing"])
def test_the_blocks_run(page, folder, environment, one_thread, monkeypatch):
    monkeypatch.chdir(folder)
    found = blocks(REPO_ROOT / "docs" / f"{page}.md")
    done = 0
    for i, block in enumerate(found):
        printed = ""
        if block.language == "bash":
            for line in block.text.splitlines():
                if "crosstune-export build" not in line:  # the README and the quickstart build
                    printed += typed(line, folder, environment)
                    done += 1
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as sink:
                exec(compile(block.text, f"{page}.md", "exec"), {})
            printed, done = sink.getvalue(), done + 1
            if i + 1 < len(found) and found[i + 1].language == "text":
                assert_shows(found[i + 1].text, printed)
    assert done
    if page == "improve":
        with (folder / "next.csv").open(encoding="utf-8-sig", newline="") as file:
            assert sum(not row["label"] for row in csv.DictReader(file)) == 20
        assert (folder / "evaluation.html").is_file()
