from __future__ import annotations

import gc
import os
import pickle  # noqa: TID251 - as Spark and process pools send a classifier; no bundle is
import shutil
import threading
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from crosstune.core.token_layout import TokenRow
from crosstune_export import BundleContentError, Classifier, ConfigError, DataError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.manifest import manifest_bytes
from crosstune_export.runtime.batches import batches_in_order
from crosstune_export.runtime.prediction import check_threshold, decide
from tests import tolerances

TEXTS = ["where is my parcel", "the invoice is wrong", "thanks, great work", "", "parcel " * 100, "box"]


@pytest.fixture(scope="module")
def classifier(tiny_fp32_bundle_dir):
    return Classifier.load(tiny_fp32_bundle_dir)


@pytest.fixture(scope="module")
def int8_classifier(tiny_bundle_dir):
    return Classifier.load(tiny_bundle_dir)


def test_answers(classifier):
    answers = classifier.classify(TEXTS)
    probs = classifier.predict_proba(TEXTS)
    assert probs.dtype == np.float32 and probs.shape == (6, 3)
    assert np.abs(probs.sum(1) - 1).max() <= tolerances.ROW_SUM
    assert [answer.label for answer in answers] == [classifier.labels[i] for i in probs.argmax(1)]
    assert [answer.prob for answer in answers] == probs.max(1).tolist()
    assert [answer.truncated for answer in answers] == [False] * 4 + [True, False]
    vectors = classifier.text_vectors(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape == (6, classifier.manifest.graph.text_vector_size)


@pytest.mark.fault("H1")
def test_nothing_in_nothing_out(classifier):
    assert classifier.classify([]) == []
    assert classifier.predict_proba([]).shape == (0, 3)


@pytest.mark.fault("H8")
def test_batches_do_not_change_answers_in_fp32(classifier):
    one_by_one = classifier.predict_proba(TEXTS, batch_size=1)
    for size in (2, 3, 64):
        assert np.abs(classifier.predict_proba(TEXTS, batch_size=size) - one_by_one).max() <= tolerances.STATES_PADDED
    backwards = classifier.predict_proba(TEXTS[::-1], batch_size=2)[::-1]
    assert np.abs(backwards - one_by_one).max() <= tolerances.STATES_PADDED


@pytest.mark.fault("H2", "H10")
def test_bad_arguments(classifier):
    for call, message in (
        (
            lambda: classifier.classify("one text"),
            "texts: found one string, expected a list of strings. Put it into a list.",
        ),
        (lambda: classifier.classify(["a"], batch_size=0), "batch_size: found 0, expected at least 1."),
        (lambda: classifier.classify(["a", None]), "texts[1]: found None, expected a string."),
        (lambda: classifier.classify(["a"], threshold=2), "threshold: found 2, expected a probability from 0 to 1."),
    ):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == message


def test_a_pickle_answers_as_it_does(int8_classifier, tmp_path, tiny_bundle_dir):
    copied = shutil.copytree(tiny_bundle_dir, tmp_path / "c.bundle")
    data = pickle.dumps(Classifier.load(copied, threads=2))
    shutil.rmtree(copied)  # it holds the bundle itself
    other = pickle.loads(data)
    np.testing.assert_array_equal(other.predict_proba(TEXTS), int8_classifier.predict_proba(TEXTS))
    assert other.selftest().passed


def test_providers_are_a_list(tiny_bundle_dir):
    with pytest.raises(ConfigError) as caught:
        Classifier.load(tiny_bundle_dir, providers="CPUExecutionProvider")
    assert str(caught.value) == "providers: found the string 'CPUExecutionProvider', expected a list of names."


@pytest.mark.parametrize("threads", [0, 257, 10**30])
def test_threads_out_of_range(tiny_bundle_dir, threads):
    with pytest.raises(ConfigError) as caught:
        Classifier.load(tiny_bundle_dir, threads=threads)
    assert str(caught.value) == f"threads: found {threads}, expected 1 to 256."


@pytest.mark.fault("K1")
def test_many_threads_share_one_classifier(int8_classifier):
    expected = [int8_classifier.predict_proba([text]) for text in TEXTS]
    wrong = []

    def work():
        for _ in range(5):
            for text, probs in zip(TEXTS, expected, strict=True):
                if not np.array_equal(int8_classifier.predict_proba([text]), probs):
                    wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.fault("K3")
def test_sessions_are_created_one_at_a_time(tiny_bundle_dir, monkeypatch):
    """onnxruntime's creation is not safe to run in several threads without the interpreter's lock."""
    import onnxruntime

    inner, inside, overlaps = onnxruntime.InferenceSession, [], []

    def create(*arguments, **options):
        inside.append(1)
        overlaps.append(len(inside) > 1)
        time.sleep(0.01)  # gives up the interpreter's lock, so that others may come in
        try:
            return inner(*arguments, **options)
        finally:
            inside.pop()

    monkeypatch.setattr(onnxruntime, "InferenceSession", create)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Classifier.load(tiny_bundle_dir).predict_proba(TEXTS)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(np.array_equal(probs, found[0]) for probs in found)
    assert overlaps == [False] * 8


@pytest.mark.fault("K4")
def test_the_last_reference_goes_while_another_thread_classifies(tiny_bundle_dir):
    """There is no close(): a session lives as long as a run uses it."""
    owner = [Classifier.load(tiny_bundle_dir)]
    classify = owner[0].classify
    expected = [answer.label for answer in classify(TEXTS)]
    found = []
    threads = [threading.Thread(target=lambda call: found.append(call(TEXTS * 20)), args=(classify,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    del classify
    owner.clear()
    gc.collect()
    for thread in threads:
        thread.join()
    assert [[answer.label for answer in answers] for answers in found] == [expected * 20] * 4


@pytest.mark.fault("K2")
def test_after_a_fork(tiny_bundle_dir):
    """A session inherited across a fork crashes or hangs with several threads, so a new one is created."""
    parent = Classifier.load(tiny_bundle_dir, threads=4)
    expected = parent.predict_proba(TEXTS)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            same = np.array_equal(parent.predict_proba(TEXTS), expected)
            os._exit(0 if same else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(parent.predict_proba(TEXTS), expected)


def test_threshold(tmp_path, tiny_fp32_bundle_dir, classifier):
    top = classifier.predict_proba(["where is my parcel"]).max()
    above, below = float(np.nextafter(top, np.float32(1))), float(top)
    answer = classifier.classify(["where is my parcel"], threshold=above)[0]
    assert answer.label is None and answer.prob == top
    assert classifier.classify(["where is my parcel"], threshold=below)[0].label is not None
    strict = shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "strict.bundle")
    manifest = replace(read_bundle(strict).manifest, threshold=above)
    (strict / "manifest.json").write_bytes(manifest_bytes(manifest))
    loaded = Classifier.load(strict)
    assert loaded.classify(["where is my parcel"])[0].label is None
    assert loaded.classify(["where is my parcel"], threshold=0.0)[0].label is not None


@pytest.mark.fault("H9")
def test_the_first_of_equal_labels_wins():
    probs = np.array([[0.25, 0.375, 0.375]], np.float32)
    assert decide(probs, [False], ["a", "b", "c"], None)[0].label == "b"


@pytest.mark.fault("H9")
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_probabilities_that_are_not_finite(bad):
    probs = np.array([[0.5, 0.5], [bad, 0.5]], np.float32)
    with pytest.raises(DataError) as caught:
        decide(probs, [False, False], ["a", "b"], None)
    assert str(caught.value) == "texts[1]: the graph gave probabilities that are not finite. Verify the bundle."


@pytest.mark.parametrize("value", [None, 0, 0.5, 1])
def test_thresholds_that_are_fine(value):
    assert check_threshold(value) == value


@pytest.mark.fault("H10")
@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_thresholds_that_are_not(value):
    with pytest.raises(DataError) as caught:
        check_threshold(value)
    assert str(caught.value) == f"threshold: found {value}, expected a probability from 0 to 1."


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_selftest_passes(classifier, int8_classifier, precision):
    report = (classifier if precision == "fp32" else int8_classifier).selftest()
    assert report.passed and report.wrong_ids == 0 and report.samples == 3 + 17
    assert report.tolerance == {"fp32": 1e-4, "int8": 0.1}[precision]


def rewritten(folder, change):
    """A bundle whose self-test says something else, with hashes that fit."""
    import json

    from crosstune_export.bundle.write import write_bundle

    files = read_bundle(folder)
    body = json.loads(files.selftest)
    change(body)
    write_bundle(folder, files.manifest, files.model, files.tokenizer, json.dumps(body).encode())
    return Classifier.load(folder)


@pytest.mark.fault("I4")
def test_selftest_sees_other_answers(tmp_path, tiny_fp32_bundle_dir):
    def probs(body):
        body["samples"][0]["probs"][0] += 0.01

    def ids(body):
        body["samples"][1]["input_ids"][1] += 1

    def flag(body):
        body["samples"][2]["truncated"] = True

    for index, (change, wrong_ids) in enumerate(((probs, 0), (ids, 1), (flag, 1))):
        folder = shutil.copytree(tiny_fp32_bundle_dir, tmp_path / f"{index}.bundle")
        report = rewritten(folder, change).selftest()
        assert not report.passed and report.wrong_ids == wrong_ids


def test_selftest_of_another_shape(tmp_path, tiny_fp32_bundle_dir):
    folder = shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "odd.bundle")
    odd = rewritten(folder, lambda body: body.pop("samples"))
    with pytest.raises(BundleContentError) as caught:
        odd.selftest()
    assert str(caught.value) == (
        f"{folder / 'selftest.json'}: not a self-test (KeyError('samples')). Build the bundle again."
    )


@pytest.mark.fault("G18")
def test_a_bundle_replaced_while_in_use(tmp_path, tiny_bundle_dir, tiny_fp32_bundle_dir, tiny_other_texts):
    path = shutil.copytree(tiny_bundle_dir, tmp_path / "x.bundle")
    classifier = Classifier.load(path)
    before = classifier.predict_proba(tiny_other_texts)
    for item in tiny_fp32_bundle_dir.iterdir():
        (path / item.name).write_bytes(item.read_bytes())
    assert np.array_equal(classifier.predict_proba(tiny_other_texts), before)
    assert classifier.selftest().passed
    shutil.rmtree(path)
    assert np.array_equal(classifier.predict_proba(tiny_other_texts), before)


@pytest.mark.fault("L1")
@pytest.mark.parametrize("method", ["classify", "predict_proba", "text_vectors", "token_ids"])
def test_frames_and_mappings_are_not_taken_for_their_column_names(tiny_fp32_bundle_dir, method):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    ask, texts = getattr(classifier, method), ["where is my parcel", "thanks", "the invoice"]
    expected = ask(texts)
    for column in (pd.DataFrame({"text": texts}), pl.Series(texts), pa.table({"text": texts}), np.array([texts]).T):
        found = ask(column)
        assert np.array_equal(found, expected) if isinstance(found, np.ndarray) else found == expected
    for table in (pd.DataFrame({"text": texts, "n": 1}), pl.DataFrame({"text": texts, "n": 1}), {"text": texts}):
        with pytest.raises(
            DataError, match=r"^texts: found a (table|mapping).* such as df\['text'\]\.|data\['text'\]\.$"
        ):
            ask(table)
    with pytest.raises(DataError, match=r"^texts\[0\]: found DataFrame, expected a string\.$"):
        classifier.explain(pd.DataFrame({"text": texts}))


@pytest.mark.fault("L8")
@pytest.mark.parametrize("method", ["classify", "predict_proba", "text_vectors"])
def test_control_characters_are_refused(tiny_fp32_bundle_dir, method):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    with pytest.raises(DataError) as caught:
        getattr(classifier, method)(["where is it", "caf\u00e9\0"])
    assert str(caught.value) == "texts[1]: has the control character U+0000 at position 4. Remove it."
    with pytest.raises(DataError, match=r"^texts\[0\]: has the control character U\+0085"):
        classifier.explain("a\x85")


def test_short_forms_for_a_notebook(tiny_fp32_bundle_dir):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    text = "where is my parcel"
    prediction, explanation = classifier.classify([text])[0], classifier.explain(text)
    assert classifier.predict([text]) == [prediction.label] == ["shipping"]
    assert classifier.predict([text], threshold=1) == [None]
    assert repr(classifier) == "Classifier('tiny-fp32', 3 labels, fp32)"
    assert (
        repr(prediction)
        == f"Prediction('shipping', prob={prediction.prob:.3f}, similarity={prediction.similarity:.2f})"
    )
    assert prediction.top(1) == [("shipping", prediction.prob)]
    assert [label for label, _ in prediction.top(99)] == sorted(
        classifier.labels, key=lambda label: -dict(prediction.top(9))[label]
    )
    assert prediction.to_json() == prediction.to_json(classifier.labels)
    assert explanation.to_json() == explanation.to_json(classifier.labels)
    assert "shipping" in prediction._repr_html_()
    assert prediction.title == f"shipping ({100 * prediction.prob:.1f}%, similarity {prediction.similarity:.2f})"
    assert replace(prediction, label=None, prob=0.5, similarity=None).title == "no label (50.0%)"
    words = explanation._repr_html_()
    assert all(f">{word}</span>" in words for word in text.split())
    assert len(repr(explanation)) < 200


def test_a_child_opens_a_session_of_its_own(tiny_bundle_dir):
    parent = Classifier.load(tiny_bundle_dir)
    inherited = parent._current_session()
    assert parent._current_session() is inherited
    child = os.fork()
    if child == 0:
        own = parent._current_session()
        os._exit(0 if own is not inherited and own is parent._current_session() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_every_run_of_the_graph_has_texts_of_one_length(tiny_fp32_bundle_dir, monkeypatch):
    """So no text is padded, and an answer does not depend on the other texts."""
    classifier, seen = Classifier.load(tiny_fp32_bundle_dir, kernels="portable"), []
    session = classifier._current_session()
    run = session.run
    monkeypatch.setattr(session, "run", lambda feeds: seen.append(feeds["attention_mask"]) or run(feeds))
    classifier.classify(["parcel " * count for count in (1, 3, 1, 2, 3, 3)], batch_size=2)
    assert sorted(mask.shape for mask in seen) == [(1, 4), (1, 5), (2, 3), (2, 5)]
    assert all(mask.all() for mask in seen)


@pytest.mark.parametrize("output", ["probs", "text_vector"])
def test_outputs_of_another_shape(tiny_fp32_bundle_dir, monkeypatch, output):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    run = classifier._session.run

    def short(feeds):
        probs, vectors, similarity = run(feeds)
        return (probs[:, 1:], vectors, similarity) if output == "probs" else (probs, vectors[:, 1:], similarity)

    monkeypatch.setattr(classifier._session, "run", short)
    with pytest.raises(
        BundleContentError, match=r"the graph gives \(1, \d+\) probs and \(1, \d+\) text_vector, expected"
    ):
        classifier.classify(["where is my parcel"])


def test_too_little_similarity_is_no_label():
    probs, similarities = np.array([[0.9, 0.1]] * 3, np.float32), np.array([0.2, 0.5, 0.8], np.float32)
    for least, labels in ((None, ["a", "a", "a"]), (0.5, [None, "a", "a"]), (0.9, [None, None, None])):
        found = decide(probs, [False] * 3, ["a", "b"], None, similarities, least)
        assert [prediction.label for prediction in found] == labels
    assert [one.label for one in decide(probs, [False] * 3, ["a", "b"], None, None, 0.9)] == ["a", "a", "a"]


def test_batches_of_texts_in_their_order():
    assert list(batches_in_order([TokenRow((1,), (0,), False)] * 5, 2)) == [[0, 1], [2, 3], [4]]
