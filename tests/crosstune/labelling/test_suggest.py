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
def test_the_first_round_stands_for_the_whole_log(trained, tiny_backbone):
    """The next text is always the one that leaves the least of the log unexplained."""
    by_description = trained(())
    chosen = [item.text for item in suggest_texts(by_description, POOL, 5, backbone=tiny_backbone)]
    vectors = []
    for text in POOL:
        hidden = tiny_backbone.forward(tiny_backbone.tokenize([text]))
        mean = hidden.states[-1][0].double().numpy().mean(0)
        vectors.append(mean / np.linalg.norm(mean))
    x = np.array(vectors) - np.mean(vectors, 0)
    penalty = 0.1 * (x**2).sum() / len(x)

    def unexplained(rows):
        """What those rows leave of the products of all texts."""
        kernel = x @ x.T
        for row in rows:
            kernel = kernel - np.outer(kernel[row], kernel[row]) / (kernel[row, row] + penalty)
        return kernel

    rows: list[int] = []
    for _ in range(5):
        kernel = unexplained(rows)
        worth = (kernel**2).sum(0) / (np.diag(kernel) + penalty)
        rows.append(int(np.argmax(np.where(np.isin(np.arange(len(x)), rows), -1, worth))))
    assert chosen == [POOL[row] for row in rows]


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
