"""The answers of the C++ runtime equal those of Python for one text per call and the same onnxruntime."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from crosstune_export import Classifier
from tests.fixtures.c_library import CallError
from tests.fixtures.edited_bundle import edited
from tests.tolerances import CPP_TO_PYTHON

BUNDLES = ("tiny_bundle_dir", "tiny_fp32_bundle_dir", "tiny_paper_bundle_dir")


def all_texts(examples, others) -> list[str]:
    return [example.text for example in examples] + list(others)


@pytest.mark.parametrize("name", BUNDLES)
def test_answers_equal_pythons(request, library, tiny_examples, tiny_other_texts, name):
    path = request.getfixturevalue(name)
    cpp, python = library.load(path), Classifier.load(path)
    assert cpp.labels == python.labels
    for text in all_texts(tiny_examples, tiny_other_texts):
        found, expected = cpp.classify(text.encode()), python.classify([text], batch_size=1)[0]
        assert (found.label, found.truncated) == (expected.label, expected.truncated)
        assert np.abs(np.array(found.probs) - expected.probs).max() <= CPP_TO_PYTHON
        assert found.prob == max(found.probs)
        if expected.similarity is None:
            assert math.isnan(found.similarity)
        else:
            assert found.similarity == pytest.approx(expected.similarity, abs=CPP_TO_PYTHON)


def test_pairs(library, tiny_pair_bundle_dir, tiny_pair_examples):
    cpp, python = library.load(tiny_pair_bundle_dir), Classifier.load(tiny_pair_bundle_dir)
    assert library.takes_pairs(cpp.handle) == 1
    for example in tiny_pair_examples:
        first, second = example.content
        found, expected = cpp.classify(first.encode(), second.encode()), python.classify([(first, second)])[0]
        assert found.label == expected.label
        assert np.abs(np.array(found.probs) - expected.probs).max() <= CPP_TO_PYTHON


def test_threads_do_not_change_answers(library, tiny_fp32_bundle_dir, tiny_other_texts):
    one, two = library.load(tiny_fp32_bundle_dir), library.load(tiny_fp32_bundle_dir, threads=2)
    for text in tiny_other_texts:
        assert np.abs(np.subtract(one.classify(text.encode()).probs, two.classify(text.encode()).probs)).max() < 1e-5


@pytest.mark.parametrize("name", (*BUNDLES, "tiny_pair_bundle_dir"))
def test_selftest(request, library, name):
    path = request.getfixturevalue(name)
    report, expected = library.load(path).selftest(), Classifier.load(path).selftest()
    assert (report.samples, report.wrong_ids, report.tolerance) == (expected.samples, 0, expected.tolerance)
    assert abs(report.max_difference - expected.max_difference) <= CPP_TO_PYTHON


def test_a_selftest_that_fails(library, tiny_fp32_bundle_dir, tmp_path):
    body = json.loads((tiny_fp32_bundle_dir / "selftest.json").read_bytes())
    body["samples"][0]["input_ids"][0] += 1
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": json.dumps(body).encode()})
    with pytest.raises(CallError) as caught:
        library.load(path).selftest()
    expected = Classifier.load(path).selftest()
    assert caught.value.status == 6
    assert str(caught.value) == (
        f"self-test: 1 of {len(body['samples'])} samples with other ids, largest probability difference "
        f"{expected.max_difference:.1e}, expected 0 and at most 1e-04. Build for this machine."
    )


def probs_of(library, path, text=b"where is my parcel") -> list[float]:
    return sorted(library.load(path).classify(text).probs)


def test_thresholds_of_the_bundle_and_of_the_caller(library, tiny_fp32_bundle_dir, tmp_path):
    prob = probs_of(library, tiny_fp32_bundle_dir)[-1]
    path = edited(
        tiny_fp32_bundle_dir, tmp_path / "x.bundle", lambda body: body.update(decision={"threshold": prob + 1e-3})
    )
    assert library.load(path).classify(b"where is my parcel").label is None
    assert library.load(path).classify(b"where is my parcel").prob == pytest.approx(prob)
    assert library.load(path, threshold=prob - 1e-3).classify(b"where is my parcel").label == "shipping"
    assert library.load(tiny_fp32_bundle_dir, threshold=1).classify(b"where is my parcel").label is None


def test_no_label_below_the_min_similarity(library, tiny_fp32_bundle_dir, tmp_path):
    similarity = Classifier.load(tiny_fp32_bundle_dir).classify(["where is my parcel"])[0].similarity
    for number, (threshold, label) in enumerate(
        ((None, "shipping"), (similarity - 0.01, "shipping"), (similarity + 0.01, None))
    ):
        decision = {"threshold": None, "scope_threshold": threshold}
        path = edited(
            tiny_fp32_bundle_dir,
            tmp_path / f"{number}.bundle",
            lambda body, value=decision: body.update(decision=value),
        )
        answer = library.load(path).classify(b"where is my parcel")
        assert answer.label == Classifier.load(path).classify(["where is my parcel"])[0].label == label
        assert answer.similarity == pytest.approx(similarity, abs=CPP_TO_PYTHON)


def test_scope_is_nan_when_the_bundle_lacks_it(library, tiny_paper_bundle_dir):
    assert math.isnan(library.load(tiny_paper_bundle_dir).classify(b"where is my parcel").similarity)


def test_disabled_optimizers_reach_onnxruntime(library, tiny_fp32_bundle_dir, tmp_path, tiny_other_texts):
    """The fusion adds numbers in another order, so the last digits show whether it is disabled."""
    answers = []
    for name, optimizers in (("off", ["SkipLayerNormFusion"]), ("on", [])):
        path = edited(tiny_fp32_bundle_dir, tmp_path / name, put_graph(disabled_optimizers=optimizers))
        cpp = library.load(path)
        answers.append([cpp.classify(text.encode()).probs for text in tiny_other_texts])
        expected = Classifier.load(path).predict_proba(list(tiny_other_texts), batch_size=1)
        assert answers[-1] == [tuple(row) for row in expected.tolist()]
    assert answers[0] != answers[1]


def put_graph(**fields):
    return lambda body: body["graph"].update(fields)


@pytest.mark.parametrize(
    ("text", "pair", "message"),
    [
        (b"one", b"two", "text: found two strings, expected one: this bundle classifies single texts."),
        (None, None, "text: found NULL, expected a string."),
    ],
)
def test_invalid_texts(library, tiny_fp32_bundle_dir, text, pair, message):
    from tests.fixtures.c_library import Answer, Text

    loaded = library.load(tiny_fp32_bundle_dir)
    text_struct = Text(text, 3, pair, 3)
    answer = Answer()
    status = library.classify(loaded.handle, text_struct, answer, None)
    assert (status, library.error().decode()) == (2 if text is None else 3, message)


def test_one_text_for_a_bundle_of_pairs(library, tiny_pair_bundle_dir):
    with pytest.raises(CallError) as caught:
        library.load(tiny_pair_bundle_dir).classify(b"one")
    assert (caught.value.status, str(caught.value)) == (
        3,
        "text: found one string, expected two: this bundle classifies pairs.",
    )
