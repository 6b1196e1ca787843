"""The answers of the web runtime equal those of Python for one text per call, within tolerances."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crosstune_export import Classifier
from tests.fixtures.edited_bundle import edited
from tests.fixtures.node_runtime import WebError
from tests.tolerances import OTHER_ONNXRUNTIME, WEB_TO_PYTHON

#: The runtimes use different releases and kernels of onnxruntime: int8 may differ by a quantization step, fp32 only by rounding.
BUNDLES = {
    "tiny_bundle_dir": OTHER_ONNXRUNTIME,
    "tiny_paper_bundle_dir": OTHER_ONNXRUNTIME,
    "tiny_fp32_bundle_dir": WEB_TO_PYTHON,
}


@pytest.mark.parametrize("name", BUNDLES)
def test_answers_equal_pythons(request, runtime, tiny_examples, tiny_other_texts, name):
    path = request.getfixturevalue(name)
    web, python = runtime.load(path), Classifier.load(path)
    assert (web.labels, web.digest) == (python.labels, python.manifest.digest)
    texts = [example.text for example in tiny_examples] + list(tiny_other_texts)
    for found, expected in zip(web.classify(texts), python.classify(texts, batch_size=1), strict=True):
        assert np.abs(np.array(found["probs"]) - expected.probs).max() <= BUNDLES[name]
        assert found["prob"] == max(found["probs"])
        first, second = sorted(expected.probs)[:-3:-1]
        if first - second > 2 * BUNDLES[name]:
            assert found["label"] == expected.label
        assert found["truncated"] == expected.truncated
        assert (found["similarity"] is None) == (expected.similarity is None)
        assert found["similarity"] == pytest.approx(expected.similarity, abs=BUNDLES[name])


def test_no_texts(runtime, tiny_fp32_bundle_dir):
    assert runtime.load(tiny_fp32_bundle_dir).classify([]) == []


def test_pairs(runtime, tiny_pair_bundle_dir, tiny_pair_examples):
    texts = [example.content for example in tiny_pair_examples]
    found, python = runtime.load(tiny_pair_bundle_dir).classify(texts), Classifier.load(tiny_pair_bundle_dir)
    for answer, expected in zip(found, python.classify(texts, batch_size=1), strict=True):
        assert np.abs(np.array(answer["probs"]) - expected.probs).max() <= WEB_TO_PYTHON
        assert answer["label"] == expected.label


@pytest.mark.parametrize("name", [*BUNDLES, "tiny_pair_bundle_dir"])
def test_selftest(request, runtime, name):
    path = request.getfixturevalue(name)
    report, expected = runtime.load(path).selftest(), Classifier.load(path).selftest()
    assert (report["samples"], report["wrongIds"], report["tolerance"]) == (expected.samples, 0, expected.tolerance)
    assert report["passed"] is True
    assert report["maxDifference"] <= expected.tolerance


@pytest.mark.parametrize(
    "edit",
    [
        lambda samples: samples[0]["input_ids"].append(3),
        lambda samples: samples[0]["probs"].pop(),
        lambda samples: samples[1]["probs"].reverse(),
    ],
)
def test_a_selftest_that_fails(runtime, tiny_fp32_bundle_dir, tmp_path, edit):
    body = json.loads((tiny_fp32_bundle_dir / "selftest.json").read_bytes())
    edit(body["samples"])
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": json.dumps(body).encode()})
    report = runtime.load(path).selftest()
    assert report["passed"] is Classifier.load(path).selftest().passed is False


def test_thresholds_of_the_bundle_and_of_the_caller(runtime, tiny_fp32_bundle_dir, tmp_path):
    text = ["where is my parcel"]
    prob = runtime.load(tiny_fp32_bundle_dir).classify(text)[0]["prob"]
    path = edited(
        tiny_fp32_bundle_dir, tmp_path / "x.bundle", lambda body: body.update(decision={"threshold": prob + 1e-3})
    )
    strict = runtime.load(path)
    assert strict.classify(text)[0]["label"] is Classifier.load(path).classify(text)[0].label is None
    assert strict.classify(text)[0]["prob"] == prob
    assert strict.classify(text, threshold=prob - 1e-3)[0]["label"] == "shipping"
    assert strict.classify(text, threshold=prob)[0]["label"] == "shipping"
    assert runtime.load(tiny_fp32_bundle_dir).classify(text, threshold=1)[0]["label"] is None
    with pytest.raises(WebError) as caught:
        strict.classify(text, threshold=1.5)
    assert (caught.value.name, str(caught.value)) == (
        "DataError",
        "threshold: found 1.5, expected a probability from 0 to 1.",
    )


def test_no_label_below_the_min_similarity(runtime, tiny_fp32_bundle_dir, tmp_path):
    text = ["where is my parcel"]
    similarity = Classifier.load(tiny_fp32_bundle_dir).classify(text)[0].similarity
    for number, (threshold, label) in enumerate(
        ((None, "shipping"), (similarity - 0.01, "shipping"), (similarity + 0.01, None))
    ):
        decision = {"threshold": None, "scope_threshold": threshold}
        path = edited(
            tiny_fp32_bundle_dir,
            tmp_path / f"{number}.bundle",
            lambda body, value=decision: body.update(decision=value),
        )
        assert runtime.load(path).classify(text)[0]["label"] == Classifier.load(path).classify(text)[0].label == label


def test_label_names_that_are_special_in_javascript(runtime, tiny_fp32_bundle_dir, tmp_path):
    def edit(body):
        for label, name in zip(body["labels"], ("__proto__", "constructor", "null"), strict=True):
            label["name"] = name

    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    loaded = runtime.load(path)
    assert loaded.labels == ("__proto__", "constructor", "null")
    assert (
        loaded.classify(["where is my parcel"])[0]["label"]
        == Classifier.load(path).classify(["where is my parcel"])[0].label
    )


def test_disabled_optimizers_reach_onnxruntime(runtime, tiny_fp32_bundle_dir, tmp_path, tiny_other_texts):
    """The fusion adds numbers in another order, so the last digits show whether it is disabled."""
    answers = []
    for name, optimizers in (("off", ["SkipLayerNormFusion"]), ("on", [])):
        path = edited(
            tiny_fp32_bundle_dir,
            tmp_path / name,
            lambda body, value=optimizers: body["graph"].update(disabled_optimizers=value),
        )
        answers.append([answer["probs"] for answer in runtime.load(path).classify(list(tiny_other_texts))])
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 3], "texts[1]: found number, expected a string."),
        (["a", None], "texts[1]: found null, expected a string."),
        ([["a", "b"]], "texts[0]: found an array, expected a string."),
        ("a", "texts: found a string, expected an array of texts."),
    ],
)
def test_invalid_texts(runtime, tiny_fp32_bundle_dir, texts, message):
    with pytest.raises(WebError) as caught:
        runtime.load(tiny_fp32_bundle_dir).classify(texts)
    assert (caught.value.name, str(caught.value)) == ("DataError", message)


def test_one_text_for_a_bundle_of_pairs(runtime, tiny_pair_bundle_dir):
    with pytest.raises(WebError) as caught:
        runtime.load(tiny_pair_bundle_dir).classify(["one"])
    assert str(caught.value) == "texts[0]: found a string, expected two strings: this bundle classifies pairs."
