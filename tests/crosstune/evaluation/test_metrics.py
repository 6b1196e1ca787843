"""Scores against scikit-learn, calibration error against a plain loop."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from crosstune import evaluate
from crosstune.evaluation.metrics import calibration_error, rate_interval, risk_coverage
from tests.tolerances import ECE, SCORES


@st.composite
def answered(draw):
    """Probabilities (N, L), true labels, names."""
    labels, texts = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    random = np.random.RandomState(draw(st.integers(0, 1 << 31)))
    probs = random.dirichlet([draw(st.sampled_from([0.05, 1.0]))] * labels, texts).astype(np.float32)
    gold = random.randint(0, draw(st.integers(1, labels)), texts).tolist()
    return probs, gold, [f"label {i}" for i in range(labels)]


@given(answered())
def test_scores_are_those_of_scikit_learn(case):
    probs, gold, names = case
    result = evaluate(probs, gold, names)
    answers = [max(range(len(names)), key=lambda j: row[j]) for row in probs]
    every = list(range(len(names)))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        gold, answers, labels=every, zero_division=0
    )
    assert result.n == len(gold)
    assert result.accuracy == pytest.approx(metrics.accuracy_score(gold, answers), abs=SCORES)
    assert result.macro_f1 == pytest.approx(
        metrics.f1_score(gold, answers, average="macro", zero_division=0), abs=SCORES
    )
    assert [score.label for score in result.per_label] == names
    assert [score.precision for score in result.per_label] == pytest.approx(precision, abs=SCORES)
    assert [score.recall for score in result.per_label] == pytest.approx(recall, abs=SCORES)
    assert [score.f1 for score in result.per_label] == pytest.approx(f1, abs=SCORES)
    assert [score.support for score in result.per_label] == support.tolist()
    assert result.confusion.tolist() == metrics.confusion_matrix(gold, answers, labels=every).tolist()


def plain_ece(confidence, right):
    total = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        inside = [i for i, value in enumerate(confidence) if low <= value < high or (index == 14 and value == 1.0)]
        if inside:
            accuracy = sum(bool(right[i]) for i in inside) / len(inside)
            mean = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean)
    return total


# Multiples of 1/128: exact in float32, and none but 0 and 1 lies on the edge of one of 15 bins.
@given(st.lists(st.tuples(st.integers(0, 128), st.booleans()), min_size=1, max_size=60))
def test_the_calibration_error_is_that_of_a_plain_loop(rows):
    confidence = np.array([value / 128 for value, _ in rows], np.float32)
    right = np.array([hit for _, hit in rows])
    assert calibration_error(confidence, right) == pytest.approx(plain_ece(confidence, right), abs=ECE)


def test_known_calibration_errors():
    assert calibration_error(np.array([1.0, 1.0], np.float32), np.array([True, True])) == 0
    assert calibration_error(np.array([1.0, 1.0], np.float32), np.array([False, False])) == 1
    assert calibration_error(np.array([0.75] * 4, np.float32), np.array([True, True, True, False])) == 0
    assert calibration_error(np.array([0.5, 1.0], np.float32), np.array([True, True])) == 0.25


def test_the_json_has_what_the_contract_promises():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    body = evaluate(probs, [0, 1, 1], ["a", "b"]).to_json()
    again = json.loads(json.dumps(body, allow_nan=False))
    assert again == body
    assert {"n", "accuracy", "macro_f1", "ece", "per_label"} <= set(body)
    assert body["n"] == 3
    assert body["per_label"]["a"] == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    assert body["per_label"]["b"] == {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}
    assert body["confusion"] == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("shape", "gold", "names", "expected"),
    [
        ((0, 2), [], ["a", "b"], "(0, 2)"),
        ((2, 2), [0], ["a", "b"], "(1, 2)"),
        ((1, 3), [0], ["a", "b"], "(1, 2)"),
        ((2,), [0, 1], ["a"], "(2, 1)"),
    ],
)
def test_shapes_that_do_not_agree_are_refused(shape, gold, names, expected):
    with pytest.raises(ValueError, match="expected") as caught:
        evaluate(np.zeros(shape, np.float32), gold, names)
    assert str(caught.value) == f"probs {shape}, expected {expected} with at least one row"


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (1, 100, 0.0018, 0.0545), (50, 100, 0.4038, 0.5962), (7, 7, 0.6457, 1.0)],
)
def test_the_interval_is_wilsons(hits, trials, low, high):
    """Values of the closed formula (Wilson 1927) at z = 1.959964, worked out by hand."""
    assert rate_interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_risk_and_coverage_are_those_of_every_threshold(rows):
    scores, right = (np.array(column) for column in zip(*rows, strict=True))
    coverage, risk = risk_coverage(scores.astype(np.float64), right)
    expected = []
    for threshold in sorted(set(scores), reverse=True):
        answered = right[scores >= threshold]
        expected.append((len(answered) / len(right), 1 - answered.mean()))
    assert np.allclose(np.stack([coverage, risk], 1), expected)


def test_short_forms_for_a_notebook():
    result = evaluate(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), [0, 1], ["<a>", "b"])
    assert repr(result) == "Evaluation(accuracy=1.000, macro_f1=1.000, ece=0.150, n=2)"
    assert "&lt;a&gt;" in result._repr_html_()
