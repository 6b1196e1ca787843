"""Fits label keys to the shots, starting from the label descriptions: many settings and folds in one batch.

Shapes: N shots, r rank of their features, L labels, S settings (strengths × folds).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

#: Steps of Nesterov's method. Chosen by hand; not ablated.
STEPS = 200
#: Labels from which on a softmax runs along the labels. Saves time; not ablated.
WIDE_SOFTMAX = 32
#: Weak pull of the biases to 0. Chosen by hand; not ablated.
BIAS_PULL = 0.01
#: Most steps of the mixture's Newton method (some five suffice), how often one is halved, and a change of the weights that ends it.
MIXTURE_STEPS, HALVINGS, MIXTURE_CHANGE = 50, 20, 1e-6


def fit_prior(
    basis: Tensor,
    prior: Tensor,
    targets: Tensor,
    weights: Tensor,
    scale: Tensor,
    penalty: Tensor,
    log_shares: Tensor,
    steps: int = STEPS,
) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression around given logits, S problems at once.

    Minimises, for each setting,
    ``Σ_n w_n · −log softmax(scale · prior_n + basis_n Θ + b + log_shares)[target_n] + penalty/2 · ‖Θ‖²``
    by Nesterov's accelerated gradient with a step from the Hessian bound ½ · max w · σ₁(basis)² (Böhning 1992).

    Args:
        basis: float32 (N, r), the shots in an orthogonal basis of their span.
        prior: float32 (N, L), similarity to the descriptions.
        targets: int64 (N,), or probabilities to imitate, float32 (N, L).
        weights: float32 (S, N), 0 for shots that a setting holds out; rows sum to 1, or more with generated texts.
        scale: float32 (S,), at least 0.
        penalty: float32 (S,), above 0.
        log_shares: float32 (L,), ``heads.shares.log_shares`` of the texts.
        steps: Of the method.

    Returns:
        Θ float32 (S, r, L) and b float32 (S, L).
    """
    # Over the settings a softmax of few labels runs along whole vectors, four times as fast; one of many labels does so by itself.
    settings, (count, labels), rank = len(scale), prior.shape, basis.shape[1]
    last = labels > WIDE_SOFTMAX  # whether the labels are the last axis
    sizes = (settings, labels) if last else (labels, settings)

    def of_labels(values: Tensor) -> Tensor:
        return values.unsqueeze(-2 if last else -1)

    def of_settings(values: Tensor) -> Tensor:
        return values.unsqueeze(-1 if last else -2)

    one_hot = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, labels).to(basis.dtype)
    gold = of_labels(one_hot)
    shot_weight = of_settings(weights.t()).contiguous()
    base = of_labels(prior) * of_settings(scale) + of_labels(log_shares)  # (N, *sizes)
    pull = of_settings(penalty)
    curvature = 0.5 * weights.amax(1) * torch.linalg.matrix_norm(basis, 2) ** 2 + penalty  # (S,)
    ratio = (penalty / curvature).sqrt()
    momentum = of_settings((1 - ratio) / (1 + ratio))
    step = of_settings(1 / curvature)
    bias_step = of_settings(0.5 / weights.sum(1).clamp_min(1))

    theta = basis.new_zeros(rank, *sizes)
    bias = basis.new_zeros(sizes)
    ahead, bias_ahead = theta, bias
    for _ in range(steps):
        logits = (basis @ ahead.reshape(rank, -1)).reshape(count, *sizes).add_(base).add_(bias_ahead)
        error = logits.softmax(2 if last else 1).sub_(gold).mul_(shot_weight)
        slope = (basis.t() @ error.reshape(count, -1)).reshape(rank, *sizes).add_(pull * ahead)
        theta_next = ahead - step * slope
        bias_next = bias_ahead - bias_step * (error.sum(0) + BIAS_PULL * bias_ahead)
        ahead = theta_next + momentum * (theta_next - theta)
        bias_ahead = bias_next + 0.5 * (bias_next - bias)
        theta, bias = theta_next, bias_next
    return (theta.permute(1, 0, 2), bias) if last else (theta.permute(2, 0, 1), bias.t())


