"""Train, evaluate, build and classify the example data with MiniLM, through the installed programs."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from crosstune import load_checkpoint, read_examples
from crosstune.checkpoint import predict_proba
from crosstune_export import Classifier
from tests.end_to_end.conftest import run
from tests.tolerances import FP32_GRAPH_TO_TORCH

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_torch(desk, minilm):
    """The test texts, their true classes, and torch's probabilities."""
    checkpoint = load_checkpoint(desk[0] / "support.ckpt")
    rows = read_examples(desk[0] / "examples" / "support_desk" / "test.jsonl")
    texts = [row.content for row in rows]
    return texts, np.array(checkpoint.labels.indices(rows)), predict_proba(checkpoint, minilm, texts)


def test_evaluate_is_the_torch_prediction(desk, environment, by_torch):
    _, truth, probs = by_torch
    line = "crosstune evaluate support.ckpt --data examples/support_desk/test.jsonl --json"
    figures = json.loads(run(line, desk[0], environment))
    assert figures["n"] == 216
    assert figures["accuracy"] == pytest.approx((probs.argmax(1) == truth).mean())
    assert np.trace(figures["confusion"]) == (probs.argmax(1) == truth).sum()


def test_the_head_learned_the_task(by_torch):
    """Chance is 12.5%; cosine to the descriptions alone must be beaten too, or the shots taught nothing."""
    _, truth, probs = by_torch
    assert (probs.argmax(1) == truth).mean() > 0.78


def test_the_fp32_bundle_is_the_torch_prediction(fp32_bundle, by_torch):
    texts, _, probs = by_torch
    found = Classifier.load(fp32_bundle).predict_proba(texts)
    assert np.abs(found - probs).max() <= FP32_GRAPH_TO_TORCH
    margin = np.sort(probs, 1)[:, -1] - np.sort(probs, 1)[:, -2]
    sure = margin > 2 * FP32_GRAPH_TO_TORCH
    assert (found.argmax(1) == probs.argmax(1))[sure].all()
    assert sure.mean() > 0.95


def test_the_int8_bundle_keeps_the_labels(desk, by_torch):
    texts, truth, probs = by_torch
    found = Classifier.load(desk[0] / "support.bundle").predict_proba(texts, batch_size=1)
    same = found.argmax(1) == probs.argmax(1)
    assert same.mean() >= 0.95
    assert abs((found.argmax(1) == truth).mean() - (probs.argmax(1) == truth).mean()) <= 0.02


def test_classify_prints_what_the_bundle_answers(desk, environment):
    folder, _ = desk
    file = "examples/support_desk/new_texts.txt"
    printed = run(f"crosstune-export classify support.bundle {file} --batch-size 1", folder, environment)
    texts = (folder / file).read_text("utf-8").splitlines()
    answers = Classifier.load(folder / "support.bundle").classify(texts, batch_size=1)
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [(row["label"], row["prob"]) for row in rows] == [(answer.label, answer.prob) for answer in answers]


def test_a_second_run_gives_the_same_bytes(quickstart, desk):
    """The quickstart and the README's commands made the same things, one of them from cached features."""
    for name in ("support.ckpt", "support.bundle"):
        first = {path.name: path.read_bytes() for path in (quickstart[0] / name).iterdir()}
        second = {path.name: path.read_bytes() for path in (desk[0] / name).iterdir()}
        assert first == second


def test_no_training_text_and_no_path_is_in_the_bundle(desk):
    folder, _ = desk
    shipped = b"".join(path.read_bytes() for path in (folder / "support.bundle").iterdir())
    examples = load_checkpoint(folder / "support.ckpt").examples
    assert len(examples) == 128
    assert [example.text for example in examples if example.text.encode() in shipped] == []
    assert re.findall(rb"/(?:home|root|Users|tmp|usr)/[\w./-]+", shipped) == []
