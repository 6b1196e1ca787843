"""Unusual texts and thresholds: the same ids and answers in every runtime."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crosstune_export import Classifier
from tests.fixtures.edited_bundle import edited, put
from tests.fixtures.forged_graphs import failing, with_open_columns
from tests.runtimes.every_runtime import PythonRuntime, Refused
from tests.tolerances import CPP_TO_PYTHON, WEB_TO_PYTHON

TOLERANCE = max(CPP_TO_PYTHON, WEB_TO_PYTHON)
TEXTS = {
    "empty": "",
    "white space": " \t\r\n\u00a0\u3000\u2003 ",
    "invisible characters": "\u200b\u200d\ufeff\u00ad",
    "unpaired high surrogate": "parcel \ud83d parcel",
    "unpaired low surrogate": "\ude00parcel",
    "surrogates in the wrong order": "\ude00\ud83d\ud83d\ude00",
    "beyond U+FFFF": "parcel \U0001f600\U0010ffff \U00020000",
    "ten thousand words": "parcel " * 10_000,
    "one very long word": "parcel" * 20_000,
    "more bytes than the limit": "é" * 33_000 + " parcel",
    "a combining mark at the start": "\u0301parcel",
    "ten thousand combining marks": "e" + "\u0301\u0323" * 5_000 + " parcel",
    "an emoji sequence": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd parcel",
    "dotted and dotless i": "\u0130I\u0131i PARCEL",
    "special tokens": "[CLS] parcel [SEP] [PAD] [UNK]",
}  # fmt: skip


@pytest.fixture(scope="module")
def python(tiny_fp32_bundle_dir):
    return Classifier.load(tiny_fp32_bundle_dir)


@pytest.mark.fault("H1", "H3", "H4", "H7", "H11")
@pytest.mark.parametrize("name", TEXTS)
def test_texts(runtime, tiny_fp32_bundle_dir, python, name):
    text = TEXTS[name]
    loaded, expected = runtime.load(tiny_fp32_bundle_dir), python.classify([text], batch_size=1)[0]
    assert loaded.ids(text) == (python.token_ids([text])[0], expected.truncated)
    answer = loaded.answer(text)
    assert (answer.label, answer.truncated) == (expected.label, expected.truncated)
    assert np.abs(np.array(answer.probs) - expected.probs).max() <= TOLERANCE
    loaded.close()


@pytest.mark.fault("L8")
@pytest.mark.parametrize("text", ["where\0is my parcel", "é\x01", "a\x7f", "a\x85"])
def test_control_characters_are_refused_and_have_the_same_ids(runtime, tiny_fp32_bundle_dir, python, text):
    loaded = runtime.load(tiny_fp32_bundle_dir)
    if not isinstance(runtime, PythonRuntime):  # which has no other way to ids than the expected one
        assert loaded.ids(text)[0] == python.token_ids([text])[0]
    position = next(i for i, character in enumerate(text) if not character.isprintable())
    problem = f"has the control character U+{ord(text[position]):04X} at position {position}. Remove it."
    with pytest.raises(Refused) as caught:
        loaded.answer(text)
    assert (caught.value.code, caught.value.message.endswith(problem)) == (3, True)
    loaded.close()


@pytest.mark.fault("H1", "H4")
@pytest.mark.parametrize(
    "pair",
    [
        ("", ""),
        ("parcel", ""),
        ("", "parcel"),
        ("parcel " * 100, ""),
        ("", "parcel " * 100),
        ("parcel " * 100, "invoice"),
        ("box", "invoice " * 100),
        ("parcel " * 100, "invoice " * 99),
        ("parcel " * 10_000, "x\ud800"),
    ],
)
def test_pairs(runtime, tiny_pair_bundle_dir, pair):
    python = Classifier.load(tiny_pair_bundle_dir)
    loaded, expected = runtime.load(tiny_pair_bundle_dir), python.classify([pair], batch_size=1)[0]
    assert loaded.ids(pair) == (python.token_ids([pair])[0], expected.truncated)
    answer = loaded.answer(pair)
    assert (answer.label, answer.truncated) == (expected.label, expected.truncated)
    assert np.abs(np.array(answer.probs) - expected.probs).max() <= TOLERANCE
    loaded.close()


def test_a_probability_equal_to_the_threshold_is_enough(runtime, tiny_fp32_bundle_dir, tmp_path):
    """Probabilities are float32 and thresholds float64; the next larger float64 is above the probability."""
    text = "where is my parcel"
    loaded = runtime.load(tiny_fp32_bundle_dir)
    answer = loaded.answer(text)
    prob = max(answer.probs)
    assert loaded.answer(text, threshold=prob).label == answer.label == "shipping"
    assert loaded.answer(text, threshold=math.nextafter(prob, 1)).label is None
    assert loaded.answer(text, threshold=0).label == "shipping"
    for limit, label in (
        (answer.similarity, "shipping"),
        (math.nextafter(answer.similarity, 1), None),
        (-1, "shipping"),
    ):
        edit = put("decision", "scope_threshold", limit)
        path = edited(tiny_fp32_bundle_dir, tmp_path / f"{limit}.bundle", edit)
        assert runtime.load(path).answer(text).label == label


@pytest.mark.fault("L12")
def test_a_smallest_similarity_replaces_that_of_the_bundle(runtime, tiny_fp32_bundle_dir, tmp_path):
    text = "where is my parcel"
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("decision", "scope_threshold", 1))
    similarity = runtime.load(path).answer(text).similarity
    for limit, label in ((None, None), (similarity, "shipping"), (math.nextafter(similarity, 1), None)):
        assert runtime.load(path).answer(text, min_similarity=limit).label == label


@pytest.mark.fault("L12")
@pytest.mark.parametrize("limit", [1.5, -1.25])
def test_an_invalid_smallest_similarity(runtime, tiny_fp32_bundle_dir, limit):
    with pytest.raises(Refused) as caught:
        runtime.load(tiny_fp32_bundle_dir).answer("a", min_similarity=limit)
    message = f"min_similarity: found {limit}, expected a number from -1 to 1."
    assert (caught.value.code, caught.value.message) == (3, message)


@pytest.mark.fault("L12")
def test_a_smallest_similarity_needs_a_bundle_that_measures_it(runtime, tiny_paper_bundle_dir):
    with pytest.raises(Refused) as caught:
        runtime.load(tiny_paper_bundle_dir).answer("a", min_similarity=0.5)
    message = (
        "min_similarity: found 0.5, expected none: this bundle measures no similarity. Train with the default head."
    )
    assert (caught.value.code, caught.value.message) == (2, message)


@pytest.mark.fault("H10")
@pytest.mark.parametrize("threshold", [1.5, -0.25, math.nextafter(1, 2)])
def test_an_invalid_threshold(runtime, tiny_fp32_bundle_dir, threshold):
    with pytest.raises(Refused) as caught:
        runtime.load(tiny_fp32_bundle_dir).answer("a", threshold)
    message = f"threshold: found {threshold}, expected a probability from 0 to 1."
    assert (caught.value.code, caught.value.message) == (3, message)


@pytest.mark.fault("H9")
@pytest.mark.parametrize("output", ["probs", "scope"])
def test_numbers_that_are_not_finite_are_an_error(runtime, tiny_fp32_bundle_dir, tmp_path, output):
    model = failing((tiny_fp32_bundle_dir / "model.onnx").read_bytes(), output)
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"model.onnx": model})
    with pytest.raises(Refused) as caught:
        runtime.load(path).answer("hello")
    assert caught.value.code == 3
    assert caught.value.message.endswith(": the graph gave probabilities that are not finite. Verify the bundle.")


def test_a_graph_with_too_few_probabilities(runtime, tiny_fp32_bundle_dir, tmp_path):
    """The graph returns one probability per token: two for the empty text, but there are three labels."""
    model = with_open_columns((tiny_fp32_bundle_dir / "model.onnx").read_bytes())
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"model.onnx": model})
    loaded = runtime.load(path)
    assert loaded.answer("where is my parcel").label == "shipping"
    with pytest.raises(Refused) as caught:
        loaded.answer("")
    assert caught.value.code == 5
    assert caught.value.message.endswith("Build the bundle again.")


@pytest.mark.fault("H2")
def test_pairs_and_single_texts_are_not_mixed_up(runtime, tiny_fp32_bundle_dir, tiny_pair_bundle_dir):
    for path, text in ((tiny_fp32_bundle_dir, ("a", "b")), (tiny_pair_bundle_dir, "a")):
        with pytest.raises(Refused) as caught:
            runtime.load(path).answer(text)
        assert caught.value.code == 3