def fit_mixture(logits: Tensor, targets: Tensor, believed: Tensor, pull: float, log_shares: Tensor) -> Tensor:
    """Weights, none negative, with which the logits of several views are added.

    Minimises the cross-entropy of ``Σ_v w_v · logits_v + log_shares`` plus ``pull · V · ‖w − believed‖²`` by Newton's method, in which each
    step is the minimum of the quadratic approximation over weights of at least 0, halved until it does not raise the cost.

    Args:
        logits: float32 (V, N, L), held-out.
        targets: int64 (N,).
        believed: float32 (V,), the weights before any shot is seen.
        pull: Strength of the pull to them.
        log_shares: float32 (L,), ``heads.shares.log_shares`` of the N texts.

    Returns:
        float32 (V,).
    """
    views, count, _ = logits.shape
    centred = logits - logits.mean(2, keepdim=True)
    gold = torch.nn.functional.one_hot(targets, logits.shape[2]).to(logits.dtype)
    flat = centred.reshape(views, -1)

    def value(weights: Tensor) -> float:
        mixed = torch.einsum("v,vnl->nl", weights, centred) + log_shares
        loss = torch.nn.functional.cross_entropy(mixed, targets)
        return float(loss + pull * views * (weights - believed).square().sum())

    weights, cost = believed, value(believed)
    for _ in range(MIXTURE_STEPS):
        probs = (torch.einsum("v,vnl->nl", weights, centred) + log_shares).softmax(-1)
        slope = flat @ (probs - gold).reshape(-1) / count + 2 * pull * views * (weights - believed)
        likely = centred * probs
        means = likely.sum(2)  # (V, N)
        bend = (likely.reshape(views, -1) @ flat.t() - means @ means.t()) / count  # (V, V)
        step = _bounded_newton(weights, slope, bend + 2 * pull * views * torch.eye(views).to(bend)) - weights
        for _ in range(HALVINGS):
            if (changed := value(weights + step)) <= cost:
                break
            step = step / 2
        else:
            break
        weights, cost = weights + step, changed
        if float(step.abs().max()) <= MIXTURE_CHANGE:
            break
    return weights


def _bounded_newton(weights: Tensor, slope: Tensor, bend: Tensor) -> Tensor:
    """The minimum, without negative numbers, of the quadratic function with this slope (V,) and second derivative (V, V) at the weights."""
    root = np.linalg.cholesky(bend.double().cpu().numpy()).T
    aim = bend.double() @ weights.double() - slope.double()
    return torch.from_numpy(nnls(root, np.linalg.solve(root.T, aim.cpu().numpy()))[0]).to(weights)


#: Temperatures to try, and the width of the belief about them before any shot is seen, in units of the natural logarithm.
#: Chosen by hand; not ablated.
TEMPERATURES = torch.linspace(-1.5, 1.5, 61).exp()
TEMPERATURE_BELIEF = 0.5


def fit_temperature(logits: Tensor, targets: Tensor, log_shares: Tensor) -> float:
    """The number by which to divide held-out logits so that their probabilities are calibrated (Guo et al. 2017).

    Minimises the summed cross-entropy plus ``½ (log T / TEMPERATURE_BELIEF)²``: with few shots T stays near 1.

    Args:
        logits: float32 (N, L), held-out.
        targets: int64 (N,).
        log_shares: float32 (L,), ``heads.shares.log_shares`` of the N texts.

    Returns:
        T, above 0.
    """
    losses = torch.stack(
        [
            torch.nn.functional.cross_entropy(logits / t + log_shares, targets, reduction="sum")
            for t in TEMPERATURES.tolist()
        ]
    )
    belief = (TEMPERATURES.log() / TEMPERATURE_BELIEF).square().to(losses) / 2
    return float(TEMPERATURES[int((losses + belief).argmin())])


#: Factors of ``fit_rare_biases`` to try, and the belief about them before any shot is seen: mean and width. Chosen on pool texts of six
#: datasets (docs/development/experiments.md, "Unbalanced shots").
RARE_FACTORS = torch.linspace(-0.5, 1, 61)
RARE_BELIEF = (0.25, 0.1)


def fit_rare_biases(logits: Tensor, targets: Tensor, log_shares: Tensor) -> Tensor:
    """Biases that give labels with few shots their share of answers on texts that the head has not seen.

    A key fits its own shots more closely than fresh texts, and the fewer they are the more. Fresh texts of a rare label therefore
    have logits that are too small. Of the biases ``-c · s · log_shares``, where s is the standard deviation of the logits around the
    mean of each text, c minimises the summed cross-entropy of ``logits + biases + log_shares`` plus ``½ ((c - mean) / width)²``.

    Args:
        logits: float32 (N, L), held-out.
        targets: int64 (N,).
        log_shares: float32 (L,), ``heads.shares.log_shares`` of the N texts.

    Returns:
        float32 (L,), all 0 where the labels have equally many texts.
    """
    if not log_shares.any():
        return torch.zeros_like(log_shares)
    unit = -log_shares * (logits - logits.mean(1, keepdim=True)).std()
    losses = torch.stack(
        [
            torch.nn.functional.cross_entropy(logits + factor * unit + log_shares, targets, reduction="sum")
            for factor in RARE_FACTORS.tolist()
        ]
    )
    mean, width = RARE_BELIEF
    belief = ((RARE_FACTORS - mean) / width).square().to(losses) / 2
    return float(RARE_FACTORS[int((losses + belief).argmin())]) * unit
