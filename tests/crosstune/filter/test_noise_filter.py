"""The switch: teacher, threshold, gate, and its report."""

from __future__ import annotations

import hypothesis
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import strategies as st

from crosstune import DataError, Example, LabelSet, TrainConfig, filter_generated, read_examples, train
from crosstune.core.progress import no_progress
from crosstune.filter.label_gate import open_gate
from crosstune.filter.noise_filter import least_probability, share_of_wrong
from crosstune.filter.report import report_page
from crosstune.filter.result import DISAGREES, FILTER_REASONS, GATED, UNSURE
from crosstune.filter.teacher import FOLDS, Folds, HeadFit, fit_by_rows
from tests.conftest import REPO_ROOT
from tests.fixtures.fits import encoded
from tests.fixtures.report_pages import read_page

GENERATED = [
    Example("where is the box, when will it come", "shipping"),
    Example("the driver lost the lamp again", "shipping"),
    Example("i love this, great and kind work", "shipping"),
    Example("the invoice was charged to my card", "billing"),
    Example("send the money back to my card", "billing"),
    Example("when will the parcel arrive", "billing"),
    Example("the best work, i am so happy", "praise"),
    Example("great, great, i love the lamp", "praise"),
    Example("Text 1: so good", "praise"),
    Example("i love it!", "praise"),
    Example("the best work, I am so happy!", "praise"),
]


