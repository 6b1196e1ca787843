"""``crosstune evaluate`` and data that it cannot measure on: exit code 3 and one line."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Outcome, files_in, jsonl

ADD = "Describe that label too, or correct the rows."


LISTED = "'shipping', 'billing', 'praise'"


@pytest.mark.fault("A13")
def test_with_strict_evaluate_refuses_training_texts(run_app, task, tiny_checkpoint_dir):
    task.test.write_bytes(jsonl([("a new text", "praise"), ("i love it", "praise")]))
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--strict")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {task.test}:2: the text 'i love it' is also a training text (1 such rows). "
        "Remove them from one of the files.\n"
    )


@pytest.mark.fault("A11", "A13", "L2")
def test_evaluate_measures_the_file_as_it_is_without_training_texts(run_app, task, tiny_checkpoint_dir):
    task.test.write_bytes(
        jsonl(
            [
                ("new", "praise"),
                ("I love  it", "praise"),
                ("new", "billing"),
                ("other", "billing"),
                ("other", "billing"),
            ]
        )
    )
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test, "--json")
    assert result.code == 0
    assert json.loads(result.out)["n"] == 4
    assert result.err == (
        f"note: {task.test}: 1 row is a training text and not measured.\n"
        f"note: {task.test}: 2 rows contradict each other (one text under several labels), all measured: "
        "'new' ('praise' in line 1, 'billing' in line 3).\n"
        f"note: {task.test}: 1 row repeats an earlier one, all measured.\n"
    )


@pytest.mark.parametrize("option", ["--dev", "--test"])
def test_pairs_are_not_measured_on_a_head_for_single_texts(
    run_app, task, tiny_backbone_dir, tiny_checkpoint_dir, option
):
    task.test.write_text('{"text": "a new text", "text_pair": "and another", "label": "praise"}\n', "utf-8")
    expected = Outcome(
        3, "", f"error: {task.test}:1: a pair, expected single texts as in training. Give the same kind.\n"
    )
    assert run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test) == expected
    assert expected == run_app(
        "crosstune", "train", "--train", task.train, "--labels", task.labels, "--output", task.out / "a.ckpt",
        "--backbone", tiny_backbone_dir, option, task.test,
    )  # fmt: skip
    assert files_in(task.out) == []


@pytest.mark.fault("B8")
def test_evaluate_refuses_an_unknown_label(run_app, task, tiny_checkpoint_dir):
    task.test.write_bytes(jsonl([("a new text", "refund")]))
    result = run_app("crosstune", "evaluate", tiny_checkpoint_dir, "--data", task.test)
    assert (result.code, result.out) == (3, "")
    assert result.err == (f"error: {task.test}:1: label 'refund' is not one of {LISTED} (1 such rows). {ADD}\n")
