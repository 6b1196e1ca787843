"""Every block of the README runs, and prints what the README shows (numbers aside)."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex

import pytest
import typer
from crosstune_cli import crosstune_app, export_app

from tests.conftest import REPO_ROOT

APPS = {"crosstune": crosstune_app.app, "crosstune-export": export_app.app}


def shape(text: str) -> list[str]:
    """Lines with every number and digest replaced, white space apart."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    lines = (re.sub(r"\b[0-9a-f]{64}\b", "<digest>", line) for line in lines)
    return [re.sub(r"(?<!\w)\d+(\.\d+)?(e-\d+)?(?!\w)", "#", line) for line in lines if line]


def assert_shows(shown: str, printed: str) -> None:
    """The shown lines are the printed ones; ``...`` stands for any number of lines."""
    pattern = "".join(r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in shape(shown) if line)
    printed_lines = "".join(line + "\n" for line in shape(printed))
    assert re.fullmatch(pattern, printed_lines), f"shown:\n{shown}\nprinted:\n{printed}"


def test_shape_hides_numbers_only():
    assert shape(" a  1.5%\n\nfp32 8 of 9e-05 x1 1/2 int8") == ["a #%", "fp32 # of # x1 #/# int8"]
    with pytest.raises(AssertionError):
        assert_shows("a 1\nb 2\n", "a 3\nc 4\n")
    with pytest.raises(AssertionError):
        assert_shows("a 1\n", "a 3\nc 4\n")
    assert_shows("a 1\n...\nd 2\n", "a 3\nc 4\nd 9\n")


def test_bash_blocks_name_real_targets_commands_and_options(readme_blocks):
    """Cheap: nothing is run, the lines are only looked at."""
    targets = set(re.findall(r"^([a-z-]+):", (REPO_ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = [line for block in readme_blocks if block.language == "bash" for line in block.text.splitlines()]
    assert len(lines) > 5
    for line in lines:
        name, *arguments = shlex.split(line.split(" | ")[-1])
        if name == "make":
            assert set(arguments) <= targets
            continue
        command = typer.main.get_command(APPS[name]).commands[arguments[0]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= known
    assert {block.language for block in readme_blocks} == {"bash", "python", "text"}


def texts_after(blocks, language: str) -> list[tuple[str, str]]:
    """(block, the text block that follows it) for every block of a language."""
    return [
        (block.text, following.text)
        for block, following in itertools.pairwise(blocks)
        if (block.language, following.language) == (language, "text")
    ]


@pytest.mark.slow
def test_the_quickstart_prints_what_the_readme_shows(quickstart, readme_blocks):
    (shown, *_) = [shown for source, shown in texts_after(readme_blocks, "bash") if "make quickstart" in source]
    assert_shows(shown, "".join(done.out for done in quickstart[1]))


@pytest.mark.slow
def test_the_commands_print_what_the_readme_shows(desk, readme_blocks):
    (shown, *_) = [shown for source, shown in texts_after(readme_blocks, "bash") if "crosstune train" in source]
    _, done = desk
    assert len(done) == 5
    assert_shows(shown, "".join(item.out for item in done if " verify " in item.line))
    last = done[-1]
    assert last.line.startswith("echo ")
    assert '"label": "technical_issue"' in last.out


@pytest.mark.slow
def test_the_python_blocks_print_what_the_readme_shows(desk, readme_blocks, one_thread, monkeypatch):
    monkeypatch.chdir(desk[0])
    pairs = texts_after(readme_blocks, "python")
    assert len(pairs) == len([block for block in readme_blocks if block.language == "python"]) == 2
    for source, shown in pairs:
        sink = io.StringIO()
        with contextlib.redirect_stdout(sink):
            exec(compile(source, "README.md", "exec"), {})
        assert_shows(shown, sink.getvalue())
    assert (desk[0] / "small.ckpt" / "checkpoint.json").is_file()
