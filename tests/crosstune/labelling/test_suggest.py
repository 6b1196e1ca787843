"""Which texts are suggested, and what is said of the last round."""

import numpy as np
import pytest

from crosstune import Example, RoundGain, TrainConfig, measure_round, suggest_texts, train
from tests.conftest import TINY_TEXTS

POOL = [text for texts in TINY_TEXTS.values() for text in texts]


@pytest.fixture
def trained(tiny_backbone, tiny_labels, tmp_path):
    def call(examples):
        return train(examples, tiny_labels, backbone=tiny_backbone, cache_path=tmp_path / "features.sqlite")

    return call


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")
def test_the_first_round_spreads_over_what_the_descriptions_answer(trained, tiny_backbone):
    by_description = trained(())
    answers = by_description.predict_proba(POOL, backbone=tiny_backbone).argmax(1)
    chosen = suggest_texts(by_description, POOL, 6, backbone=tiny_backbone)
    counts = np.bincount([by_description.labels.index(item.guess) for item in chosen], minlength=3)
    expected = np.minimum(np.bincount(answers, minlength=3), 2)
    assert (counts >= expected).all(), "each label that is answered often enough gets its share"
    assert chosen == suggest_texts(by_description, POOL, 6, backbone=tiny_backbone)
    others = suggest_texts(by_description, POOL, 6, seed=14, backbone=tiny_backbone)
    assert {item.text for item in chosen} != {item.text for item in others}


def test_later_rounds_take_the_smallest_margins(trained, tiny_backbone, tiny_examples):
    shots, pool = tiny_examples[::2], [example.text for example in tiny_examples[1::2]]
    checkpoint = trained(shots)
    probs = checkpoint.predict_proba(pool, backbone=tiny_backbone)
    top = np.sort(probs, 1)
    expected = [pool[i] for i in np.argsort(top[:, -1] - top[:, -2], kind="stable")]
    chosen = suggest_texts(checkpoint, pool, len(pool) + 5, backbone=tiny_backbone)
    assert [item.text for item in chosen] == expected
    for item in chosen:
        row = probs[pool.index(item.text)]
        assert (item.guess, item.prob) == (checkpoint.labels.names[row.argmax()], pytest.approx(row.max()))


def test_nothing_is_suggested_twice_or_known_already(trained, tiny_backbone, tiny_examples):
    checkpoint = trained(tiny_examples)
    pool = ["Where is my parcel?", "a new text about money", "A new text, about money!", "a new text about money"]
    assert [item.text for item in suggest_texts(checkpoint, pool, 9, backbone=tiny_backbone)] in (
        ["a new text about money"],
        ["A new text, about money!"],
    )
    assert suggest_texts(checkpoint, [], 9, backbone=tiny_backbone) == ()


def test_a_round_that_teaches_a_label_pays(tiny_labels, tiny_examples, tmp_path):
    """The first round has wrong labels only by chance of its shots: here, one label has none, and its description is misleading."""
    labels = type(tiny_labels).from_mapping(
        {"shipping": "where a parcel is", "billing": "a charge or an invoice", "praise": "a question about the parcel"}
    )
    rounds = [1 if example.label != "praise" else 2 for example in tiny_examples]
    gain = measure_round(tiny_examples, rounds, labels, TrainConfig(), cache_path=tmp_path / "features.sqlite")
    assert gain is not None and gain.pays
    assert gain.with_round - gain.without > 0.15


def test_a_round_pays_if_it_gains_more_than_a_standard_error(tiny_labels, tiny_backbone):
    assert RoundGain(0.60, 0.64, 0.03).pays and not RoundGain(0.60, 0.62, 0.03).pays
    one_label = [Example("where is it", "shipping"), Example("where is the box", "shipping")]
    assert measure_round(one_label, [1, 1], tiny_labels, backbone=tiny_backbone) is None
