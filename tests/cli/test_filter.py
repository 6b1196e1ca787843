"""``crosstune filter`` and ``crosstune train --generated``."""

from __future__ import annotations

import json

import pytest

from crosstune import TrainConfig, filter_generated, load_checkpoint, train
from tests.cli.conftest import files_in, jsonl
from tests.crosstune.filter.test_noise_filter import GENERATED
from tests.fixtures.fits import fitted


@pytest.fixture(scope="module")
def result(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    """The result of the Python API."""
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    return filter_generated(GENERATED, tiny_examples, tiny_labels, config, backbone=tiny_backbone)


@pytest.fixture
def filtered(run_app, task, tiny_backbone_dir):
    generated = task.folder / "generated.jsonl"
    generated.write_bytes(jsonl([(item.text, item.label) for item in GENERATED]))

    def call(*flags, **changed):
        options = {
            "generated": generated,
            "train": task.train,
            "labels": task.labels,
            "output": task.out / "kept.jsonl",
            "backbone": tiny_backbone_dir,
        } | changed
        return run_app(
            "crosstune", "filter", *(part for name, value in options.items() for part in (f"--{name}", value)), *flags
        )

    return call


@pytest.mark.slow
def test_the_command_writes_what_the_function_finds(filtered, task, result):
    ran = filtered(report=task.out / "r.html")
    assert (ran.code, ran.err) == (0, "")
    rows = [json.loads(line) for line in (task.out / "kept.jsonl").read_text("utf-8").splitlines()]
    assert rows == [{"text": item.text, "label": item.label} for item in result.kept]
    assert json.loads((task.out / "kept.filter.json").read_text("utf-8")) == result.to_json()
    reasons = ", ".join(f"{reason} {n}" for reason, n in result.reasons.items())
    assert ran.out == (
        f"{task.out / 'kept.jsonl'}: 11 texts = {len(result.kept)} kept + {len(result.dropped)} dropped ({reasons})\n"
        f"accuracy on held-out real examples: {100 * result.accuracy_without:.1f}% without generated texts, "
        f"{100 * result.accuracy_with:.1f}% with the kept texts\n"
    )
    assert files_in(task.out) == ["kept.filter.json", "kept.jsonl", "r.html"]
    page = (task.out / "r.html").read_text("utf-8")
    assert page.count("<figure>") == page.count("<svg ") == 3  # a figure scrolls on a phone, the page does not


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.filter.json", "r.html"])
def test_outputs_that_are_there_are_left_alone(filtered, task, name):
    (task.out / name).write_text("mine", "utf-8")
    ran = filtered(report=task.out / "r.html")
    assert (ran.code, ran.out) == (2, "")
    assert (
        ran.err
        == f"error: {task.out / name}: is already there. Choose another output file, or pass --force to replace it.\n"
    )
    assert files_in(task.out) == [name]


def test_an_output_by_another_name_is_refused(filtered, task):
    ran = filtered(output=task.out / "kept.csv")
    assert (ran.code, ran.err) == (
        2,
        f"error: {task.out / 'kept.csv'}: ending '.csv', expected .jsonl. Rename the output.\n",
    )


@pytest.mark.slow
def test_train_with_generated_texts(
    run_app, task, tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels, filtered, result
):
    base = ["--train", task.train, "--labels", task.labels, "--backbone", tiny_backbone_dir]
    ran = run_app(
        "crosstune", "train", *base, "--generated", task.folder / "generated.jsonl", "--output", task.out / "a.ckpt"
    )
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[1] == (
        f"{task.folder / 'generated.jsonl'}: {len(result.kept)} of 11 texts kept; accuracy on "
        f"held-out real examples {100 * result.accuracy_without:.1f}% without them, {100 * result.accuracy_with:.1f}% with them"
    )
    checkpoint = load_checkpoint(task.out / "a.ckpt")
    assert checkpoint.examples == (*tiny_examples, *result.kept)
    assert checkpoint.facts.generated == result.facts
    plain = fitted(tiny_examples, result.kept, tiny_labels, checkpoint.config, tiny_backbone)
    for name, tensor in checkpoint.head.tensors().items():
        assert (tensor == plain.head.tensors()[name]).all()
    more = tuple(GENERATED[:3])  # whether the filter keeps them or not
    beside = fitted(tiny_examples, more, tiny_labels, checkpoint.config, tiny_backbone)
    as_shots = train((*tiny_examples, *more), tiny_labels, checkpoint.config, backbone=tiny_backbone)
    assert (beside.head.label_keys != as_shots.head.label_keys).any()  # nothing is chosen by generated texts


def test_with_strict_train_refuses_to_measure_on_a_generated_text(run_app, task, tiny_backbone_dir, filtered):
    task.test.write_bytes(jsonl([(GENERATED[0].text.upper(), "shipping")]))
    base = ["--train", task.train, "--labels", task.labels, "--backbone", tiny_backbone_dir, "--test", task.test]
    ran = run_app(
        "crosstune", "train", *base, "--generated", task.folder / "generated.jsonl", "--output", task.out / "a.ckpt",
        "--strict",
    )  # fmt: skip
    assert ran.code == 3
    assert "is also a training text (1 such rows)." in ran.err


@pytest.mark.slow
def test_a_fine_tuned_teacher(filtered, task, tiny_backbone_dir):
    ran = filtered("--no-gate", teacher=tiny_backbone_dir, report=task.out / "r.html")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads((task.out / "kept.filter.json").read_text("utf-8"))
    assert found["gates"] == []
    assert found["accuracy_with"] is None
    assert ran.out.endswith("% without generated texts, not measured with the kept texts\n")
    page = (task.out / "r.html").read_text("utf-8")
    assert "With the kept texts it was not measured, since the gate was off. " in page
    assert len(found["texts"]) == 11
    assert {row["reason"] for row in found["texts"]} >= {"placeholder", "duplicate"}
