"""Chooses how the default head looks at the hidden states and how far it trusts the descriptions, on the shots alone.

Several views of the cached states are each fitted over a grid of strengths, with every shot predicted by folds that did
not see it. Strengths are averaged by their held-out likelihood rather than picked, and the views are mixed by weights
fitted on the held-out logits. Everything is linear in the features, so the result is one set of label keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crosstune.pooling import POOLS, Atom, FeatureSpec
from crosstune.prior_training import STEPS, fit_mixture, fit_prior

Progress = Callable[[int, int], None]

#: Multiplies cosines to the centred descriptions when there are no shots to choose it by.
ZERO_SHOT_SCALE = 20.0
#: How sharply strengths are averaged by held-out likelihood: 0 all alike, 1 as if shots were independent evidence.
LIKELIHOOD_POWER = 0.5
#: Pull of the views' weights to each other.
MIXTURE_PULL = 0.05


@dataclass(frozen=True)
class View:
    """A few atoms of the feature spec that are fitted together."""

    name: str
    atoms: tuple[Atom, ...]


@dataclass(frozen=True)
class Grid:
    """Strengths to try, and how often and into how many folds the shots are split."""

    scales: tuple[float, ...]
    penalties: tuple[float, ...]
    folds: int
    repeats: int

    @property
    def settings(self) -> int:
        """How many fits a view takes."""
        return len(self.scales) * len(self.penalties) * self.folds * self.repeats


#: From thorough to quick; the first whose work fits the budget is used.
GRIDS = (
    Grid((5, 20, 80), (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), folds=5, repeats=2),
    Grid((20, 60), (1e-5, 1e-4, 1e-3, 1e-2), folds=5, repeats=1),
    Grid((20, 60), (3e-6, 3e-5, 3e-4), folds=3, repeats=1),
)
#: Multiplications that choosing the strengths of one view may take.
WORK_BUDGET = 6e10
#: Largest rank of the features of a view; beyond it only their principal directions are fitted.
MAX_RANK = 256


@dataclass(frozen=True)
class ViewChoice:
    """What was chosen for a view.

    Attributes:
        view: The view.
        weight: Its weight in the mixture, at least 0.
        scale: Mean multiplier of the cosine to the description.
        penalty: Geometric mean of the shrinkage towards the description.
        accuracy: Held-out accuracy on the shots, in [0, 1].
    """

    view: View
    weight: float
    scale: float
    penalty: float
    accuracy: float


@dataclass(frozen=True)
class Selection:
    """A fitted default head and how it was chosen.

    Attributes:
        label_keys: float32 (L, F).
        label_bias: float32 (L,).
        prior_keys: float32 (L, F), what the descriptions alone contribute to the keys.
        choices: One entry a view; empty when there were no shots to choose by.
        accuracy: Held-out accuracy of the mixture on the shots, in [0, 1]; None without shots.
    """

    label_keys: Tensor
    label_bias: Tensor
    prior_keys: Tensor
    choices: tuple[ViewChoice, ...]
    accuracy: float | None


def default_views(layer_count: int) -> tuple[View, ...]:
    """The views of the default head for a backbone of so many layers: its last layers, seen in five ways."""
    last = tuple(range(max(0, layer_count - 2), layer_count + 1))
    middle = tuple(sorted({max(0, layer - 1) for layer in last}))
    return (
        View("mean", tuple(Atom("mean", layer) for layer in last)),
        View("first token", tuple(Atom("first", layer) for layer in last)),
        View("max", tuple(Atom("max", layer) for layer in last)),
        View("mean, one layer earlier", tuple(Atom("mean", layer) for layer in middle)),
        View("mean, last layer", (Atom("mean", layer_count),)),
    )


def spec_of(views: Sequence[View]) -> FeatureSpec:
    """All atoms of the views, each once, in the order that a feature spec wants."""
    atoms = {atom for view in views for atom in view.atoms}
    return FeatureSpec(tuple(sorted(atoms, key=lambda atom: (POOLS.index(atom.pool), atom.layer))))


def select(
    views: Sequence[View],
    features: Tensor,
    targets: Tensor,
    label_features: Tensor,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Fit the default head.

    Args:
        views: Views over the atoms of ``spec_of(views)``.
        features: float32 (N, A·D) of the shots, N may be 0.
        targets: int64 (N,), class indices.
        label_features: float32 (L, A·D) of the descriptions.
        seed: Decides the folds.
        progress: Called with views done and their number.

    Returns:
        The fitted head. A label without shots keeps the key that its description gives it.
    """
    atoms = spec_of(views).atoms
    labels = len(label_features)
    hidden = features.shape[1] // len(atoms)
    seen = torch.unique(targets)  # sorted
    few = len(seen) < 2
    folds = None if few else fold_table(targets.tolist(), _grid(len(targets), len(seen), hidden), seed)
    local = torch.searchsorted(seen, targets)
    parts = []
    for done, view in enumerate(views):
        columns = _columns(view, atoms, hidden).to(features.device)
        rows = len(view.atoms) ** -0.5  # unit-length atoms side by side, then the whole of length 1
        x, h = features[:, columns] * rows, label_features[:, columns] * rows
        parts.append(_describe_only(x, h, len(views)) if folds is None else _fit_view(x, h, local, seen, folds))
        if progress is not None:
            progress(done + 1, len(views))
    if folds is None:
        mixture = features.new_ones(len(views))
    else:
        mixture = fit_mixture(torch.stack([part.held_out for part in parts]), local, MIXTURE_PULL)

    keys, priors = (features.new_zeros(labels, features.shape[1]) for _ in range(2))
    bias = features.new_zeros(labels)
    for view, part, weight in zip(views, parts, mixture, strict=True):
        columns = _columns(view, atoms, hidden).to(features.device)
        keys[:, columns] += weight * part.keys * len(view.atoms) ** -0.5
        priors[:, columns] += weight * part.prior_keys * len(view.atoms) ** -0.5
        bias += weight * part.bias
    if folds is None:
        return Selection(keys, bias, priors, (), None)
    mixed = torch.einsum("v,vnl->nl", mixture, torch.stack([part.held_out for part in parts]))
    choices = tuple(
        ViewChoice(view, float(weight), part.scale, part.penalty, _accuracy(part.held_out, local))
        for view, part, weight in zip(views, parts, mixture, strict=True)
    )
    return Selection(keys, bias, priors, choices, _accuracy(mixed, local))


