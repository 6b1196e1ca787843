"""``crosstune check``."""

from __future__ import annotations

import json

from tests.cli.conftest import files_in, jsonl


def test_it_lists_what_a_training_would_refuse_and_exits_with_0(run_app, task, tiny_backbone_dir):
    more = jsonl([("Where is my PARCEL", "praise"), ("the invoice is wrong", "shipping")])
    task.train.write_bytes(task.train.read_bytes() + more)
    options = ("--train", task.train, "--labels", task.labels, "--backbone", tiny_backbone_dir)
    refused = run_app("crosstune", "train", *options, "--output", task.out / "c")
    assert refused.code == 3 and "1 text has more than one label: 'the invoice is wrong' " in refused.err
    ran = run_app("crosstune", "check", *options, "--output", task.out / "c.json", "--report", task.out / "c.html")
    assert (ran.code, ran.err) == (0, "")
    assert files_in(task.out) == ["c.html", "c.json"]
    found = json.loads((task.out / "c.json").read_text("utf-8"))
    lines = [[row["line"] for row in pair["rows"]] for pair in found["conflicts"]]
    assert sorted(lines) == [[1, 19], [8, 20]]
    assert ran.out.splitlines()[-1] == (
        f"{task.train}: 20 examples, {len(found['suspects'])} labels look wrong, 2 pairs of texts under two labels"
    )
    assert "Where is my PARCEL" in ran.out and "the invoice is wrong" in (task.out / "c.html").read_text("utf-8")
    again = run_app("crosstune", "check", *options, "--output", task.out / "c.json")
    assert again.code == 2 and "--force" in again.err


def test_a_label_that_is_not_described_is_refused(run_app, task, tiny_backbone_dir):
    task.train.write_bytes(jsonl([("where is it", "shipping"), ("hello", "greeting")]))
    ran = run_app("crosstune", "check", "--train", task.train, "--labels", task.labels, "--backbone", tiny_backbone_dir)
    assert ran.code == 3
    assert ran.err.startswith(f"error: {task.train}:2: label 'greeting' is not one of 'shipping', 'billing', 'praise'")


def test_train_reads_the_shares_expected_in_use(run_app, task, tiny_backbone_dir):
    options = (
        "--train",
        task.train,
        "--labels",
        task.labels,
        "--backbone",
        tiny_backbone_dir,
        "--output",
        task.out / "c",
    )
    shares = task.folder / "shares.json"
    shares.write_text('{"shipping": 60, "billing": 30, "praise": 10}', "utf-8")
    assert run_app("crosstune", "train", *options, "--expected-shares", shares).code == 0
    state = json.loads((task.out / "c" / "checkpoint.json").read_text("utf-8"))
    assert state["config"]["expected_shares"] == {"shipping": 60, "billing": 30, "praise": 10}
    for text, code, message in (
        ('{"shipping": 60, "billing": 30}', 3, "expected_shares: no share for label 'praise'"),
        ('{"shipping": 60, "billing": 30, "praise": -1}', 2, "a number above 0 for each label"),
        ("[1, 2, 3]", 3, f"{shares}: found list, expected an object of label and share. Correct it."),
    ):
        shares.write_text(text, "utf-8")
        ran = run_app("crosstune", "train", *options, "--force", "--expected-shares", shares)
        assert ran.code == code and message in ran.err
