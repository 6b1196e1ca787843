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
from crosstune.prior_training import STEPS, fit_mixture, fit_prior, fit_temperature

Progress = Callable[[int, int], None]

#: How sharply strengths are averaged by held-out likelihood: 0 all alike, 1 as if shots were independent evidence.
LIKELIHOOD_POWER = 1.0
#: Before any shot is seen, log10 of the penalty is taken to be normal with this mean and width.
PENALTY_BELIEF = (-1.5, 0.7)
#: Pull of the views' weights to what was believed of them, in shots.
MIXTURE_PULL = 2.0
#: A view's logits are brought to this standard deviation before they are mixed.
LOGIT_DEVIATION = 2.0
#: Multiplies cosines to the descriptions when there are no shots to choose it by.
ZERO_SHOT_SCALE = 25.0
#: What the label queries find is brought to this length, and its prior logits to this deviation, as pooled states have them.
ATTENTION_LENGTH, PRIOR_DEVIATION = 0.07, 0.03


@dataclass(frozen=True)
class View:
    """Features that are fitted together.

    Attributes:
        name: For people.
        atoms: Atoms of the feature spec; none for the view of the label queries.
        weight: Share of the mixture before any shot is seen.
    """

    name: str
    atoms: tuple[Atom, ...]
    weight: float


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
    Grid((20, 60), (1e-4, 1e-3, 1e-2), folds=5, repeats=1),
    Grid((20, 60), (3e-6, 3e-5, 3e-4), folds=3, repeats=1),
    Grid((20,), (3e-6, 3e-5, 3e-4), folds=2, repeats=1),
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
        scale: Mean multiplier of the description's part.
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
        prior_scale: float32 (F,); what a description alone is worth is ``prior_scale · (h − prior_shift)`` as key and
            ``−key · prior_centre`` as bias.
        prior_shift: float32 (F,).
        prior_centre: float32 (F,).
        choices: One entry a view; empty when there were no shots to choose by.
        accuracy: Held-out accuracy of the mixture on the shots, in [0, 1]; None without shots.
        loss: Its held-out cross-entropy a shot in nats; None without shots.
        held_out: Its held-out logits float32 (shots, seen labels), empty without shots.
    """

    label_keys: Tensor
    label_bias: Tensor
    prior_scale: Tensor
    prior_shift: Tensor
    prior_centre: Tensor
    choices: tuple[ViewChoice, ...]
    accuracy: float | None
    loss: float | None
    held_out: Tensor


def default_views(depth: int) -> tuple[View, ...]:
    """The views of the default head on the first ``depth`` layers: the last of them, seen in four ways, and the queries."""
    last = tuple(range(max(0, depth - 2), depth + 1))
    earlier = tuple(sorted({max(0, layer - 1) for layer in last}))
    return (
        View("mean", tuple(Atom("mean", layer) for layer in last), 0.25),
        View("mean, one layer earlier", tuple(Atom("mean", layer) for layer in earlier), 0.15),
        View("first token", tuple(Atom("first", layer) for layer in last), 0.05),
        View("max", tuple(Atom("max", layer) for layer in last), 0.05),
        View("label queries", (), 0.5),
    )


def spec_of(views: Sequence[View], depth: int) -> FeatureSpec:
    """All atoms of the views, each once, in the order that a feature spec wants, and the layers of the label queries."""
    atoms = {atom for view in views for atom in view.atoms}
    ordered = sorted(atoms, key=lambda atom: (POOLS.index(atom.pool), atom.layer))
    return FeatureSpec(tuple(ordered), attention=attention_layers(depth))


def attention_layers(depth: int) -> tuple[int, ...]:
    """Layers of the first ``depth`` whose tokens the label queries attend to."""
    return tuple(sorted({max(0, depth - 2), depth}))


def select(
    views: Sequence[View],
    spec: FeatureSpec,
    features: Tensor,
    targets: Tensor,
    label_features: Tensor,
    hidden_size: int,
    seed: int,
    progress: Progress | None = None,
    *,
    further: int = 0,
) -> Selection:
    """Fit the default head.

    Args:
        views: Views over ``spec``.
        spec: Of the features.
        features: float32 (N, F) of the shots, then of further texts; N may be 0.
        targets: int64 (N,), class indices.
        label_features: float32 (L, F), a label's own features: pooled states of its description, weights of its queries.
        hidden_size: D.
        seed: Decides the folds.
        progress: Called with views done and their number.
        further: How many of the last rows are not shots. They are learned from in every fold and never held out: they
            resemble what the head knows, and would make every choice look better than it is.

    Returns:
        The fitted head. A label without shots keeps the key that its description gives it.
    """
    labels = len(label_features)
    seen = torch.unique(targets)  # sorted
    shots = len(targets) - further
    few = len(torch.unique(targets[:shots])) < 2
    grid = None if few else _grid(shots, len(seen), hidden_size)
    folds = None if grid is None else fold_table(targets[:shots].tolist(), grid, seed)
    local = torch.searchsorted(seen, targets)
    gold = local[:shots]
    mean = features[:shots].mean(0) if shots else features.new_zeros(features.shape[1])
    shift = label_features.mean(0) if few else label_features[seen].mean(0)
    x_all, h_all = features - mean, label_features - shift
    parts = []
    for done, view in enumerate(views):
        columns = _columns(view, spec, hidden_size, features.shape[1]).to(features.device)
        units = _to_units(view, x_all[:shots, columns], h_all[:, columns], spec, few)
        x, h = x_all[:, columns] * units.text, h_all[:, columns] * units.label
        part = _describe_only(h) if folds is None else _fit_view(x, h, local, seen, folds)
        parts.append((columns, units, part))
        if progress is not None:
            progress(done + 1, len(views))
    believed = features.new_tensor([view.weight for view in views])
    if folds is None:
        mixture, held_out = believed, features.new_zeros(0, 0)
    else:
        logits = torch.stack([part.held_out for _, _, part in parts])  # (V, shots, seen)
        spread = (logits - logits.mean(2, keepdim=True)).flatten(1).std(1).clamp_min(1e-6) / LOGIT_DEVIATION
        mixture = fit_mixture(logits / spread.reshape(-1, 1, 1), gold, believed, MIXTURE_PULL / shots) / spread
        held_out = torch.einsum("v,vnl->nl", mixture, logits)
        temperature = fit_temperature(held_out, gold)
        mixture, held_out = mixture / temperature, held_out / temperature

    keys = features.new_zeros(labels, features.shape[1])
    prior_scale = features.new_zeros(features.shape[1])
    bias = features.new_zeros(labels)
    for (columns, units, part), weight in zip(parts, mixture, strict=True):
        keys[:, columns] += weight * part.keys * units.text
        prior_scale[columns] += weight * part.scale * units.text * units.label
        bias += weight * part.bias
    return Selection(
        label_keys=keys,
        label_bias=bias - keys @ mean,
        prior_scale=prior_scale,
        prior_shift=shift,
        prior_centre=mean,
        choices=()
        if folds is None
        else tuple(
            ViewChoice(view, float(weight), part.scale, part.penalty, _accuracy(part.held_out, gold))
            for view, (_, _, part), weight in zip(views, parts, mixture, strict=True)
        ),
        accuracy=None if folds is None else _accuracy(held_out, gold),
        loss=None if folds is None else float(torch.nn.functional.cross_entropy(held_out, gold)),
        held_out=held_out,
    )


@dataclass(frozen=True)
class _Units:
    """What a view's features and a label's own features are multiplied with before they are fitted, each (F_v,)."""

    text: Tensor
    label: Tensor


def _to_units(view: View, x: Tensor, h: Tensor, spec: FeatureSpec, few: bool) -> _Units:
    """Units that bring a view's features to the lengths that the grid of strengths is made for."""
    if view.atoms:  # unit-length atoms side by side, then the whole of length 1
        rows = x.new_full((x.shape[1],), len(view.atoms) ** -0.5)
        return _Units(rows, rows)
    if few:
        return _Units(x.new_ones(x.shape[1]), x.new_ones(x.shape[1]))
    layers = x.reshape(len(x), len(spec.attention), -1)  # (N, K, Q)
    own = h.reshape(len(h), len(spec.attention), -1)
    found = torch.einsum("nkq,lkq->nlk", layers, own)
    per_layer = 1 / found.flatten(0, 1).std(0, unbiased=False).clamp_min(1e-6)  # (K,), so that every layer counts alike
    rows = per_layer.repeat_interleave(layers.shape[2])
    rows = rows * ATTENTION_LENGTH / (x * rows).square().sum(1).mean().sqrt().clamp_min(1e-6)
    deviation = ((x * rows) @ h.t()).std(unbiased=False).clamp_min(1e-9)
    return _Units(rows, torch.full_like(rows, PRIOR_DEVIATION) / deviation)


