"""``crosstune evaluate``: a human-readable table, or one JSON object."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from crosstune import evaluate, load_checkpoint, read_examples
from crosstune.checkpoint import predict_proba, predict_with_similarity
from tests.cli.conftest import files_in, jsonl
from tests.conftest import make_tiny_backbone
from tests.fixtures.report_pages import read_page


@pytest.fixture
def expected(task, tiny_checkpoint_dir):
    """The figures, by way of Python."""
    checkpoint = load_checkpoint(tiny_checkpoint_dir)
    rows = read_examples(task.test)
    probs = predict_proba(checkpoint, checkpoint.load_backbone(device="cpu"), [row.content for row in rows])
    return evaluate(probs, checkpoint.labels.indices(rows), checkpoint.labels.names)


def test_json(run_app, task, tiny_checkpoint_dir, expected):
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("\n") == 1
    found = json.loads(result.out)
    assert {"accuracy", "macro_f1", "n", "per_label", "ece"} <= found.keys()
    assert found == expected.to_json()
    assert found["n"] == 3
    assert np.sum(found["confusion"]) == 3


def test_table(run_app, task, tiny_checkpoint_dir, expected):
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test)
    assert (result.code, result.err) == (0, "")
    lines = [line.split() for line in result.out.splitlines()]
    assert (
        lines[0]
        == (
            f"accuracy {100 * expected.accuracy:.1f}% macro-F1 {100 * expected.macro_f1:.1f}% ECE {expected.ece:.3f} n 3"
        ).split()
    )
    assert lines[2] == ["label", "precision", "recall", "F1", "texts"]
    for line, score in zip(lines[3:6], expected.per_label, strict=True):
        figures = [f"{100 * value:.1f}" for value in (score.precision, score.recall, score.f1)]
        assert line == [score.label, *figures, str(score.support)]
    assert lines[7] == ["true", "\\", "predicted", "0", "1", "2"]
    for index, line in enumerate(lines[8:]):
        assert line[2:] == [str(count) if count else "." for count in expected.confusion[index]]


@pytest.mark.parametrize("target", ["coverage=0.8", "precision=0.95"])
def test_what_abstaining_buys(run_app, task, tiny_backbone_dir, target):
    """The command reports the effect of the thresholds on the predictions of the Python API."""
    run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", tiny_backbone_dir, "--abstain-at", target,
    )  # fmt: skip
    task.test.write_bytes(
        jsonl([("zebra", "praise"), ("why was my card charged", "billing"), ("i love it so", "praise")])
    )
    checkpoint, rows = load_checkpoint(task.out / "a.ckpt"), read_examples(task.test)
    probs, similarity = predict_with_similarity(
        checkpoint, checkpoint.load_backbone(device="cpu"), [row.content for row in rows]
    )
    given = probs.max(1) >= (checkpoint.threshold or 0)
    given &= similarity >= (checkpoint.min_similarity or 0)
    right = probs.argmax(1) == np.array(checkpoint.labels.indices(rows))
    assert given.any()
    assert not given.all()
    command = ("crosstune", "evaluate", task.out / "a.ckpt", "--data", task.test)
    found = json.loads(run_app(*command, "--json").out)
    assert (found["coverage"], found["accuracy_answered"]) == (given.mean(), right[given].mean())
    assert len(found["by_length"]) >= 1
    assert run_app(*command).out.splitlines()[-2].startswith("by length: ")
    assert run_app(*command).out.splitlines()[-1] == (
        f"with the thresholds {100 * given.mean():.1f}% of the texts get a label, {100 * right[given].mean():.1f}% of these "
        "are correct"
    )


def test_the_report_says_what_the_command_says(run_app, task, tiny_checkpoint_dir, expected):
    command = ("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--report", task.out / "r.html")
    result = run_app(*command)
    assert (result.code, result.err) == (0, "")
    assert files_in(task.out) == ["r.html"]
    first = (task.out / "r.html").read_bytes()
    page = read_page(first.decode("utf-8"))
    assert f"Accuracy {100 * expected.accuracy:.1f}% on 3 texts" in page.text
    assert f"test.jsonl, by the default head of {tiny_checkpoint_dir.name}" in page.text
    assert "most similar first" in page.pieces
    again = run_app(*command)
    assert (again.code, again.out) == (2, "")
    assert again.err == (
        f"error: {task.out / 'r.html'}: is already there. Choose another report, or pass --force to replace it.\n"
    )
    assert run_app(*command, "--force").code == 0
    assert (task.out / "r.html").read_bytes() == first


def test_the_batch_size_changes_nothing(run_app, task, tiny_checkpoint_dir):
    outputs = {
        run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--batch-size", size).out
        for size in (1, 2, 32)
    }
    assert len(outputs) == 1


def test_the_backbone_may_have_moved(run_app, task, tiny_checkpoint_dir, tiny_backbone_dir):
    moved = shutil.copytree(tiny_backbone_dir, task.folder / "moved")
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--json", "--backbone", moved)
    assert (result.code, result.err) == (0, "")


def test_another_backbone_is_refused(run_app, task, tiny_checkpoint_dir):
    other = make_tiny_backbone(task.folder / "other", seed=14)
    from crosstune.backbone.frozen import Backbone

    found = Backbone.load(str(other), device="cpu").digest
    pinned = load_checkpoint(tiny_checkpoint_dir).backbone.digest
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--backbone", other)
    assert (result.code, result.out) == (5, "")
    assert result.err == (
        f"error: {other}: digest {found[:12]}…, expected {pinned[:12]}… as at training. "
        "Give the same backbone, or train again.\n"
    )


def test_names_that_look_like_markup_are_just_names(run_app, task, tiny_backbone_dir):
    names = {"shipping": "[/parcel]", "billing": "[bold]money[/bold]", "praise": ":smile:"}
    for file in (task.train, task.labels, task.test):
        text = file.read_text("utf-8")
        for old, new in names.items():
            text = text.replace(f'"{old}"', json.dumps(new))
        file.write_text(text, "utf-8")
    checkpoint = task.out / "c.ckpt"
    data = ("--train", task.train, "--labels", task.labels)
    assert run_app("crosstune", "train", *data, "--backbone", tiny_backbone_dir, "--output", checkpoint).code == 0
    result = run_app("crosstune", "evaluate", checkpoint, "--data", task.test, "--report", task.out / "r.html")
    assert (result.code, result.err) == (0, "")
    assert [line.split()[0] for line in result.out.splitlines()[3:6]] == list(names.values())
    assert set(names.values()) <= set(read_page((task.out / "r.html").read_text("utf-8")).pieces)
