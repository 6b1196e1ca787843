"""The page of an evaluation: what a reader finds on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crosstune.data.examples import Example
from crosstune.evaluation.answers import Answers
from crosstune.evaluation.report import SHOWN, report_page
from tests.fixtures.report_pages import read_page

LABELS = ("shipping", "<b>billing</b>", "praise")


def answers_of(texts: int, seed: int = 13, **thresholds) -> Answers:
    random = np.random.RandomState(seed)
    probs = random.dirichlet([0.6] * 3, texts).astype(np.float32)
    examples = [Example(f"text {i} <script>x</script>", LABELS[random.randint(3)]) for i in range(texts)]
    return Answers(examples, LABELS, probs, **thresholds)


def test_every_part_is_there():
    answers = answers_of(80)
    page = read_page(report_page(replace(answers, data="t<est>.jsonl", model="the default head of a.ckpt")))
    assert page.tags.count("figure") == page.tags.count("svg") == 4  # a figure scrolls on a phone
    assert f"Accuracy {100 * answers.right.mean():.1f}% on 80 texts" in page.text
    assert "t<est>.jsonl, by the default head of a.ckpt" in page.text
    assert "so every text gets a label" in page.text
    wrong = np.flatnonzero(~answers.right)
    assert len(wrong) > SHOWN
    for at in wrong:
        assert page.pieces.count(answers.examples[at].text) == 1
    pairs = {(answers.examples[at].label, LABELS[answers.probs[at].argmax()]) for at in wrong}
    for true, said in pairs:
        members = [
            at for at in wrong if (answers.examples[at].label, LABELS[answers.probs[at].argmax()]) == (true, said)
        ]
        support = sum(example.label == true for example in answers.examples)
        title = f"{true}, predicted as {said}: {len(members)} of {support}"
        shown = page.text[page.text.index(title) :]
        places = [
            shown.index(answers.examples[at].text) for at in sorted(members, key=lambda at: -answers.probs[at].max())
        ]
        assert places == sorted(places)
    assert page.text.count("merge them, describe again how they differ") == 3  # random answers confuse every pair
    assert "no label given" not in page.text


def test_training_texts_are_named():
    page = read_page(report_page(replace(answers_of(80), trained_on=12)))
    assert "12 of these 80 texts are training texts, so the accuracy is too high." in page.text
    assert "training texts" not in read_page(report_page(answers_of(80))).text


def test_few_mistakes_bring_no_advice():
    probs = np.tile(np.array([[0.9, 0.1, 0.0]], np.float32), (40, 1))
    examples = [Example(f"t {i}", LABELS[0 if i else 1]) for i in range(40)]
    page = read_page(report_page(Answers(examples, LABELS, probs)))
    assert "<b>billing</b>, predicted as shipping: 1 of 1" in page.text
    assert "merge them" not in page.text


def test_a_long_text_is_cut():
    probs = np.array([[0.1, 0.9, 0.0]], np.float32)
    page = read_page(report_page(Answers([Example("x" * 9999, LABELS[0])], LABELS, probs)))
    assert "x" * 499 + "…" in page.pieces


def test_thresholds_are_marked_and_obeyed():
    similarity = np.linspace(0, 1, 80, dtype=np.float32)
    answers = answers_of(80, threshold=0.6, similarity=similarity, min_similarity=0.5)
    given = (answers.probs.max(1) >= 0.6) & (similarity >= 0.5)
    assert (answers.answered == given).all()
    page = read_page(report_page(answers))
    assert {"probability 0.60", "similarity 0.50", "most probable first", "most similar first"} <= set(page.pieces)
    right = answers.right[given].mean()
    assert (
        f"{100 * given.mean():.1f}% of the texts get a label (red dot), and {100 * right:.1f}% of these are correct."
        in page.text
    )
    every = read_page(report_page(answers_of(80, threshold=0.0)))
    assert "With its thresholds all of these texts get a label." in every.text
    none = read_page(report_page(answers_of(80, threshold=1.0)))
    assert "With its thresholds none of these texts get a label." in none.text


@pytest.mark.parametrize("right", [True, False])
def test_one_text(right):
    probs = np.array([[0.9, 0.1, 0.0]], np.float32)
    answers = Answers([Example("a", LABELS[0 if right else 1], "second")], LABELS, probs)
    page = read_page(report_page(answers))
    assert ("None." in page.pieces) == right
    assert ("a | second" in page.pieces) != right


def test_coverage_by_length():
    """Short texts of little similarity are shown apart from long ones."""
    probs = np.tile(np.array([[0.9, 0.1, 0.0]], np.float32), (40, 1))
    similarity = np.array([0.2] * 10 + [0.8] * 30, np.float32)
    examples = [Example(f"{i} " * (2 if i < 10 else 20), LABELS[0]) for i in range(40)]
    answers = Answers(examples, LABELS, probs, similarity=similarity, min_similarity=0.5)
    assert [(part.title, part.texts, part.coverage, part.accuracy) for part in answers.by_length] == [
        ("0 to 3 words", 10, 0.0, None),
        ("16 to 31 words", 30, 1.0, 1.0),
    ]
    assert "16 to 31 words 30 100.0 100.0" in read_page(report_page(answers)).text
    assert answers.to_json()["by_length"][0]["coverage"] == 0
    assert "get a label (%)" not in read_page(report_page(replace(answers, min_similarity=None))).text