@dataclass(frozen=True)
class Folds:
    """A grid and, for each repeat, the fold of each shot: int64 (repeats, N)."""

    grid: Grid
    of_shot: Tensor


def fold_table(targets: Sequence[int], grid: Grid, seed: int) -> Folds:
    """Stratified folds: the shots of each class are dealt out in turn, in an order that the seed decides."""
    repeats = []
    for repeat in range(grid.repeats):
        random = np.random.RandomState((seed + 7919 * repeat) % (1 << 32))
        fold = np.zeros(len(targets), np.int64)
        dealt = 0
        for label in dict.fromkeys(targets):  # as they appear: the order of the label file must not matter
            members = np.flatnonzero(np.asarray(targets) == label)
            fold[random.permutation(members)] = (np.arange(len(members)) + dealt) % grid.folds
            dealt += len(members)
        repeats.append(torch.from_numpy(fold))
    return Folds(grid, torch.stack(repeats))


@dataclass(frozen=True)
class _ViewFit:
    keys: Tensor  # (L, F_v)
    prior_keys: Tensor  # (L, F_v)
    bias: Tensor  # (L,)
    held_out: Tensor  # (N, seen labels)
    scale: float
    penalty: float


def _grid(shots: int, labels: int, hidden: int) -> Grid:
    work = 4.0 * STEPS * shots * min(shots, MAX_RANK, 3 * hidden) * labels
    return next((grid for grid in GRIDS if grid.settings * work <= WORK_BUDGET), GRIDS[-1])


