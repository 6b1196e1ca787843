"""How the default head chooses: folds, labels without shots, no shots at all, the order of the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosstune.features.spec import Atom
from crosstune.heads.default import mixing, strengths
from crosstune.heads.default.mixing import ZERO_SHOT_SCALE
from crosstune.heads.default.mixing import select as select_head
from crosstune.heads.default.strengths import FEWEST_STEPS, GRIDS, WORK_BUDGET, Grid, affordable_grid, fold_table
from crosstune.heads.feature_plan import default_views, spec_of
from crosstune.heads.shares import shot_weights
from tests.tolerances import FIT_TOGETHER, PROBS_LABEL_ORDER, ZERO_SHOT_LOGITS

HIDDEN = 6
LAYERS = 2
VIEWS = default_views(LAYERS)
SPEC = spec_of(VIEWS, LAYERS)
POOLED = len(SPEC.atoms) * HIDDEN
FOUND = 12  # numbers from label queries: 2 layers of 6 queries


def features(random, rows):
    """Unit-length atoms side by side, and what label queries found."""
    values = random.randn(rows, len(SPEC.atoms), HIDDEN)
    values = (values / np.linalg.norm(values, axis=2, keepdims=True)).reshape(rows, POOLED)
    return torch.tensor(np.hstack([values, 0.1 * random.randn(rows, FOUND)]), dtype=torch.float32)


def select(views, rows, targets, keys, seed, progress=None, further=0):
    return select_head(views, SPEC, rows, targets, keys, HIDDEN, seed, progress, generated=further)


def prior_keys(chosen, keys):
    """What the descriptions alone are worth, as the head's documentation writes it."""
    return chosen.prior_scale * (keys - chosen.prior_shift)


def task(seed, shots, labels):
    """Label vectors, and shots that lie around them."""
    random = np.random.RandomState(seed)
    keys = features(random, labels)
    targets = torch.tensor([i % labels for i in range(shots)])
    return keys[targets] + 0.8 * features(random, shots), targets, keys


def probs(selection, rows):
    return (rows @ selection.label_keys.t() + selection.label_bias).softmax(1).numpy()


@given(
    targets=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    folds=st.integers(2, 6),
    seed=st.integers(0, (1 << 32) - 1),
)
def test_folds_are_stratified_and_decided_by_the_seed(targets, folds, seed):
    grid = Grid((1.0,), (1.0,), folds, repeats=2)
    table = fold_table(targets, grid, seed)
    assert table.of_shot.shape == (2, len(targets))
    assert torch.equal(table.of_shot, fold_table(targets, grid, seed).of_shot)
    for fold in table.of_shot:
        assert set(fold.tolist()) <= set(range(folds))
        sizes = np.bincount(fold, minlength=folds)
        assert sizes.max() - sizes.min() <= 1
        for label in set(targets):
            of_label = np.bincount(fold[np.array(targets) == label], minlength=folds)
            assert of_label.max() - of_label.min() <= 1


def test_repeats_and_seeds_deal_the_shots_differently():
    grid = Grid((1.0,), (1.0,), 5, repeats=3)
    targets = [0] * 20 + [1] * 20
    tables = [fold_table(targets, grid, seed).of_shot for seed in (0, 1)]
    rows = [tuple(fold.tolist()) for table in tables for fold in table]
    assert len(set(rows)) == 6


def test_the_views_are_the_last_layers():
    assert spec_of(default_views(6), 6).attention == (2, 4, 6)
    assert spec_of(default_views(6), 6).atoms == (
        *(Atom("mean", layer) for layer in (3, 4, 5, 6)),
        *(Atom("max", layer) for layer in (4, 5, 6)),
        *(Atom("first", layer) for layer in (4, 5, 6)),
    )
    for layers in (1, 2, 3, 12):
        for view in default_views(layers):
            assert all(0 <= atom.layer <= layers for atom in view.atoms)
            assert len(set(view.atoms)) == len(view.atoms)


def test_it_learns_what_can_be_learned():
    rows, targets, keys = task(0, 30, 3)
    chosen = select(VIEWS, rows, targets, keys, 13)
    assert chosen.quality.cv_accuracy is not None
    assert chosen.quality.cv_accuracy > 0.8
    fresh, gold, _ = task(0, 60, 3)
    assert (probs(chosen, fresh).argmax(1) == gold.numpy()).mean() > 0.8
    assert [view.name for view in chosen.views] == [view.name for view in VIEWS]
    assert all(choice.weight >= 0 for choice in chosen.views)
    assert all(0 <= choice.cv_accuracy <= 1 for choice in chosen.views)
    assert all(0 <= choice.scale <= 80 and 10**-5.5 <= choice.penalty <= 1 for choice in chosen.views)


