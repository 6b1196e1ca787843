"""Texts that the backbone cannot tell apart."""

import warnings

import pytest

from crosstune import CrossTuneWarning, DataError, Example, TrainConfig, train
from crosstune.backbone.indistinguishable import check_indistinguishable


def rows(*texts):
    return [Example(text, "ab"[i % 2], line=i + 1) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["late box", "Late  BOX", "good"], "line 1, which is labelled 'a' and not 'b' (1 such rows)."),
        (["😀", "😢", "😁", "good"], "line 1, which is labelled 'a' and not 'b' (1 such rows)."),
        (["parcel " * 70, "parcel " * 80, "good"], "line 1, which is labelled 'a' and not 'b' (1 such rows)."),
    ],
    ids=["letter case", "unknown words", "cut ends"],
)
def test_texts_that_look_alike_are_a_warning(tiny_backbone, texts, message):
    with pytest.warns(CrossTuneWarning) as caught:
        check_indistinguishable(rows(*texts), tiny_backbone, "train.jsonl")
    assert [str(item.message) for item in caught] == [
        f"train.jsonl:2: to {tiny_backbone.name} this text is the same as that of {message}"
    ]


def test_texts_that_look_alike_under_one_label_are_fine(tiny_backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_indistinguishable([Example("Good", "a"), Example("good", "a"), Example("late", "b")], tiny_backbone, "x")
        check_indistinguishable([Example("😀", "a"), Example("😢", "a")], tiny_backbone, "x")
        check_indistinguishable([], tiny_backbone, "x")


@pytest.mark.parametrize("settings", [{}, {"head": "paper", "epochs": 1}], ids=["default", "paper"])
def test_a_language_that_the_backbone_does_not_know_is_refused(tiny_backbone, tiny_labels, settings):
    """Nothing can be learned, and the units of features that never differ are no numbers that a graph can hold."""
    examples = [Example(text, name) for text, name in zip("😀😢😁", tiny_labels.names, strict=True)]
    with pytest.raises(DataError) as caught:
        train(examples, tiny_labels, TrainConfig(**settings), backbone=tiny_backbone, where="train.jsonl")
    assert str(caught.value) == (
        f"train.jsonl: to {tiny_backbone.name} all 3 texts are the same, expected words that it knows. "
        "Take a backbone of their language."
    )