@pytest.fixture(scope="module")
def result(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    return filter_generated(GENERATED, tiny_examples, tiny_labels, config, backbone=tiny_backbone)


def by_word(words):
    """A teacher that goes by one word a label, sure of it, and does not look at shots."""

    def fit(shots, texts):
        hits = np.array([[word in text for word in words] for text in texts], np.float32).reshape(
            len(texts), len(words)
        )
        return (0.05 + hits) / (0.05 * len(words) + hits.sum(1, keepdims=True))

    return fit


def test_every_text_is_judged_once_in_its_order(result):
    assert [item.example for item in result.judged] == GENERATED
    assert list(result.kept) == [item.example for item in result.judged if item.reason is None]
    assert len(result.kept) + len(result.dropped) == len(GENERATED)
    assert sum(result.reasons.values()) == len(result.dropped)
    assert set(result.reasons) <= set(FILTER_REASONS)
    reasons = [item.reason for item in result.judged]
    assert reasons[8:] == ["placeholder", "copy of a shot", "duplicate"]


def test_what_is_kept_has_the_teacher_s_label_and_its_confidence(result, tiny_labels):
    for item in result.judged:
        assert item.teacher_label in tiny_labels.names
        assert 0 <= item.label_prob <= item.teacher_prob <= 1
        if item.reason in (None, GATED):
            assert item.label_prob >= result.threshold
        if item.reason in (DISAGREES, UNSURE):
            assert item.label_prob < result.threshold
            assert (item.teacher_label == item.example.label) == (item.reason == UNSURE)


def test_the_teacher_sees_no_generated_text(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels, result):
    """Whatever else is offered, a text's verdict by the teacher is the same."""
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    few = filter_generated(GENERATED[:3], tiny_examples, tiny_labels, config, backbone=tiny_backbone, gate=False)
    assert [item.label_prob for item in few.judged] == [item.label_prob for item in result.judged[:3]]


def test_a_teacher_of_one_s_own(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    teacher = by_word(["driver", "money", "love"])
    found = filter_generated(
        GENERATED[:8], tiny_examples, tiny_labels, config, backbone=tiny_backbone, teacher=teacher, gate=False
    )
    said = ["shipping", "shipping", "praise", "shipping", "billing", "shipping", "shipping", "praise"]
    assert [item.teacher_label for item in found.judged] == said
    assert [item.reason for item in found.judged[1:3]] == [None, DISAGREES]
    assert found.gates == ()
    assert found.accuracy_with is None
    checkpoint = train(tiny_examples, tiny_labels, config, backbone=tiny_backbone)
    assert found.accuracy_without == pytest.approx(checkpoint.quality.cv_accuracy), (
        "of the head, whoever the teacher is"
    )


@pytest.mark.slow
def test_the_gate_keeps_out_what_does_harm(minilm):
    """Real texts under the next label, which a bribed teacher waves through, and descriptions that say nothing against them."""
    rows = read_examples(REPO_ROOT / "examples/support_desk/train.jsonl")
    names = sorted({row.label for row in rows})[:3]
    labels = LabelSet.from_mapping({name: f"messages of kind {place}" for place, name in enumerate(names)})
    chosen = [row for row in rows if row.label in names]
    bribe = {row.text: (names.index(row.label) + 1) % 3 for row in chosen[::2]}
    bad = [Example(text, names[place]) for text, place in bribe.items()]

    def bribed(shots, texts):
        return np.array([np.eye(3)[bribe.get(text, 0)] * 0.9 + 0.1 / 3 for text in texts], np.float32)

    found = filter_generated(bad, chosen[1::2], labels, backbone=minilm, teacher=bribed)
    assert found.reasons.keys() <= {GATED, "duplicate"}
    assert found.kept == ()
    assert not any(gate.enters for gate in found.gates)
    assert found.accuracy_with == found.accuracy_without


def test_the_gate_decides_by_label(result):
    for gate in result.gates:
        assert gate.texts == sum(
            item.example.label == gate.label and item.reason in (None, GATED) for item in result.judged
        )
        assert gate.enters == any(item.reason is None and item.example.label == gate.label for item in result.judged)


def scripted(*answers):
    """Stands in for fits with generated texts: gives prepared answers, one set a trial."""
    remaining = iter(answers)

    def measure(entering, step):
        return next(remaining)

    return measure


def answers(truth, wrong, sure=0.8):
    """Held-out probabilities of two labels, with the shots of ``wrong`` answered wrongly."""
    probs = np.full((len(truth), 2), 1 - sure, np.float32)
    said = np.where(np.isin(np.arange(len(truth)), wrong), 1 - truth, truth)
    probs[np.arange(len(truth)), said] = sure
    return probs


@pytest.mark.parametrize(
    ("wrong", "sure", "enters"),
    [
        ([0, 1, 16, 17], 0.8, True),  # the same answers
        ([0, 1, 2, 16, 17], 0.82, True),  # one more of 32 is luck
        ([*range(10), 16, 17], 0.8, False),  # eight more are not
        ([*range(4), *range(16, 20)], 1 - 1e-6, False),  # four more, and the wrong ones surely so
        ([16], 0.8, True),
    ],
)
def test_the_gate_closes_where_real_examples_are_clearly_answered_worse(wrong, sure, enters):
    truth = np.repeat([0, 1], 16)
    without, with_them = answers(truth, [0, 1, 16, 17]), answers(truth, wrong, sure)
    measure = scripted(with_them, with_them, with_them)
    opened = open_gate(
        measure, ["a", "b"], {"a": 3, "b": 0}, without, truth, np.ones(len(truth), np.float32), no_progress
    )
    assert opened.entering == ({"a"} if enters else set())
    assert [gate.enters for gate in opened.gates] == [enters, False]


@pytest.mark.parametrize(("wrong_without", "wrong_with"), [([], range(16)), (range(16), []), ([], [])])
def test_the_gate_sees_what_all_real_examples_agree_on(wrong_without, wrong_with):
    """A change that is the same for every shot has no standard error; and texts of a label without shots cannot lower its F1."""
    truth = np.ones(16, np.int64)
    without, with_them = answers(truth, wrong_without), answers(truth, wrong_with)
    opened = open_gate(
        scripted(with_them), ["a", "b"], {"a": 3, "b": 0}, without, truth, np.ones(len(truth), np.float32), no_progress
    )
    better = len(wrong_without) - len(wrong_with)
    assert opened.entering == ({"a"} if better >= 0 else set())
    assert np.sign(opened.evidence) == np.sign(better)
    assert np.isfinite(opened.evidence), "the account is JSON"


@pytest.mark.fault("L23")
def test_the_gate_counts_labels_alike_however_many_shots_they_have():
    """Three of five shots of a rare label get worse and six of 27 of a frequent one get better."""
    truth = np.repeat([0, 1], [5, 27])
    without, with_them = answers(truth, range(5, 11)), answers(truth, range(3))
    opened = [
        open_gate(scripted(with_them), ["a", "b"], {"a": 0, "b": 3}, without, truth, weights, no_progress).evidence
        for weights in (np.ones(32, np.float32), np.repeat([3.2, 32 / 54], [5, 27]).astype(np.float32))
    ]
    assert opened[0] > 0 > opened[1]


@pytest.mark.parametrize(("labels", "enters"), [(4, False), (60, True)])
def test_of_many_labels_one_may_fall_by_luck(labels, enters):
    """Eight of 16 shots of a label get worse, and eight of another better: too many for one of 4 labels, luck for one of 60."""
    truth = np.repeat(np.arange(labels), 16)
    said_without, said_with = truth.copy(), truth.copy()
    said_without[32:40], said_with[:8] = 3, 1
    without, with_them = (
        np.eye(labels, dtype=np.float32)[said] / 2 + 0.5 / labels for said in (said_without, said_with)
    )
    names = [str(label) for label in range(labels)]
    opened = open_gate(
        scripted(with_them, without),
        names,
        dict.fromkeys(names, 3),
        without,
        truth,
        np.ones(len(truth), np.float32),
        no_progress,
    )
    assert ("0" in opened.entering) == enters
    assert opened.entering >= set(names[2:]), "label 1 is answered in its place"


def test_a_paraphrase_does_not_make_its_shot_look_easy(tiny_backbone, tiny_examples, tiny_labels):
    """The paper's head; labels at random cannot be foretold, even where each shot has a copy among the generated texts."""
    names = np.random.RandomState(1).permutation([shot.label for shot in tiny_examples])
    shots = [Example(shot.text, label) for shot, label in zip(tiny_examples, names, strict=True)]
    copies = [Example(f"{shot.text}!", shot.label) for shot in shots]
    config = TrainConfig(head="paper")
    fit = HeadFit(encoded(shots, copies, tiny_labels, config, tiny_backbone), config)
    truth, generated = np.array(tiny_labels.indices(shots)), np.arange(len(shots), 2 * len(shots))
    held_out = fit.judge(generated)[0].argmax(1)
    memorized = fit(generated, np.arange(len(shots))).argmax(1)
    assert (held_out == truth).mean() < 0.5 < (memorized == truth).mean()


@pytest.mark.parametrize("layers", [None, 1, "auto"])
def test_a_text_is_encoded_once_however_often_it_is_fitted_and_asked(
    layers, tmp_path, tiny_backbone, tiny_examples, tiny_labels
):
    forwarded = []

    class Counting:
        def forward(self, rows):
            forwarded.extend(dict.fromkeys(row.ids for row in rows))  # repeated texts fill a batch
            return tiny_backbone.forward(rows)

        def __getattr__(self, name):
            return getattr(tiny_backbone, name)

    config = TrainConfig(layers=layers)
    fit = HeadFit(encoded(tiny_examples, (), tiny_labels, config, Counting(), tmp_path / "f.sqlite"), config)
    even, odd = np.arange(0, 18, 2), np.arange(1, 18, 2)
    for shots, asked in ((even, odd), (odd, even)):
        fit(shots, asked)
    assert len(forwarded) == len(tiny_labels) + len(tiny_examples)


@hypothesis.given(st.lists(st.sampled_from("abc"), min_size=4, max_size=40), st.integers(0, 1 << 32 - 1))
def test_folds_are_even_for_each_label(names, seed):
    folds = Folds.assign([Example(f"text {i}", name) for i, name in enumerate(names)], seed)
    assert folds.table.shape == (2, len(names))
    for row in folds.table:
        for name in set(names):
            sizes = [
                sum(its == fold for its, other in zip(row, names, strict=True) if other == name)
                for fold in range(FOLDS)
            ]
            assert max(sizes) - min(sizes) <= 1
        sizes = [int((row == fold).sum()) for fold in range(FOLDS)]
        assert max(sizes) - min(sizes) <= 1


def test_held_out_answers_come_from_fits_that_did_not_see_the_shot(tiny_examples):
    seen = []

    def fit(shots, texts):
        seen.append({shot.text for shot in shots})
        assert not {shot.text for shot in shots} & set(texts)
        return np.array([[len(text), len(shots)] for text in texts], np.float32)

    folds = Folds.assign(tiny_examples, 3)
    examples = (*tiny_examples, Example("something else", "praise"))
    out, others = folds.held_out(fit_by_rows(fit, examples), np.array([len(tiny_examples)]))
    assert len(seen) == 2 * FOLDS
    assert (out[:, :, 0] == [len(shot.text) for shot in tiny_examples]).all()
    assert others.shape == (2 * FOLDS, 1, 2)
    assert others[:, 0, 1].tolist() == [len(texts) for texts in seen]


@hypothesis.given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=st.floats(2**-10, 1 - 2**-10, width=32)), st.integers(2, 9)
)
def test_the_share_of_wrong_labels_is_the_likeliest(label_probs, labels):
    def loss(noise):
        return -np.log((1 - noise) * label_probs + noise / (labels - 1) * (1 - label_probs)).sum()

    found = share_of_wrong(label_probs, labels)
    assert 0.01 <= found <= 0.99
    grid = np.linspace(0.01, 0.99, 99)
    assert loss(found) <= min(map(loss, grid)) + 1e-6 * len(label_probs)


