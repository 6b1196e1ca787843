"""The options of every command that reads rows: the same in each, and at work in each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from crosstune_cli import crosstune_app, export_app
from crosstune_cli.options import task_words

from crosstune import ReadOptions
from tests.cli.conftest import jsonl
from tests.conftest import TINY_TEXTS

SHARED = ("--text-column", "--label-column", "--pair-column", "--delimiter", "--encoding", "--input-format")
COMMANDS = {
    f"{name} {command.name}": {option.opts[0]: option for option in command.params}
    for name, app in (("crosstune", crosstune_app.app), ("crosstune-export", export_app.app))
    for command in typer.main.get_command(app).commands.values()
}
READERS = (
    "crosstune train", "crosstune evaluate", "crosstune augment", "crosstune filter", "crosstune check", "crosstune suggest",
    "crosstune-export build", "crosstune-export evaluate", "crosstune-export verify", "crosstune-export classify",
    "crosstune-export diff", "crosstune-export bench",
)  # fmt: skip
UNLABELLED = ("crosstune-export classify", "crosstune-export diff")


@pytest.mark.fault("L4")
@pytest.mark.parametrize("name", READERS)
def test_the_options_are_the_same_in_every_command(name):
    first, options = COMMANDS["crosstune train"], COMMANDS[name]
    for option in SHARED:
        if option == "--label-column" and name in UNLABELLED:
            assert option not in options
            continue
        assert (options[option].default, options[option].help) == (first[option].default, first[option].help)
        assert options[option].default == getattr(ReadOptions(), option[2:].replace("-", "_"))


def test_every_command_with_one_of_the_options_has_all():
    assert {name for name, options in COMMANDS.items() if set(options) & set(SHARED)} == set(READERS)


def test_the_next_command_reads_the_same_columns():
    words = task_words(Path("t.csv"), None, ReadOptions(text_column="Message", label_column="Topic", delimiter="~"))
    assert words == [
        "--train", Path("t.csv"), "--text-column", "Message", "--label-column", "Topic", "--delimiter", "~",
    ]  # fmt: skip
    assert task_words(Path("t.csv"), Path("l.csv"), ReadOptions()) == [
        "--train",
        Path("t.csv"),
        "--labels",
        Path("l.csv"),
    ]


@pytest.mark.slow
@pytest.mark.fault("L4", "L6")
def test_they_are_at_work_in_every_command(run_app, task, tiny_backbone_dir, tiny_checkpoint_dir, tiny_fp32_bundle_dir):
    """A table with other columns, semicolons and Windows' encoding, which none would read without the options."""
    table, out = task.folder / "t.export", task.out
    rows = [(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    rows[0] = ("where is the café parcel", "shipping")
    table.write_bytes(("Message;Topic\n" + "".join(f'"{text}";{label}\n' for text, label in rows)).encode("cp1252"))
    other = task.folder / "o.export"
    other.write_bytes("Message;Topic\nwo ist das Päckchen;shipping\nthe price;billing\n".encode("cp1252"))
    generated = task.folder / "g.jsonl"
    generated.write_bytes(jsonl([("where did my parcel go", "shipping"), ("charged again and again", "billing")]))
    names = ("--text-column", "Message", "--encoding", "cp1252", "--input-format", "csv")
    both = (*names, "--label-column", "Topic")
    backbone = ("--backbone", tiny_backbone_dir)
    server = ("--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--dry-run")
    for program, *line in (
        ("crosstune", "check", "--train", table, *backbone, *both),
        ("crosstune", "filter", "--generated", generated, "--train", table, "--output", out / "k.jsonl", *backbone, *both),
        ("crosstune", "augment", "--train", table, "--output", out / "a.jsonl", *server, *both),
        ("crosstune", "evaluate", tiny_checkpoint_dir, "--data", other, *both),
        ("crosstune-export", "evaluate", tiny_fp32_bundle_dir, "--data", other, *both),
        ("crosstune-export", "verify", tiny_fp32_bundle_dir, "--checkpoint", tiny_checkpoint_dir, "--data", other, *both),
        ("crosstune-export", "diff", tiny_fp32_bundle_dir, tiny_fp32_bundle_dir, "--data", other, *names),
        ("crosstune-export", "build", tiny_checkpoint_dir, "--output", out / "b", "--precision", "fp32", "--calibration", other, *both),
    ):  # fmt: skip
        done = run_app(program, *line)
        assert done.code == 0, (line[0], done.err)
        without = run_app(program, *(part for part in line if part not in both))
        assert without.code in (2, 3), line[0]
    kept = [json.loads(line) for line in (out / "k.jsonl").read_text("utf-8").splitlines()]
    assert {row["label"] for row in kept} <= {"shipping", "billing"}
