"""Early exits: easy texts leave the graph early, the others get the answer of all layers, and nobody leaves unless it pays."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune import CrossTuneWarning
from crosstune.heads.default.teaching import same_share
from crosstune_export import Classifier, ConfigError, GateError, add_label, inspect_bundle, rename_label
from crosstune_export.builder.exits import choose_thresholds, exit_of
from crosstune_export.builder.passes import classify_function, early_exits
from crosstune_export.builder.passes.early_exits import ExitHead, NoExitsError
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle, read_manifest
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.runtime.kernels import wanted
from crosstune_export.runtime.session import open_inner, open_session
from tests.conftest import TINY_OTHER_TEXTS, tiny_log

pytestmark = pytest.mark.usefixtures("quick_builds")


@pytest.fixture(scope="module")
def graph(tiny_bundle_dir):
    """A graph without exits and the names of its states."""
    model = classify_function.inlined(onnx.load_from_string(read_bundle(tiny_bundle_dir).model))
    return model, classify_function.layer_states(model)


@pytest.fixture(scope="module")
def batch(tiny_bundle_dir):
    """Texts of several lengths, padded."""
    rows = [[2, *ids, 3] for ids in Classifier.load(tiny_bundle_dir).token_ids(tiny_log(9))]
    longest = max(map(len, rows))
    ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows])
    return {"input_ids": ids, "attention_mask": (np.arange(longest) < [[len(row)] for row in rows]).astype(np.int64)}


def heads(labels: int, size: int, thresholds: tuple[float, ...]) -> list[ExitHead]:
    draw = np.random.default_rng(3)
    return [
        ExitHead(
            layer,
            draw.normal(0, 3, (labels, size)).astype(np.float32),
            draw.normal(size=labels).astype(np.float32),
            threshold,
            draw.normal(size=(1, size)).astype(np.float32),
            draw.normal(size=1).astype(np.float32),
        )
        for layer, threshold in enumerate(thresholds)
    ]


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


@pytest.mark.parametrize("thresholds", [(2, 2), (0, 2), (2, 0), (0.6, 2), (0.7, 0.8), (2, 0.6)])
def test_each_text_gets_the_answer_of_the_place_where_it_leaves(graph, batch, thresholds, tiny_bundle_dir):
    """The oracle computes the heads' answers by NumPy from the states of the whole graph; the fast kernels do the same."""
    model, states = graph
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in states)
    probs, vectors, similarity, *hidden = open_inner(watched.SerializeToString(), "plain").run(None, batch)
    parts = heads(probs.shape[1], hidden[0].shape[2], thresholds)
    answers, similarities = [], []
    for part in parts:
        sums = (hidden[part.layer] * batch["attention_mask"][..., None]).sum(1)
        unit = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        answers.append(softmax(unit @ part.keys.T + part.bias))
        similarities.append((unit @ part.similarity_key.T + part.similarity_bias)[:, 0])
    where = exit_of(answers, thresholds)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    early_exits.apply(changed, states, parts)
    onnx.checker.check_model(changed)
    found = open_inner(changed.SerializeToString(), "with exits").run(None, batch)
    texts = np.arange(len(where))
    np.testing.assert_allclose(found[0], np.stack([*answers, probs])[where, texts], atol=1e-5)
    np.testing.assert_allclose(found[1], np.where(where[:, None] == 2, vectors, 0), atol=1e-5)
    np.testing.assert_allclose(found[2], np.stack([*similarities, similarity])[where, texts], atol=1e-4)
    classify_function.apply_with_exits(changed, onnx.load_from_string(read_bundle(tiny_bundle_dir).model), (0, 1))
    onnx.checker.check_model(changed)
    data = changed.SerializeToString()
    for part, again in zip(found, open_inner(data, "as a function").run(None, batch), strict=True):
        np.testing.assert_array_equal(part, again)
    for part, fast in zip(
        found, open_inner(data, "fast", fast=wanted("plain", "", True)).run(None, batch), strict=True
    ):
        np.testing.assert_allclose(part, fast, atol=0.05)


def test_a_part_that_needs_something_else_of_the_one_before_it_is_refused(graph):
    model, states = graph
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    last = next(
        node for node in reversed(changed.graph.node) if node.op_type == "Cast" and "attention_mask" in node.input
    )
    last.input[0] = "input_ids"
    with pytest.raises(NoExitsError, match="a layer reads input_ids"):
        early_exits.apply(changed, states, heads(3, 32, (0.5, 0.5)))


def test_a_text_gets_the_same_answer_alone_and_in_any_batch(tiny_exits_bundle_dir):
    classifier = Classifier.load(tiny_exits_bundle_dir)
    texts = [*tiny_log(60), *TINY_OTHER_TEXTS]
    alone = classifier.predict_proba(texts, batch_size=1)
    np.testing.assert_allclose(classifier.predict_proba(texts, batch_size=7), alone, atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba(texts[::-1], batch_size=64)[::-1], alone, atol=1e-6)


