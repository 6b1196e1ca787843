"""Help pages, general options, choices, hints, completion, and the output on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess

import pytest
import typer
from crosstune_cli import crosstune_app, export_app
from crosstune_cli.program import COMMANDS

APPS = {"crosstune": crosstune_app.app, "crosstune-export": export_app.app}
EVERY = [(program, name) for program, app in APPS.items() for name in typer.main.get_command(app).commands]


def test_the_table_of_commands_is_complete():
    assert {program: set(names) for program, names in COMMANDS.items()} == {
        program: set(typer.main.get_command(app).commands) for program, app in APPS.items()
    }


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(("program", "command"), EVERY)
def test_help_fits_and_its_examples_are_command_lines(run_app, monkeypatch, program, command, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    pages = {option: run_app(program, command, option) for option in ("-h", "--help")}
    assert pages["-h"] == pages["--help"]
    text = pages["-h"].out
    assert (pages["-h"].code, pages["-h"].err) == (0, "")
    assert max(map(len, text.splitlines())) <= int(columns)
    if command == "labels":
        return
    assert {"Options", "General", "Examples"} <= set(re.findall(r"[A-Z]\w+", text))
    tree = typer.main.get_command(APPS[program]).commands[command]
    if columns == "120":  # narrower, the choices of an option wrap between the words of its help
        shown = re.sub(r"[\s│]+", "", text)
        assert [option.name for option in tree.params if re.sub(r"\s+", "", option.help) not in shown] == []
    lines = [line.strip() for line in tree.epilog.split("\n\n")[1:]]
    known = {name for option in tree.params for name in option.opts}
    for line in lines:
        words = shlex.split(line.partition("|")[2] or line)
        assert words[:2] == [program, command]
        assert {word for word in words if word.startswith("-") and word != "-"} <= known


def test_the_programs_list_their_commands_in_panels(run_app):
    assert re.findall(r"─ ([A-Z][a-z ]+) ─", run_app("crosstune-export", "-h").out) == [
        "Options",
        "Everyday",
        "Release and serve",
        "Inspect and measure",
    ]


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "crosstune classify a 'b c'",
            "'classify' is a command of crosstune-export. Run: crosstune-export classify a 'b c'",
        ),
        ("crosstune-export train", "'train' is a command of crosstune. Run: crosstune train"),
        (
            "crosstune-export build a -o b --precision INT8",
            "Invalid value for '--precision': 'INT8' is not one of 'auto', 'fp32', 'fp16', 'int8'. "
            "See crosstune-export build --help.",
        ),
        (
            "crosstune-export classify a --on-error ignore",
            "Invalid value for '--on-error': 'ignore' is not one of 'fail', 'skip', 'record'. "
            "See crosstune-export classify --help.",
        ),
        (
            "crosstune-export classify a --outptu b",
            "No such option: --outptu (Possible options: --output). See crosstune-export classify --help.",
        ),
    ],
)
def test_mistyped_lines(run_app, line, message):
    program, *arguments = shlex.split(line)
    result = run_app(program, *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")


def test_quiet_and_verbose(run_app, task, tiny_fp32_bundle_dir):
    (task.folder / "t.txt").write_text("where is my parcel\n", "utf-8")
    command = ("crosstune-export", "classify", tiny_fp32_bundle_dir, task.folder / "t.txt", "--force")
    plain = run_app(*command, "-o", task.out / "a.jsonl")
    quiet = run_app(*command, "-o", task.out / "a.jsonl", "-q")
    assert plain.err
    assert (quiet.code, quiet.err) == (0, "")
    evaluated = run_app("crosstune-export", "evaluate", tiny_fp32_bundle_dir, "--data", task.test, "-v")
    assert re.fullmatch(r"classify: \d+\.\d s\n", evaluated.err)


@pytest.mark.parametrize(
    ("program", "word", "expected"), [("crosstune", "tr", "train"), ("crosstune-export", "cl", "classify")]
)
def test_completion(scripts, program, word, expected):
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    environment = scripts.environment | {
        variable: "complete_bash",
        "COMP_WORDS": f"{program} {word}",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        scripts.command(program), env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == [expected]


def test_summaries_as_json(run_app, task, tiny_fp32_bundle_dir):
    (task.folder / "t.txt").write_text("where is my parcel\nso kind\n", "utf-8")
    command = ("crosstune-export", "classify", tiny_fp32_bundle_dir, task.folder / "t.txt", "--json")
    result = run_app(*command, "-o", task.out / "a.jsonl")
    assert json.loads(result.out)["rows"] == 2
    assert run_app(*command).err == (
        "error: --json: found no --output, expected one: the results go to standard output. Give --output.\n"
    )
    verified = json.loads(run_app("crosstune-export", "verify", tiny_fp32_bundle_dir, "--deep", "--json").out)
    assert verified["padded_selftest"]["samples"] == verified["selftest"]["samples"] > 1


def test_a_summary_of_training_as_json(run_app, task, tiny_backbone_dir):
    result = run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "-o", task.out / "a.ckpt",
        "--backbone", tiny_backbone_dir, "--test", task.test, "--json",
    )  # fmt: skip
    found = json.loads(result.out)
    assert (found["labels"], found["head"]) == (["shipping", "billing", "praise"], "default")
    assert found["evaluations"][str(task.test)]["n"] == 3


def test_texts_on_the_command_line(run_app, classify, task):
    first, second = (
        json.loads(line) for line in classify("--text", "where is my parcel", "--text", "so kind").out.splitlines()
    )
    assert (first["text"], first["label"], second["text"]) == ("where is my parcel", "shipping", "so kind")
    (task.folder / "t.txt").write_text("where is my parcel\nso kind\n", "utf-8")
    assert [json.loads(line) for line in classify(task.folder / "t.txt").out.splitlines()] == [
        first,
        second,
    ]
    assert "words" in json.loads(classify("--text", "so kind", "--explain").out)
    assert classify("--text", "a", task.folder / "t.txt").err == (
        "error: --text: cannot be combined with a file. Remove one of the two.\n"
    )


def on_a_terminal(command: list[str], environment: dict[str, str], *, stdout_too: bool = True) -> str:
    """What a command writes to a terminal of 100 columns."""
    parent, child = pty.openpty()
    os.set_blocking(parent, False)
    stdout = child if stdout_too else subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=child,
        env=environment | {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(child)
    written = b""
    while True:
        ended = process.poll() is not None
        try:
            written += os.read(parent, 1 << 16)
        except BlockingIOError:
            pass
        except OSError:
            break
        if ended and not written.endswith(b"\n"):
            break
    os.close(parent)
    assert process.wait(60) == 0
    return written.decode("utf-8").replace("\r\n", "\n")


@pytest.mark.fault("L10")
def test_results_on_a_terminal_are_a_table_without_a_bar(scripts, task, tiny_fp32_bundle_dir):
    (task.folder / "t.txt").write_text("where is my parcel\n" + "long " * 60 + "\n", "utf-8")
    command = scripts.command("crosstune-export", "classify", tiny_fp32_bundle_dir, task.folder / "t.txt")
    lines = on_a_terminal(command, scripts.environment).splitlines()
    assert lines[0].split() == ["text", "label", "prob", "similarity", "ms"]
    assert lines[1].split()[:5] == ["where", "is", "my", "parcel", "shipping"]
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= 100


def test_a_command_on_a_terminal_ends_with_the_next_one(scripts, task, tiny_fp32_bundle_dir):
    (task.folder / "t.txt").write_text("where is my parcel\n", "utf-8")
    command = scripts.command(
        "crosstune-export", "classify", tiny_fp32_bundle_dir, task.folder / "t.txt", "-o", task.out / "a.jsonl"
    )
    last = on_a_terminal(command, scripts.environment, stdout_too=False).splitlines()[-1]
    assert last == f"next: crosstune-export serve {tiny_fp32_bundle_dir}"
