"""The words of a text, their tokens, and the effect of removing one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune_export import Classifier, DataError
from crosstune_export.runtime.explanation import log_odds
from tests.crosstune_export.runtime.test_tokenization import pairs, single  # noqa: F401

TEXTS = st.text(st.one_of(st.characters(max_codepoint=0x3FF), st.sampled_from(" .,商parcel 😀")), max_size=120)


def tiles(words, first: int, stop: int) -> bool:
    """Whether the words' tokens are all positions from first to stop, in order and once."""
    return [at for word in words for at in word.tokens] == list(range(first, stop))


@given(TEXTS)
def test_words_cover_the_tokens_of_a_text(single, text):  # noqa: F811
    words, row = single.words(text), single.rows([text])[0]
    assert tiles(words, 1, len(row.ids) - 1)
    ends = [0]
    for word in words:
        assert word.part == 0 and word.text == text[word.start : word.end]
        assert ends[-1] <= word.start <= word.end <= len(text)
        ends.append(word.end)


@given(TEXTS, TEXTS)
def test_words_cover_the_tokens_of_a_pair(pairs, first, second):  # noqa: F811
    words, row = pairs.words((first, second)), pairs.rows([(first, second)])[0]
    middle = row.type_ids.index(1) - 1  # the token between the texts; the last one has type 1 as well
    assert tiles([word for word in words if word.part == 0], 1, middle)
    assert tiles([word for word in words if word.part == 1], middle + 1, len(row.ids) - 1)
    for word in words:
        assert word.text == (first, second)[word.part][word.start : word.end]
        assert {row.type_ids[at] for at in word.tokens} == {word.part}


def test_words_are_what_a_reader_calls_words(single):  # noqa: F811
    text = "Where is my PARCEL, zebra?"
    words = single.words(text)
    assert [word.text for word in words] == ["Where", "is", "my", "PARCEL", ",", "zebra", "?"]
    for word in words:
        alone, whole = single.rows([word.text])[0].ids[1:-1], single.rows([text])[0].ids
        assert tuple(whole[at] for at in word.tokens) == alone


def test_a_row_without_a_word(single):  # noqa: F811
    row, words = single.rows(["where is my parcel"])[0], single.words("where is my parcel")
    assert row.without(words[2].tokens) == single.rows(["where is parcel"])[0]


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=5))
def test_log_odds(logits):
    wide = np.exp(np.array(logits) - max(logits))
    probs = wide / wide.sum()
    expected = [np.log(wide[i]) - np.log(sum(np.delete(wide, i))) for i in range(len(logits))]
    assert log_odds(probs[None].astype(np.float32))[0] == pytest.approx(expected, abs=1e-4)


def test_evidence_is_what_leaving_the_word_out_changes(tiny_fp32_bundle_dir):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    text = "where is my parcel"
    found = classifier.explain(text)
    assert found.prediction == classifier.classify([text])[0]
    assert set(found.to_json(["a", "b", "c"])["words"][0]["evidence"]) == {"a", "b", "c"}
    assert set(found.to_json()["words"][0]["evidence"]) == set(classifier.labels)
    assert [word.word for word in found.words] == text.split()
    whole = classifier.predict_proba([text])[0].astype(np.float64)
    for word in found.words:
        without = classifier.predict_proba([" ".join((text[: word.start] + text[word.end :]).split())])[0].astype(
            np.float64
        )
        expected = np.log(whole / (1 - whole)) - np.log(without / (1 - without))
        assert word.evidence == pytest.approx(expected, abs=1e-3)
        assert word.evidence.dtype == np.float32


def test_the_threshold_counts_and_the_batch_size_does_not(tiny_fp32_bundle_dir):
    classifier = Classifier.load(tiny_fp32_bundle_dir)
    first, second = (classifier.explain("where is it, when will it come", batch_size=size) for size in (1, 32))
    for one, other in zip(first.words, second.words, strict=True):
        assert one.evidence == pytest.approx(other.evidence, abs=1e-4)
    assert classifier.explain("where is it", threshold=1.0).prediction.label is None


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_words(tiny_fp32_bundle_dir, text):
    assert Classifier.load(tiny_fp32_bundle_dir).explain(text).words == ()


def test_words_beyond_the_limit_are_not_there(tiny_fp32_bundle_dir):
    found = Classifier.load(tiny_fp32_bundle_dir).explain("parcel " * 100)
    assert found.prediction.truncated and len(found.words) == 62


def test_what_is_no_text(tiny_fp32_bundle_dir):
    with pytest.raises(DataError, match=r"^texts\[0\]: found int, expected a string\.$"):
        Classifier.load(tiny_fp32_bundle_dir).explain(3)


@pytest.mark.fault("L16")
@pytest.mark.parametrize("text", ["where is my parcel", "", " . "])
def test_the_cost_is_known_before(tiny_fp32_bundle_dir, monkeypatch, text):
    """As many tokens as if each run read the whole text; the runs without a word read fewer."""
    classifier, read = Classifier.load(tiny_fp32_bundle_dir), []
    predict = classifier._predict
    monkeypatch.setattr(
        classifier, "_predict", lambda rows, *args, **named: read.extend(rows) or predict(rows, *args, **named)
    )
    cost = classifier.explain_tokens(text)
    classifier.explain(text)
    assert cost == len(read) * len(read[0].ids)