def test_the_manifest_says_what_the_exits_do(tiny_exits_bundle_dir):
    facts = read_manifest(tiny_exits_bundle_dir).exits
    assert facts.layers == (0, 1)
    assert facts.texts == 240
    assert sum(facts.shares) == pytest.approx(1)
    assert (facts.label_changes + 1) / 241 <= 0.15
    assert 0 < facts.expected_time < 0.9
    assert all(0 < share < 1 for share in facts.shares)
    assert inspect_bundle(tiny_exits_bundle_dir)["exits"] == facts.to_json()


def test_vectors_and_explanations_are_those_of_all_layers(tiny_exits_bundle_dir):
    classifier, files = Classifier.load(tiny_exits_bundle_dir), read_bundle(tiny_exits_bundle_dir)
    texts = tiny_log(30)
    session = open_session(without_exits(files.model), files.manifest.graph, "closed")
    rows = [classifier._tokenizer.batch([row]).feeds() for row in classifier._tokenizer.rows(texts)]
    probs, vectors, _ = map(np.concatenate, zip(*map(session.run, rows), strict=True))
    np.testing.assert_allclose(classifier.text_vectors(texts), vectors, atol=1e-6)
    assert (np.abs(classifier.text_vectors(texts)).sum(1) > 0).all()
    np.testing.assert_allclose(classifier.explain(texts[0]).prediction.probs, probs[0], atol=1e-6)
    assert np.abs(classifier.predict_proba(texts) - probs).max() > 0.01


def test_an_edit_of_the_labels_closes_the_exits_and_a_new_name_does_not(tiny_exits_bundle_dir, tmp_path):
    path = tmp_path / "x.bundle"
    shutil.copytree(tiny_exits_bundle_dir, path)
    texts = tiny_log(30)
    before = Classifier.load(path).predict_proba(texts)
    assert rename_label(path, "praise", "thanks").exits is not None
    np.testing.assert_array_equal(Classifier.load(path).predict_proba(texts), before)
    assert add_label(path, "weather", ["rain and sun"]).exits is None
    edited = Classifier.load(path)
    assert edited.selftest().passed
    whole = Classifier.load(tiny_exits_bundle_dir)
    np.testing.assert_allclose(edited.text_vectors(texts), whole.text_vectors(texts), atol=1e-6)
    assert edited.predict_proba(texts).shape == (30, 4)


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), budget=st.sampled_from([0.02, 0.05, 0.2]))
def test_thresholds_keep_the_budget_and_no_others_take_less_time(seed, budget):
    draw = np.random.default_rng(seed)
    answers = softmax(draw.normal(0, 2, (24, 3)))
    parts = [softmax(np.log(answers) + draw.normal(0, noise, (24, 3))) for noise in (2, 0.5)]
    costs = (0.02, 0.5, 1.04)

    def measured(thresholds):
        where = exit_of(parts, thresholds)
        labels = np.stack([*parts, answers])[where, np.arange(24)].argmax(1)
        return np.array(costs)[where].mean(), int((labels != answers.argmax(1)).sum())

    cost, changes = measured(choose_thresholds(parts, [answers], costs, budget))
    assert changes == 0 or (changes + 1) / 25 <= budget
    every = [[*part.max(1).astype(np.float32), 2.0] for part in parts]
    for thresholds in itertools.product(*every):
        other_cost, other_changes = measured(thresholds)
        assert (other_changes + 1) / 25 > budget or cost <= other_cost + 1e-9


@given(
    before=st.lists(st.floats(0, 1), min_size=5, max_size=30, unique=True),
    after=st.lists(st.floats(0, 1), min_size=5, max_size=30, unique=True),
    threshold=st.floats(0, 1),
)
def test_as_many_texts_get_no_label_as_without_exits(before, after, threshold):
    count = min(len(before), len(after))
    old, new = np.array(before[:count]), np.array(after[:count])
    found = same_share(old, new, threshold)
    assert (new < found).sum() == (old < threshold).sum()


@pytest.mark.parametrize(
    ("settings", "texts", "error", "message"),
    [
        ({}, 199, GateError, "early_exit: found 199 different texts, expected at least 200"),
        ({"precision": "fp32"}, 200, GateError, "is no int8 encoder of BERT's form"),
        ({"early_exit_percent": 0.0}, 200, ConfigError, "early_exit: found 0.0, expected more than 0"),
        ({"target": "cuda", "precision": "auto"}, 200, ConfigError, "early_exit: found the target cuda"),
        ({"calibration": None}, 200, ConfigError, "early_exit: no calibration texts"),
    ],
)
def test_refused(tiny_checkpoint_dir, tmp_path, settings, texts, error, message):
    log = tmp_path / "log.txt"
    log.write_text("\n".join(tiny_log(texts) * 2))
    config = BuildConfig(
        **{"precision": "int8", "max_flips_percent": 100, "calibration": log, "early_exit_percent": 5} | settings
    )
    with pytest.raises(error, match=message):
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", config)
    assert not (tmp_path / "x.bundle").exists()


def test_exits_that_do_not_pay_are_left_out(tiny_checkpoint_dir, tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("\n".join(tiny_log(200)))
    config = BuildConfig("int8", calibration=log, max_flips_percent=100, early_exit_percent=0.1)
    with pytest.warns(CrossTuneWarning, match="save less than 10% of the time"):
        result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", config)
    assert result.manifest.exits is None
    assert b"then_branch" not in read_bundle(tmp_path / "x.bundle").model