def _fit_view(x: Tensor, h: Tensor, targets: Tensor, seen: Tensor, folds: Folds) -> _ViewFit:
    """Fit one view: x (N, F_v) of the shots, h (L, F_v) of the descriptions, targets in 0 .. len(seen) - 1."""
    grid, count = folds.grid, len(x)
    mean = x.mean(0)
    x = x - mean
    h = h - h[seen].mean(0)
    left, size, right = torch.linalg.svd(x, full_matrices=False)
    keep = min(int((size > 1e-4 * size[0]).sum()), MAX_RANK)
    left, size, right = left[:, :keep], size[:keep], right[:keep]
    basis = left * size  # (N, r)
    prior = x @ h[seen].t()  # (N, seen)

    strengths = [(scale, penalty) for scale in grid.scales for penalty in grid.penalties]
    scales, penalties = x.new_tensor(strengths).t()  # (G,), (G,)
    held_out = x.new_zeros(len(strengths), count, len(seen))
    loss = x.new_zeros(len(strengths))
    for fold in folds.of_shot.to(x.device):
        inside = torch.stack([(fold != j).to(x.dtype) for j in range(grid.folds)])  # (folds, N)
        inside = inside / inside.sum(1, keepdim=True)
        theta, bias = fit_prior(
            basis,
            prior,
            targets,
            inside.repeat(len(strengths), 1),
            scales.repeat_interleave(grid.folds),
            penalties.repeat_interleave(grid.folds),
        )
        theta = theta.reshape(len(strengths), grid.folds, keep, -1)
        bias = bias.reshape(len(strengths), grid.folds, -1)
        for j in range(grid.folds):
            out = fold == j
            logits = scales.reshape(-1, 1, 1) * prior[out] + basis[out] @ theta[:, j] + bias[:, j].unsqueeze(1)
            held_out[:, out] += logits / len(folds.of_shot)
            loss += _losses(logits, targets[out]).sum(1) / len(folds.of_shot)
    share = (-(loss - loss.min()) * LIKELIHOOD_POWER).softmax(0)  # (G,), loss is a sum over shots
    used = torch.nonzero(share > 1e-3).flatten()
    share = share[used] / share[used].sum()

    even = x.new_full((len(used), count), 1 / count)
    theta, bias = fit_prior(basis, prior, targets, even, scales[used], penalties[used])
    scale = float((share * scales[used]).sum())
    learned = torch.einsum("g,grl->lr", share, theta) @ right  # (seen, F_v)
    prior_keys = scale * h
    keys = prior_keys.clone()
    keys[seen] += learned
    label_bias = x.new_zeros(len(h))
    label_bias[seen] = torch.einsum("g,gl->l", share, bias)
    return _ViewFit(
        keys=keys,
        prior_keys=prior_keys,
        bias=label_bias - keys @ mean,
        held_out=torch.einsum("g,gnl->nl", share, held_out[used]),
        scale=scale,
        penalty=float(torch.exp((share * penalties[used].log()).sum())),
    )


def _describe_only(x: Tensor, h: Tensor, views: int) -> _ViewFit:
    """A view without shots to learn from: cosine to the centred descriptions."""
    mean = h.mean(0)
    keys = (h - mean) * (ZERO_SHOT_SCALE / views)
    return _ViewFit(keys, keys, -(keys @ mean), x.new_zeros(0, 0), ZERO_SHOT_SCALE, 0.0)


def _columns(view: View, atoms: Sequence[Atom], hidden: int) -> Tensor:
    return torch.cat([torch.arange(hidden) + hidden * list(atoms).index(atom) for atom in view.atoms])


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each shot under each setting: logits (G, n, L) to (G, n)."""
    return -logits.log_softmax(-1).gather(2, targets.reshape(1, -1, 1).expand(len(logits), -1, 1)).squeeze(2)


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(1) == targets).double().mean())