@pytest.mark.parametrize(("labels", "wrong"), [(2, 0.1), (2, 0.4), (5, 0.0), (5, 0.3), (5, 0.7)])
def test_wrong_labels_are_counted_by_an_honest_teacher_however_unsure(labels, wrong):
    draw = np.random.RandomState(13)
    probs = draw.dirichlet(np.full(labels, 0.5), 4000)
    true = np.array([draw.choice(labels, p=row) for row in probs])
    spoilt = draw.rand(4000) < wrong
    asked = np.where(spoilt, (true + draw.randint(1, labels, 4000)) % labels, true)
    assert share_of_wrong(probs[np.arange(4000), asked], labels) == pytest.approx(max(wrong, 0.01), abs=0.05)


@hypothesis.given(st.floats(0.01, 0.99), st.integers(2, 20))
def test_the_least_probability_is_where_right_is_twice_as_likely_as_wrong(noise, labels):
    least = least_probability(noise, labels)
    assert (1 - noise) * least == pytest.approx(2 * noise / (labels - 1) * (1 - least))


def test_no_generated_text_at_all(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    found = filter_generated([], tiny_examples, tiny_labels, config, backbone=tiny_backbone)
    assert (found.judged, found.gates) == ((), ())


def test_a_head_teacher_is_training_itself(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    texts = ["where is the box", "so kind"]
    others = [Example(text, "praise") for text in texts]
    task = encoded(tiny_examples, others, tiny_labels, config, tiny_backbone)
    probs = HeadFit(task, config)(np.arange(18), np.array([18, 19]))
    checkpoint = train(tiny_examples, tiny_labels, config, backbone=tiny_backbone)
    assert probs == pytest.approx(checkpoint.predict_proba(texts, backbone=tiny_backbone), abs=1e-4)


UNKNOWN_SHOT = "shots:7: label 'x' is not one of 'shipping', 'billing', 'praise' (1 such rows)."
UNKNOWN = "generated:3: label 'x' is not one of 'shipping', 'billing', 'praise' (1 such rows)."
MIXED = "generated: pairs and single texts are mixed with the real examples. Give both the same kind."
FEW = "generated: the real examples have 2 labels with 2 texts, expected two labels with two texts or more. Label a few more."


@pytest.mark.parametrize(
    ("generated", "shots", "message"),
    [
        ([Example("a b", "x", line=3)], None, UNKNOWN),
        ([Example("a b", "praise")], [Example("c d", "praise", line=6), Example("e f", "x", line=7)], UNKNOWN_SHOT),
        ([Example("a b", "praise", "c")], None, MIXED),
        ([Example("a b", "praise")], [Example("c d", "praise"), Example("e f", "billing")], FEW),
    ],
)
def test_refused(generated, shots, message, tiny_backbone, tiny_examples, tiny_labels):
    with pytest.raises(DataError) as caught:
        filter_generated(generated, shots or tiny_examples, tiny_labels, backbone=tiny_backbone)
    assert str(caught.value).startswith(message)


# The report


def test_the_report_shows_everything_and_fetches_nothing(result):
    page = report_page(result, "<b>g.jsonl</b> & more")
    assert [page.count(f">{tick}</text>") for tick in ("0.25", "0.5", "0.75")] == [1, 1, 1]
    said = read_page(page).text
    assert f"{len(result.kept)} of {len(GENERATED)} generated texts kept" in said
    assert "<b>g.jsonl</b> & more" in said
    for item in result.judged:
        assert item.example.text in said
    for reason, count in result.reasons.items():
        assert f"{reason} ({count})" in said


def test_texts_in_the_report_are_text(tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels):
    nasty = [
        Example("<script>alert(1)</script> where is my box & bag", "shipping"),
        Example('"><img src=x onerror=y>', "praise"),
    ]
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    found = filter_generated(nasty, tiny_examples, tiny_labels, config, backbone=tiny_backbone, gate=False)
    assert nasty[0].text in read_page(report_page(found, "g")).text


def test_pairs_are_screened_and_shown_with_both_texts(
    tiny_backbone, tiny_backbone_dir, tiny_pair_examples, tiny_labels
):
    real = tiny_pair_examples[0]
    pairs = [
        Example(real.text.upper(), real.label, f"{real.text_pair}!"),
        Example("seven cups of tea", "praise", "they were on time"),
        Example("seven cups of tea", "praise", "a colour that nobody ordered"),
    ]
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    found = filter_generated(pairs, tiny_pair_examples, tiny_labels, config, backbone=tiny_backbone, gate=False)
    reasons = [item.reason for item in found.judged]
    assert reasons[0] == "copy of a shot"
    assert not {"copy of a shot", "duplicate"} & set(reasons[1:])
    rows = found.to_json()["texts"]
    assert [(row["text"], row["text_pair"]) for row in rows] == [item.content for item in pairs]
    said = read_page(report_page(found, "g")).text
    assert all(f"{item.text} | {item.text_pair}" in said for item in pairs)


def test_two_labels_with_one_text_are_both_judged(tiny_backbone, tiny_backbone_dir, tiny_examples):
    labels = LabelSet.from_mapping({"shipping": "where a parcel is", "billing": "a charge", "praise": "thanks"})
    twice = [Example("where is the box", "shipping"), Example("where is the box", "praise")]
    config = TrainConfig(backbone=str(tiny_backbone_dir))
    found = filter_generated(twice, tiny_examples, labels, config, backbone=tiny_backbone, gate=False)
    assert found.judged[1].reason == "duplicate"