@dataclass(frozen=True)
class Folds:
    """A grid and, for each repeat, the fold of each shot: int64 (repeats, shots)."""

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
    bias: Tensor  # (L,), on centred features
    held_out: Tensor  # (shots, seen labels)
    scale: float
    penalty: float


def _grid(shots: int, labels: int, hidden: int) -> Grid:
    work = 4.0 * STEPS * shots * min(shots, MAX_RANK, 3 * hidden) * labels
    return next((grid for grid in GRIDS if grid.settings * work <= WORK_BUDGET), GRIDS[-1])


def _fit_view(x: Tensor, h: Tensor, targets: Tensor, seen: Tensor, folds: Folds) -> _ViewFit:
    """Fit one view: x (N, F_v) of the texts, shots first, and h (L, F_v) of the labels; targets in 0 .. len(seen) - 1."""
    grid, count, shots = folds.grid, len(x), folds.of_shot.shape[1]
    left, size, right = torch.linalg.svd(x, full_matrices=False)
    keep = min(int((size > 1e-4 * size[0]).sum()), MAX_RANK)
    left, size, right = left[:, :keep], size[:keep], right[:keep]
    basis = left * size  # (N, r)
    prior = x @ h[seen].t()  # (N, seen)

    strengths = [(scale, penalty) for scale in grid.scales for penalty in grid.penalties]
    scales, penalties = x.new_tensor(strengths).t()  # (G,), (G,)
    held_out = x.new_zeros(len(strengths), shots, len(seen))
    loss = x.new_zeros(len(strengths))
    for fold in folds.of_shot.to(x.device):
        inside = x.new_ones(grid.folds, count)
        inside[:, :shots] = torch.stack([(fold != j).to(x.dtype) for j in range(grid.folds)])
        inside = inside / inside[:, :shots].sum(1, keepdim=True)  # a further text is as much evidence as a shot
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
            out = torch.nonzero(fold == j).flatten()
            logits = scales.reshape(-1, 1, 1) * prior[out] + basis[out] @ theta[:, j] + bias[:, j].unsqueeze(1)
            held_out[:, out] += logits / len(folds.of_shot)
            loss += _losses(logits, targets[out]).sum(1) / len(folds.of_shot)
    middle, width = PENALTY_BELIEF
    belief = -((penalties.log10() - middle) / width).square() / 2
    share = (belief - (loss - loss.min()) * LIKELIHOOD_POWER).softmax(0)  # (G,), loss is a sum over shots
    used = torch.nonzero(share > 1e-3).flatten()
    share = share[used] / share[used].sum()

    even = x.new_full((len(used), count), 1 / shots)
    theta, bias = fit_prior(basis, prior, targets, even, scales[used], penalties[used])
    scale = float((share * scales[used]).sum())
    keys = scale * h
    keys[seen] += torch.einsum("g,grl->lr", share, theta) @ right  # (seen, F_v)
    label_bias = x.new_zeros(len(h))
    label_bias[seen] = torch.einsum("g,gl->l", share, bias)
    return _ViewFit(
        keys=keys,
        bias=label_bias,
        held_out=torch.einsum("g,gnl->nl", share, held_out[used]),
        scale=scale,
        penalty=float(torch.exp((share * penalties[used].log()).sum())),
    )


def _describe_only(h: Tensor) -> _ViewFit:
    """A view without shots to learn from: cosine to the centred descriptions."""
    return _ViewFit(ZERO_SHOT_SCALE * h, h.new_zeros(len(h)), h.new_zeros(0, 0), ZERO_SHOT_SCALE, 0.0)


def _columns(view: View, spec: FeatureSpec, hidden: int, features: int) -> Tensor:
    if not view.atoms:
        return torch.arange(spec.size(hidden), features)
    return torch.cat([torch.arange(hidden) + hidden * spec.atoms.index(atom) for atom in view.atoms])


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each shot under each setting: logits (G, n, L) to (G, n)."""
    return -logits.log_softmax(-1).gather(2, targets.reshape(1, -1, 1).expand(len(logits), -1, 1)).squeeze(2)


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(1) == targets).double().mean())