def test_descriptions_that_mislead_are_overruled_by_the_shots():
    """The shots lie at the keys of the next label: with enough of them the prior must give way."""
    rows, targets, keys = task(1, 48, 3)
    chosen = select(VIEWS, rows, targets, keys.roll(1, 0), 13)
    assert chosen.quality.cv_accuracy is not None
    assert chosen.quality.cv_accuracy > 0.8


def test_the_same_bits_twice():
    rows, targets, keys = task(2, 12, 3)
    one, two = (select(VIEWS, rows, targets, keys, 7) for _ in range(2))
    for name in ("label_keys", "label_bias", "prior_scale", "prior_shift", "prior_centre"):
        assert torch.equal(getattr(one, name), getattr(two, name))


def test_a_paraphrase_does_not_make_its_shot_look_easy(monkeypatch):
    """Labels at random cannot be foretold, even where each shot has a near copy among the generated texts."""
    random = np.random.RandomState(5)
    shots, keys = features(random, 40), features(random, 2)
    targets = torch.tensor(random.permutation([0, 1] * 20))
    rows = torch.cat([shots, shots + 0.01 * features(random, 40)])
    honest = select(VIEWS, rows, targets.repeat(2), keys, 13, further=40).quality
    assert honest.cv_accuracy < 0.7
    monkeypatch.setattr(mixing, "nearest_shots", lambda *_: torch.arange(40).roll(1))
    assert select(VIEWS, rows, targets.repeat(2), keys, 13, further=40).quality.cv_accuracy > 0.8, "as it would be"


@pytest.mark.fault("B13")
def test_the_order_of_the_labels_does_not_change_the_answers():
    rows, targets, keys = task(3, 20, 4)
    order = torch.tensor([2, 0, 3, 1])
    place = torch.argsort(order)
    one = select(VIEWS, rows, targets, keys, 13)
    two = select(VIEWS, rows, place[targets], keys[order], 13)
    fresh = task(3, 80, 4)[0]
    np.testing.assert_array_equal(probs(one, fresh).argmax(1), order[probs(two, fresh).argmax(1)])
    np.testing.assert_allclose(probs(one, fresh)[:, order], probs(two, fresh), rtol=0, atol=PROBS_LABEL_ORDER)


@pytest.mark.fault("B2")
@pytest.mark.parametrize("unseen", range(4))
def test_a_label_without_shots_is_known_by_its_description(unseen):
    random = np.random.RandomState(4)
    keys = features(random, 4)
    targets = torch.tensor([label for label in range(4) if label != unseen] * 6)
    rows = keys[targets] + 0.5 * features(random, 18)
    chosen = select(VIEWS, rows, targets, keys, 13)
    same = torch.isclose(chosen.label_keys, prior_keys(chosen, keys), rtol=0, atol=FIT_TOGETHER).all(1)
    assert same.tolist() == [label == unseen for label in range(4)]
    np.testing.assert_allclose(
        chosen.label_bias[unseen], -chosen.label_keys[unseen] @ chosen.prior_centre, rtol=0, atol=FIT_TOGETHER
    )
    fresh = keys[[unseen] * 20] + 0.5 * features(random, 20)
    assert (probs(chosen, fresh).argmax(1) == unseen).mean() > 0.8


