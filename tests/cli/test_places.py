"""Outputs that would overwrite an input or another output are refused, even with ``--force``."""

from __future__ import annotations

import shutil

import pytest

from crosstune_export.bundle.packing import pack

BOTH = "{}: is both input and output. Choose another output file."
INSIDE = "{{}}: is inside the input FOLDER/{}. Choose another place."
HOLDS = "{{}}: contains the input FOLDER/{}, which would be replaced too. Choose another place."


@pytest.fixture
def places(task, tiny_backbone_dir, tiny_checkpoint_dir, tiny_fp32_bundle_dir):
    """By name: files and folders that a command reads, with contents of their own; other names are outputs."""
    shutil.copytree(tiny_checkpoint_dir, task.folder / "c.ckpt")
    shutil.copytree(tiny_fp32_bundle_dir, task.folder / "b.bundle")
    shutil.copytree(tiny_backbone_dir, task.folder / "backbone")
    pack(tiny_fp32_bundle_dir, task.folder / "packed")
    shutil.copyfile(task.train, task.folder / "generated.jsonl")
    (task.folder / "key.pem").write_text("a key", "utf-8")
    (task.folder / "hard.jsonl").hardlink_to(task.test)
    (task.folder / "soft.jsonl").symlink_to(task.test)
    return task.folder


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("line", "refused", "message"),
    [
        ("crosstune evaluate c.ckpt --data test.jsonl --report test.jsonl", "test.jsonl", BOTH),
        ("crosstune evaluate c.ckpt --data test.jsonl --report hard.jsonl", "hard.jsonl", BOTH),
        ("crosstune evaluate c.ckpt --data test.jsonl --report soft.jsonl", "soft.jsonl", BOTH),
        (
            "crosstune evaluate c.ckpt --data test.jsonl --report c.ckpt/checkpoint.json",
            "c.ckpt/checkpoint.json",
            INSIDE.format("c.ckpt"),
        ),
        (
            "crosstune augment --train train.jsonl --labels labels.json --output train.jsonl --per-label 1 --model m "
            "--base-url http://127.0.0.1:9/v1",
            "train.jsonl",
            BOTH,
        ),
        (
            "crosstune filter --generated generated.jsonl --train train.jsonl --labels labels.json --output generated.jsonl",
            "generated.jsonl",
            BOTH,
        ),
        (
            "crosstune filter --generated generated.jsonl --train train.jsonl --labels labels.json --output k.jsonl "
            "--report k.filter.json",
            "k.filter.json",
            "{}: is the verdicts and --report. Give each its own file.",
        ),
        ("crosstune-export build c.ckpt --output n.bundle --calibration test.jsonl --report test.jsonl", "test.jsonl", BOTH),
        (
            "crosstune-export bench b.bundle --json x --report x",
            "x",
            "{}: is --json and --report. Give each its own file.",
        ),
        ("crosstune-export sign b.bundle --key key.pem --output key.pem", "key.pem", BOTH),
        (
            "crosstune-export build c.ckpt --output c.ckpt/n.bundle",
            "c.ckpt/n.bundle",
            INSIDE.format("c.ckpt"),
        ),
        (
            "crosstune-export build c.ckpt --output n.bundle --triton c.ckpt/t",
            "c.ckpt/t",
            INSIDE.format("c.ckpt"),
        ),
        (
            "crosstune-export build c.ckpt --output x/n.bundle --triton x",
            "x/n.bundle",
            "{}: is in the Triton repository FOLDER/x, which is replaced as a whole. Choose another place.",
        ),
        (
            "crosstune-export build c.ckpt --output n.bundle --target mobile --report n.mobile",
            "n.mobile",
            "{}: is the folder for phones and the report. Give each its own file.",
        ),
        (
            "crosstune-export build b.bundle/c.ckpt --output b.bundle",
            "b.bundle",
            HOLDS.format("b.bundle/c.ckpt"),
        ),
        (
            "crosstune-export unpack b.bundle/packed --output b.bundle",
            "b.bundle",
            HOLDS.format("b.bundle/packed"),
        ),
        ("crosstune-export pack packed --output packed", "packed", BOTH),
        (
            "crosstune train --train c.ckpt/examples.jsonl --labels labels.json --output c.ckpt",
            "c.ckpt",
            HOLDS.format("c.ckpt/examples.jsonl"),
        ),
        (
            "crosstune augment --train train.jsonl --labels labels.json --output k.jsonl --cache k.jsonl --per-label 1 "
            "--model m --base-url http://127.0.0.1:9/v1",
            "k.jsonl",
            "{}: is --output and --cache. Give each its own file.",
        ),
    ],
)  # fmt: skip
def test_nothing_that_is_read_is_replaced(run_app, places, line, refused, message):
    app, *words = line.split()
    standing = {path.name for path in places.iterdir()} | {"x", "k.jsonl", "n.bundle", "n.mobile", "k.filter.json"}
    before = contents(places)
    arguments = [places / word if word.split("/")[0] in standing else word for word in words]
    result = run_app(app, *arguments, "--force")
    expected = message.format(places / refused).replace("FOLDER", str(places))
    assert (result.code, result.err) == (2, f"error: {expected}\n")
    assert contents(places) == before


def test_a_link_that_leads_round_in_a_circle_is_replaced(run_app, places):
    circle = places / "circle.jsonl"
    circle.symlink_to(circle)
    result = run_app(
        "crosstune-export", "classify", places / "b.bundle", places / "test.jsonl", "--output", circle, "--force"
    )
    assert result.code == 0
    assert len(circle.read_text("utf-8").splitlines()) == 3


def test_a_checkpoint_may_stand_in_the_folder_of_its_backbone(run_app, places):
    command = ["--train", places / "train.jsonl", "--labels", places / "labels.json", "--backbone", places / "backbone"]
    result = run_app("crosstune", "train", *command, "--output", places / "backbone" / "n.ckpt")
    assert (result.code, result.err) == (0, "")
