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
def test_each_label_in_turn_gets_the_text_that_represents_its_guesses_best(trained, tiny_backbone):
    """The next text of a label is the one that leaves the least of the products of its texts unexplained."""
    by_description = trained(())
    chosen = suggest_texts(by_description, POOL, 99, backbone=tiny_backbone)
    guesses = by_description.predict_proba(POOL, backbone=tiny_backbone).argmax(1)
    expected = []
    for label in np.unique(guesses):
        texts, vectors = [POOL[i] for i in np.flatnonzero(guesses == label)], []
        for text in texts:
            hidden = tiny_backbone.forward(tiny_backbone.tokenize([text]))
            mean = hidden.states[-1][0].double().numpy().mean(0)
            vectors.append(mean / np.linalg.norm(mean))
        x = np.array(vectors) - np.mean(vectors, 0)
        kernel, penalty, order = x @ x.T, 0.1 * (x**2).sum() / len(x) + 1e-12, []
        while len(order) < len(texts):
            worth = (kernel**2).sum(0) / (np.diag(kernel) + penalty)
            row = max(set(range(len(texts))) - set(order), key=worth.__getitem__)
            order.append(row)
            kernel = kernel - np.outer(kernel[row], kernel[row]) / (kernel[row, row] + penalty)
        expected += [(turn, -len(texts), texts[row]) for turn, row in enumerate(order)]
    assert [item.text for item in chosen] == [text for *_, text in sorted(expected, key=lambda item: item[:2])]
    assert chosen == suggest_texts(by_description, POOL, 99, backbone=tiny_backbone)


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")
@pytest.mark.parametrize("log_shares", ["shots", "estimate"])
@pytest.mark.parametrize("labels", [1, 3])
def test_later_rounds_take_the_smallest_margins_of_labels_that_count_alike(
    labels, log_shares, tiny_backbone, tiny_labels, tiny_examples
):
    """However frequent the labels are in the log, and also where all examples so far have one label."""
    shots = tiny_examples[:6] if labels == 1 else tiny_examples[:6] + tiny_examples[6::2]
    pool = [example.text for example in tiny_examples[7::2]]
    even = train(shots, tiny_labels, backbone=tiny_backbone)
    log = pool if log_shares == "estimate" else ()
    checkpoint = train(shots, tiny_labels, TrainConfig(log_shares=log_shares), backbone=tiny_backbone, unlabeled=log)
    top = np.sort(even.predict_proba(pool, backbone=tiny_backbone), 1)
    expected = [pool[i] for i in np.argsort(top[:, -1] - top[:, -2], kind="stable")]
    chosen = suggest_texts(checkpoint, pool, len(pool) + 5, backbone=tiny_backbone)
    assert [item.text for item in chosen] == expected
    probs = checkpoint.predict_proba(pool, backbone=tiny_backbone)
    for item in chosen:
        row = probs[pool.index(item.text)]
        assert (item.guess, item.prob) == (checkpoint.labels.names[row.argmax()], pytest.approx(row.max()))


@pytest.mark.filterwarnings("ignore::crosstune.CrossTuneWarning")
def test_a_rare_answer_is_in_the_first_round_and_others_take_its_place_when_it_runs_out(trained, tiny_backbone):
    checkpoint = trained(())
    guesses = [checkpoint.labels.names[i] for i in checkpoint.predict_proba(POOL, backbone=tiny_backbone).argmax(1)]
    by_guess = {
        name: [text for text, guess in zip(POOL, guesses, strict=True) if guess == name] for name in set(guesses)
    }
    rare, *others = sorted(by_guess, key=lambda name: len(by_guess[name]))
    pool = [text for name in others for text in by_guess[name]] + by_guess[rare][:1]
    first = suggest_texts(checkpoint, pool, len(by_guess), backbone=tiny_backbone)
    assert sorted(item.guess for item in first) == sorted(by_guess), "one text for each answer"
    number = len(by_guess) + 3
    more = [item.guess for item in suggest_texts(checkpoint, pool, number, backbone=tiny_backbone)]
    assert len(more) == number and more.count(rare) == 1
    assert abs(more.count(others[0]) - more.count(others[-1])) <= 1 or len(others) == 1


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