def test_what_all_texts_have_in_common_says_nothing_about_a_label():
    """All texts share a direction, and one description has more of it than the others: it must not win by that."""
    right = []
    for seed in range(5):
        random = np.random.RandomState(seed)
        shared, keys = 3 * features(random, 1), features(random, 3)
        described = keys + torch.tensor([[2.0], [0.0], [0.5]]) * shared
        targets = torch.tensor([0, 1, 2] * 2)
        chosen = select(VIEWS, shared + keys[targets] + 0.5 * features(random, 6), targets, described, 13)
        gold = torch.tensor([0, 1, 2] * 20)
        fresh = shared + keys[gold] + 0.5 * features(random, 60)
        right.append((probs(chosen, fresh).argmax(1) == gold.numpy()).mean())
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("targets", [[], [1, 1, 1]], ids=["no shots", "one label only"])
def test_too_few_shots_leave_the_descriptions(targets):
    random = np.random.RandomState(5)
    keys = features(random, 3)
    rows = keys[targets] + 0.3 * features(
        random, len(targets)
    )  # of one label: their mean must not be taken from all texts
    chosen = select(VIEWS, rows, torch.tensor(targets, dtype=torch.int64), keys, 13)
    assert chosen.views == ()
    assert chosen.quality.cv_accuracy is None
    np.testing.assert_allclose(chosen.label_keys, prior_keys(chosen, keys), rtol=0, atol=FIT_TOGETHER)
    fresh = keys + 0.3 * features(random, 3)
    assert probs(chosen, fresh).argmax(1).tolist() == [0, 1, 2]
    # A plain re-computation: views count as they are believed in, each by its product with the descriptions.
    expected = np.zeros((3, 3))
    for view in VIEWS:
        columns = (
            np.concatenate([np.arange(HIDDEN) + HIDDEN * SPEC.atoms.index(atom) for atom in view.atoms])
            if view.atoms
            else np.arange(POOLED, POOLED + FOUND)
        )
        x, h = (value.double().numpy()[:, columns] / np.sqrt(max(1, len(view.atoms))) for value in (fresh, keys))
        expected += ZERO_SHOT_SCALE * view.weight * x @ (h - h.mean(0)).T
    assert not chosen.prior_centre.any()
    ours = (fresh @ chosen.label_keys.t() + chosen.label_bias).numpy()
    np.testing.assert_allclose(
        ours - ours.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), rtol=0, atol=ZERO_SHOT_LOGITS
    )


@pytest.mark.fault("B3")
@pytest.mark.parametrize("counts", [(1, 1), (1, 5), (1, 1, 1), (2, 1)])
def test_one_shot_of_a_label_is_enough(counts):
    random = np.random.RandomState(6)
    keys = features(random, len(counts))
    targets = torch.tensor([label for label, count in enumerate(counts) for _ in range(count)])
    chosen = select(VIEWS, keys[targets] + 0.3 * features(random, len(targets)), targets, keys, 13)
    assert chosen.quality.cv_accuracy is not None
    for value in (chosen.label_keys, chosen.label_bias, chosen.prior_scale):
        assert bool(torch.isfinite(value).all())


def test_shots_that_are_all_alike_give_finite_keys():
    random = np.random.RandomState(7)
    keys = features(random, 2)
    same = features(random, 1).repeat(6, 1)
    chosen = select(VIEWS, same, torch.tensor([0, 1] * 3), keys, 13)
    assert bool(torch.isfinite(chosen.label_keys).all())
    assert bool(torch.isfinite(chosen.label_bias).all())


def test_nothing_is_measured_on_further_texts():
    """Shots without rhyme or reason stay so, however well the further texts can be told apart."""
    random = np.random.RandomState(13)
    noise = torch.tensor([0, 1] * 20)[random.permutation(40)]
    easy, easy_targets, keys = task(13, 80, 2)
    rows, targets = torch.cat([features(random, 40), easy]), torch.cat([noise, easy_targets])
    together = select(default_views(2), rows, targets, keys, 13)
    apart = select(default_views(2), rows, targets, keys, 13, further=80)
    assert together.held_out.shape == (120, 2) and together.quality.cv_accuracy > 0.75
    assert apart.held_out.shape == (40, 2) and apart.quality.cv_accuracy < 0.7
    assert np.mean(probs(apart, easy).argmax(1) == easy_targets.numpy()) > 0.9  # they are learned from


def test_expected_shares_shift_the_held_out_logits_and_weigh_the_shots():
    rows, targets, keys = task(13, 60, 3)
    kept = (targets > 0) | (torch.arange(60) < 15)  # few shots of one label
    rows, targets, shares = rows[kept], targets[kept], torch.tensor([0.6, 0.3, 0.1]).log()
    targets[::5] = (targets[::5] + 1) % 3  # which nobody can predict
    plain = select(default_views(2), rows, targets, keys, 13)
    chosen = select_head(default_views(2), SPEC, rows, targets, keys, HIDDEN, 13, log_expected=shares)
    torch.testing.assert_close(chosen.held_out, plain.held_out + shares)
    torch.testing.assert_close(chosen.label_bias, plain.label_bias + shares)
    right, counted = chosen.held_out.argmax(1) == targets, shot_weights(targets, shares)
    assert 0 < right.sum() < len(right)
    assert chosen.quality.cv_accuracy == pytest.approx(float(counted[right].sum() / counted.sum()))


