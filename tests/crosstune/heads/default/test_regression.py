"""The two optimisers against scipy's on problems small enough to solve exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from crosstune.heads.default.regression import (
    RARE_BELIEF,
    TEMPERATURE_BELIEF,
    TEMPERATURES,
    fit_mixture,
    fit_prior,
    fit_rare_biases,
    fit_temperature,
)
from tests.tolerances import FIT_EXCESS, FIT_LOGITS, FIT_TOGETHER, MIXTURE_WEIGHTS

BIAS_RIDGE = 0.01  # what keeps the biases from drifting


def shares(labels, values=None):
    return torch.zeros(labels) if values is None else torch.tensor(values, dtype=torch.float32)


def problem(seed, shots, rank, labels):
    random = np.random.RandomState(seed)
    basis = random.randn(shots, rank) / np.sqrt(rank)
    prior = random.randn(shots, labels) / 4
    targets = np.concatenate([np.arange(labels), random.randint(0, labels, shots - labels)])
    return basis, prior, targets


def objective(parameters, basis, prior, targets, weights, scale, penalty, log_shares=0.0):
    """The function that fit_prior says it minimises, with its slope."""
    rank, labels = basis.shape[1], prior.shape[1]
    theta, bias = parameters[: rank * labels].reshape(rank, labels), parameters[rank * labels :]
    logs = log_softmax(scale * prior + basis @ theta + bias + log_shares, axis=1)
    rows = np.arange(len(targets))
    error = np.exp(logs)
    error[rows, targets] -= 1
    error *= weights[:, None]
    value = -(weights * logs[rows, targets]).sum() + penalty / 2 * (theta**2).sum() + BIAS_RIDGE / 2 * (bias**2).sum()
    slope = np.concatenate([(basis.T @ error + penalty * theta).ravel(), error.sum(0) + BIAS_RIDGE * bias])
    return value, slope


def fitted(basis, prior, targets, weights, scales, penalties, log_shares=None):
    tensors = (torch.tensor(value, dtype=torch.float32) for value in (basis, prior))
    theta, bias = fit_prior(
        *tensors,
        torch.tensor(targets),
        torch.tensor(weights, dtype=torch.float32),
        torch.tensor(scales, dtype=torch.float32),
        torch.tensor(penalties, dtype=torch.float32),
        shares(prior.shape[1], log_shares),
    )
    return theta.double().numpy(), bias.double().numpy()


def test_many_labels_are_fitted_as_few(monkeypatch):
    """The labels are then the last axis, for speed."""
    basis, prior, targets = problem(3, 40, 6, 5)
    weights = np.random.RandomState(4).dirichlet(np.ones(40), 3)
    case = (basis, prior, targets, weights, [1, 3, 0.5], [0.1, 1, 0.02], np.linspace(-1, 1, 5))
    few = fitted(*case)
    monkeypatch.setattr("crosstune.heads.default.regression.WIDE_SOFTMAX", 4)
    many = fitted(*case)
    for one, other in zip(few, many, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1 << 31),
    shots=st.integers(4, 16),
    rank=st.integers(1, 8),
    labels=st.integers(2, 4),
    scale=st.floats(0, 8),
    penalty=st.floats(0.01, 2),
    skew=st.floats(0, 2),
)
def test_the_fit_is_the_minimum_that_scipy_finds(seed, shots, rank, labels, scale, penalty, skew):
    basis, prior, targets = problem(seed, shots, rank, labels)
    weights = np.random.RandomState(seed ^ 1).dirichlet(np.ones(shots) * 5)
    log_shares = skew * np.linspace(-1, 1, labels)
    theta, bias = fitted(basis, prior, targets, weights[None], [scale], [penalty], log_shares)
    ours = np.concatenate([theta[0].ravel(), bias[0]])
    case = (basis, prior, targets, weights, scale, penalty, log_shares)
    best = minimize(
        objective,
        np.zeros_like(ours),
        case,
        jac=True,
        method="L-BFGS-B",
        options={"gtol": 1e-10, "ftol": 1e-15, "maxiter": 5000},
    )
    start = objective(np.zeros_like(ours), *case)[0]
    assert objective(ours, *case)[0] <= best.fun + FIT_EXCESS * max(start - best.fun, 1e-3)
    ours_logits = basis @ theta[0] + bias[0]
    best_logits = basis @ best.x[: theta[0].size].reshape(theta[0].shape) + best.x[theta[0].size :]
    np.testing.assert_allclose(
        ours_logits - ours_logits.mean(1, keepdims=True),
        best_logits - best_logits.mean(1, keepdims=True),
        rtol=0,
        atol=FIT_LOGITS,
    )  # fmt: skip


def test_without_descriptions_it_is_plain_logistic_regression():
    """Balanced and mirrored shots: the biases are 0 at the optimum, so scikit-learn without intercept solves the same."""
    random = np.random.RandomState(3)
    half = random.randn(10, 4)
    basis, targets = np.concatenate([half, -half]), np.array([0] * 10 + [1] * 10)
    penalty, shots = 0.05, 20
    theta, bias = fitted(basis, np.zeros((shots, 2)), targets, np.full((1, shots), 1 / shots), [0.0], [penalty])
    # Two softmax columns ±w/2 cost penalty/2 · 2 · |w/2|², one sigmoid vector costs |w|²/(2C) on a sum of losses.
    model = LogisticRegression(C=2 / (penalty * shots), fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(basis, targets)
    np.testing.assert_allclose(theta[0][:, 1] - theta[0][:, 0], model.coef_[0], rtol=0, atol=FIT_LOGITS)
    np.testing.assert_allclose(bias[0][1] - bias[0][0], 0, rtol=0, atol=FIT_LOGITS)


def test_settings_side_by_side_are_settings_one_by_one():
    basis, prior, targets = problem(5, 12, 6, 3)
    random = np.random.RandomState(5)
    weights = random.dirichlet(np.ones(12), 4)
    scales, penalties = [0.0, 1.0, 5.0, 2.0], [0.01, 0.1, 1.0, 0.5]
    theta, bias = fitted(basis, prior, targets, weights, scales, penalties)
    assert theta.shape == (4, 6, 3)
    assert bias.shape == (4, 3)
    for i in range(4):
        alone, alone_bias = fitted(basis, prior, targets, weights[i : i + 1], scales[i : i + 1], penalties[i : i + 1])
        np.testing.assert_allclose(theta[i], alone[0], rtol=0, atol=FIT_TOGETHER)
        np.testing.assert_allclose(bias[i], alone_bias[0], rtol=0, atol=FIT_TOGETHER)


def test_a_shot_of_weight_0_does_not_matter():
    basis, prior, targets = problem(7, 10, 5, 3)
    weights = np.full((1, 10), 1 / 9)
    weights[0, 4] = 0
    other = targets.copy()
    other[4] = (targets[4] + 1) % 3
    one, two = (fitted(basis, prior, gold, weights, [2.0], [0.1]) for gold in (targets, other))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_a_huge_penalty_leaves_the_descriptions_alone():
    basis, prior, targets = problem(9, 10, 5, 3)
    theta, _ = fitted(basis, prior, targets, np.full((1, 10), 0.1), [3.0], [1e6])
    assert np.abs(theta).max() < FIT_TOGETHER


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1 << 31),
    views=st.integers(1, 5),
    shots=st.integers(3, 20),
    labels=st.integers(2, 4),
    pull=st.floats(0.02, 1),
    skew=st.floats(0, 2),
)
def test_the_mixture_is_the_minimum_that_scipy_finds(seed, views, shots, labels, pull, skew):
    random = np.random.RandomState(seed)
    targets = random.randint(0, labels, shots)
    logits = random.randn(views, shots, labels) * 2
    logits[0, np.arange(shots), targets] += 2  # a good view
    rows = np.arange(shots)

    believed = random.dirichlet(np.ones(views))
    log_shares = skew * np.linspace(-1, 1, labels)

    def cost(weights):
        logs = log_softmax(np.einsum("v,vnl->nl", weights, logits) + log_shares, axis=1)
        return -logs[rows, targets].mean() + pull * views * ((weights - believed) ** 2).sum()

    best = minimize(
        cost,
        believed,
        bounds=[(0, None)] * views,
        method="L-BFGS-B",
        options={"ftol": 1e-14, "gtol": 1e-9},
    )
    tensors = (torch.tensor(value, dtype=torch.float32) for value in (logits, believed))
    ours = fit_mixture(next(tensors), torch.tensor(targets), next(tensors), pull, shares(labels, log_shares))
    ours = ours.double().numpy()
    assert (ours >= 0).all()
    np.testing.assert_allclose(ours, best.x, rtol=0, atol=MIXTURE_WEIGHTS)  # fmt: skip


def test_views_that_say_the_same_get_the_same_weight():
    random = np.random.RandomState(0)
    one = torch.tensor(random.randn(1, 8, 3), dtype=torch.float32)
    weights = fit_mixture(
        one.repeat(4, 1, 1), torch.tensor(random.randint(0, 3, 8)), torch.full((4,), 0.25), 0.05, shares(3)
    )
    assert weights.tolist() == pytest.approx([float(weights[0])] * 4, abs=FIT_TOGETHER)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1 << 31),
    shots=st.integers(3, 40),
    labels=st.integers(2, 4),
    size=st.floats(0.1, 9),
    skew=st.floats(0, 2),
)
def test_the_temperature_is_the_minimum_that_scipy_finds(seed, shots, labels, size, skew):
    random = np.random.RandomState(seed)
    targets = random.randint(0, labels, shots)
    logits = random.randn(shots, labels) * size
    logits[np.arange(shots), targets] += 1
    log_shares = skew * np.linspace(-1, 1, labels)

    def cost(log_temperature):
        logs = log_softmax(logits / np.exp(log_temperature) + log_shares, axis=1)
        return -logs[np.arange(shots), targets].sum() + (log_temperature / TEMPERATURE_BELIEF) ** 2 / 2

    best = minimize_scalar(cost, bounds=(-1.5, 1.5), method="bounded", options={"xatol": 1e-6})
    ours = fit_temperature(torch.tensor(logits), torch.tensor(targets), shares(labels, log_shares))
    step = float(TEMPERATURES[1].log() - TEMPERATURES[0].log())
    assert abs(np.log(ours) - best.x) <= step


def test_one_shot_hardly_moves_the_temperature():
    assert 1 / 1.7 < fit_temperature(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), shares(2)) <= 1


@pytest.mark.parametrize(("right", "few", "many"), [(True, (0.65, 1), (0, 0.5)), (False, (1, 3), (4, 5))])
def test_few_shots_move_the_temperature_little_and_many_far(right, few, many):
    """However sure the logits are, and whether they are right or wrong."""
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    targets = torch.tensor([0, 1] if right else [1, 0])
    assert few[0] < fit_temperature(logits.repeat(2, 1), targets.repeat(2), shares(2)) < few[1]
    assert many[0] < fit_temperature(logits.repeat(50, 1), targets.repeat(50), shares(2)) < many[1]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1 << 31),
    shots=st.integers(4, 40),
    labels=st.integers(2, 5),
    size=st.floats(0.01, 8),
    skew=st.floats(0.1, 2),
)
def test_the_biases_of_rare_labels_are_the_minimum_that_scipy_finds(seed, shots, labels, size, skew):
    random = np.random.RandomState(seed)
    targets = random.randint(0, labels, shots)
    logits = size * (random.randn(shots, labels) + np.eye(labels)[targets])
    log_shares = skew * np.linspace(-1, 1, labels)
    unit = -log_shares * (logits - logits.mean(1, keepdims=True)).std(ddof=1)

    def cost(factor):
        logs = log_softmax(logits + factor * unit + log_shares, axis=1)
        return -logs[np.arange(shots), targets].sum() + ((factor - RARE_BELIEF[0]) / RARE_BELIEF[1]) ** 2 / 2

    best = minimize_scalar(cost, bounds=(-0.5, 1), method="bounded", options={"xatol": 1e-6}).x
    ours = fit_rare_biases(torch.tensor(logits, dtype=torch.float32), torch.tensor(targets), shares(labels, log_shares))
    factors = ours.double().numpy()[log_shares != 0] / unit[log_shares != 0]
    np.testing.assert_allclose(factors, best, rtol=0, atol=0.0126, err_msg="half a step of the search")


def test_equally_many_shots_need_no_biases():
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.5, 0.0], [0.0, 0.1]])
    assert fit_rare_biases(logits, torch.tensor([0, 0, 1, 1]), shares(2)).tolist() == [0, 0]


def test_a_rare_label_whose_texts_are_missed_gets_a_larger_bias():
    counts = shares(2, [np.log(0.5), np.log(1.5)])
    targets = torch.tensor([0, 0, 0, *[1] * 9])
    factors = []
    for margin in (2.0, -1.0):
        logits = torch.tensor([[margin, 0.0]] * 3 + [[-2.0, 0.0]] * 9)
        bias = fit_rare_biases(logits, targets, counts)
        assert bias[0] > 0 > bias[1]
        factors.append(float(bias[0] / (logits - logits.mean(1, keepdim=True)).std()))
    assert factors[1] > factors[0]
