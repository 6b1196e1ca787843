"""Chooses how the default head looks at the hidden states and how far it trusts the descriptions, on the shots alone.

Several views of the cached states are each fitted over a grid of strengths, with every shot predicted by folds that did
not see it. Strengths are averaged by their held-out likelihood rather than picked, and the views are mixed by weights
fitted on the held-out logits. Everything is linear in the features, so the result is one set of label keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstune.core.progress import StepProgress
from crosstune.features.pooling import POOLS, Atom, FeatureSpec
from crosstune.heads.default.regression import fit_mixture, fit_temperature
from crosstune.heads.default.strengths import (
    FoldedTask,
    Predicted,
    ViewFit,
    affordable_grid,
    fit_view,
    fold_table,
    gather,
    held_out_logits,
    predict,
)

Found = Callable[[Tensor], Tensor]

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
    return tuple(sorted({depth // 3, 2 * depth // 3, depth}))


def select(
    views: Sequence[View],
    spec: FeatureSpec,
    features: Tensor,
    targets: Tensor,
    label_features: Tensor,
    hidden_size: int,
    seed: int,
    progress: StepProgress | None = None,
    *,
    further: int = 0,
    found: Found | None = None,
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
        found: Where the label queries were learned: what those that some rows have taught find in all, int64 (n,) to
            float32 (N, K·Q). Held-out shots must be seen by queries that they have not taught.

    Returns:
        The fitted head. A label without shots keeps the key that its description gives it.
    """
    labels = len(label_features)
    seen = torch.unique(targets)  # sorted
    shots = len(targets) - further
    few = len(torch.unique(targets[:shots])) < 2
    grid = None if few else affordable_grid(shots, len(seen), hidden_size)
    folds = None if grid is None else fold_table(targets[:shots].tolist(), grid, seed)
    local = torch.searchsorted(seen, targets)
    gold = local[:shots]
    task = None if folds is None else FoldedTask(local, seen, folds)
    # The mean of one label's shots would be what that label's texts have in common, and they are to be known by it.
    mean = features.new_zeros(features.shape[1]) if few else features[:shots].mean(0)
    shift = label_features.mean(0) if few else label_features[seen].mean(0)
    x_all, h_all = features - mean, label_features - shift
    parts = []
    for done, view in enumerate(views):
        columns = _columns(view, spec, hidden_size, features.shape[1]).to(features.device)
        units = _to_units(view, x_all[:shots, columns], h_all[:, columns], spec, few)
        x, h = x_all[:, columns] * units.text, h_all[:, columns] * units.label
        if task is None:
            part = _describe_only(h)
        else:
            predicted = (
                predict(x, h, task)
                if view.atoms or found is None
                else _predict_taught(view, spec, found, h_all[:, columns], task)
            )
            part = fit_view(x, h, task, predicted)
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
    per_layer = layers.square().mean((0, 2)).sqrt().clamp_min(1e-6).reciprocal()  # (K,): every layer counts alike
    rows = per_layer.repeat_interleave(layers.shape[2])
    rows = rows * ATTENTION_LENGTH / (x * rows).square().sum(1).mean().sqrt().clamp_min(1e-6)
    deviation = ((x * rows) @ h.t()).std(unbiased=False).clamp_min(1e-9)
    return _Units(rows, torch.full_like(rows, PRIOR_DEVIATION) / deviation)


def _predict_taught(view: View, spec: FeatureSpec, found: Found, own: Tensor, task: FoldedTask) -> Predicted:
    """``predict``, with each fold seen by label queries that only the others have taught; one repeat, since teaching is slow."""

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for fold in range(task.folds.grid.folds):
            x = found(torch.nonzero(task.taught_by(0, fold)).flatten())
            x = x - x[: task.shots].mean(0)
            units = _to_units(view, x[: task.shots], own, spec, few=False)
            yield from held_out_logits(x * units.text, own * units.label, task, 0, [fold])

    return gather(task, 1, parts())


def _describe_only(h: Tensor) -> ViewFit:
    """A view without shots to learn from: cosine to the centred descriptions."""
    return ViewFit(ZERO_SHOT_SCALE * h, h.new_zeros(len(h)), h.new_zeros(0, 0), ZERO_SHOT_SCALE, 0.0)


def _columns(view: View, spec: FeatureSpec, hidden: int, features: int) -> Tensor:
    if not view.atoms:
        return torch.arange(spec.size(hidden), features)
    return torch.cat([torch.arange(hidden) + hidden * spec.atoms.index(atom) for atom in view.atoms])


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return float((logits.argmax(1) == targets).double().mean())