def test_progress_counts_the_views():
    rows, targets, keys = task(8, 8, 2)
    heard = []
    select(VIEWS, rows, targets, keys, 13, lambda done, total: heard.append((done, total)))
    assert heard == [(i, len(VIEWS)) for i in range(1, len(VIEWS) + 1)]


def test_every_grid_holds_its_extremes():
    for grid in GRIDS:
        assert grid.settings == len(grid.scales) * len(grid.penalties) * grid.folds * grid.repeats
    assert [grid.settings for grid in GRIDS] == sorted((grid.settings for grid in GRIDS), reverse=True)


def test_the_shipped_logits_have_the_temperature(monkeypatch):
    """At twice the temperature, keys and bias halve."""
    from crosstune.heads.default import mixing

    rows, targets, keys = task(3, 24, 3)
    once = select(VIEWS, rows, targets, keys, 13)
    fit = mixing.fit_temperature
    monkeypatch.setattr(mixing, "fit_temperature", lambda *arguments: 2 * fit(*arguments))
    twice = select(VIEWS, rows, targets, keys, 13)
    for name in ("label_keys", "label_bias", "prior_scale", "held_out"):
        torch.testing.assert_close(2 * getattr(twice, name), getattr(once, name), rtol=1e-4, atol=1e-5)


def test_many_shots_overrule_what_was_believed_of_the_views():
    """The pull towards the weights that a view starts with is that of two shots, however many there are."""
    from crosstune.heads.default import mixing

    pulls = []

    def record(logits, gold, believed, pull, shares):
        pulls.append((len(gold), pull))
        return believed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixing, "fit_mixture", record)
        for shots in (24, 48):
            select(VIEWS, *task(4, shots, 3), 13)
    assert pulls == [(24, mixing.MIXTURE_PULL / 24), (48, mixing.MIXTURE_PULL / 48)]


def test_a_large_task_takes_the_same_directions(monkeypatch):
    """By the products of the texts instead of a decomposition of their features."""
    rows, targets, keys = task(9, 18, 3)
    one = select(VIEWS, rows, targets, keys, 13)
    monkeypatch.setattr(strengths, "LARGE_MATRIX", 0)
    two = select(VIEWS, rows, targets, keys, 13)
    np.testing.assert_allclose(probs(one, rows), probs(two, rows), rtol=0, atol=PROBS_LABEL_ORDER)


@pytest.mark.parametrize("labels", [2, 20, 150, 500, 2000])
def test_the_work_stays_near_the_budget(labels):
    shots = 2 * labels
    grid, steps = affordable_grid(shots, labels, 384)
    work = 4 * grid.settings * steps * shots * min(shots, strengths.MAX_RANK) * labels
    assert work <= WORK_BUDGET or (grid, steps) == (GRIDS[-1], FEWEST_STEPS)
    assert steps == strengths.STEPS or grid == GRIDS[-1]
    more = GRIDS[: GRIDS.index(grid)]  # each would have exceeded the budget
    one = 4 * strengths.STEPS * shots * min(shots, strengths.MAX_RANK) * labels
    assert all(better.settings * one > WORK_BUDGET for better in more)


@pytest.mark.parametrize("penalty", [0.01, 1e-4])
def test_the_penalty_of_a_view_is_that_of_the_grid(monkeypatch, penalty):
    monkeypatch.setattr(strengths, "GRIDS", (Grid((2.0,), (penalty,), 3, 1),))
    chosen = select(VIEWS, *task(0, 12, 3), 13)
    assert [view.penalty for view in chosen.views] == pytest.approx([penalty] * len(VIEWS))
    assert [view.scale for view in chosen.views] == pytest.approx([2.0] * len(VIEWS))


def test_folds_that_are_fitted_apart_give_what_they_give_together(monkeypatch):
    rows, targets, keys = task(3, 24, 4)
    together = select(VIEWS, rows, targets, keys, 13)
    monkeypatch.setattr(strengths, "FOLDS_AT_ONCE", 6)
    apart = select(VIEWS, rows, targets, keys, 13)
    np.testing.assert_allclose(apart.held_out, together.held_out, rtol=0, atol=FIT_TOGETHER)
    np.testing.assert_allclose(probs(apart, rows), probs(together, rows), rtol=0, atol=FIT_TOGETHER)
