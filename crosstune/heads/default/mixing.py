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
from crosstune.core.training_facts import Quality, ViewFacts
from crosstune.features.spec import FeatureSpec
from crosstune.heads.default.regression import fit_mixture, fit_rare_biases, fit_temperature
from crosstune.heads.default.resemblance import nearest_shots
from crosstune.heads.default.strengths import (
    FoldedTask,
    Predicted,
    ViewFit,
    ViewTexts,
    affordable_grid,
    fit_view,
    fold_table,
    gather,
    held_out_logits,
    predict,
)
from crosstune.heads.feature_plan import View
from crosstune.heads.shares import balanced_mean, shot_weights

#: Pull of the views' weights to their believed values, in shots. Chosen by hand; not ablated.
MIXTURE_PULL = 2.0
#: The logits of a view are brought to this standard deviation before they are mixed. Chosen by hand; not ablated.
LOGIT_DEVIATION = 2.0
#: Multiplies cosines to the descriptions when there are no shots to choose it by. Chosen by hand; not ablated: it changes
#: probabilities, never a label.
ZERO_SHOT_SCALE = 25.0
#: The features of the label queries are brought to this length and their prior logits to this deviation, about those of
#: pooled states, so that one grid of strengths serves all views. Chosen by hand; not ablated.
ATTENTION_LENGTH, PRIOR_DEVIATION = 0.07, 0.03


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
        views: One entry a view; empty when there were no shots to choose by.
        quality: Of the mixture on held-out shots.
        held_out: Held-out logits of the mixture, float32 (shots, labels with texts); empty without shots.
    """

    label_keys: Tensor
    label_bias: Tensor
    prior_scale: Tensor
    prior_shift: Tensor
    prior_centre: Tensor
    views: tuple[ViewFacts, ...]
    quality: Quality
    held_out: Tensor


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
    generated: int = 0,
    taught_features: Callable[[Tensor], Tensor] | None = None,
    log_expected: Tensor | None = None,
    log_chosen: Tensor | None = None,
    centre: Tensor | None = None,
) -> Selection:
    """Fit the default head.

    Args:
        views: Views over ``spec``.
        spec: Of the features.
        features: float32 (N, F) of the shots, then of generated texts; N may be 0.
        targets: int64 (N,), class indices.
        label_features: float32 (L, F), the features of each label: pooled states of its description, weights of its queries.
        hidden_size: D.
        seed: Decides the folds.
        progress: Called with views done and their number.
        generated: How many of the last rows are generated texts. Nothing is chosen by them, since they resemble what the head
            knows, and each is learned from in the folds that also learn from the shot that it resembles most.
        taught_features: Where the label queries were taught: rows int64 (n,) to the features float32 (N, K·Q) of all texts
            by queries that these rows alone have taught. Held-out shots need queries that they have not taught.
        log_expected: float32 (L,), ``heads.shares.log_expected`` of the labels; they count alike when None.
        log_chosen: float32 (L,), ``heads.shares.log_chosen`` of the labels, for shots that were chosen by their content; else None.
        centre: float32 (F,), mean features of texts in use, for a task without shots; not known when None.

    Returns:
        The fitted head. A label without shots keeps the key that its description gives it.
    """
    present = torch.unique(targets)  # sorted labels that have texts
    shots = len(targets) - generated
    one_label = len(torch.unique(targets[:shots])) < 2
    # With shots of one label, centring on their mean would remove what that label's texts have in common.
    mean = features.new_zeros(features.shape[1]) if one_label else balanced_mean(features[:shots], targets[:shots])
    mean = mean if centre is None else centre
    shift = label_features.mean(0) if one_label else label_features[present].mean(0)
    local = torch.searchsorted(present, targets)
    task = None
    if not one_label:
        grid, steps = affordable_grid(shots, len(present), hidden_size)
        folds, nearest = fold_table(targets[:shots].tolist(), grid, seed), nearest_shots(features, targets, shots)
        task = FoldedTask(local, present, folds, nearest, steps)
    x, h = features - mean, label_features - shift
    fits = []
    for done, view in enumerate(views, 1):
        columns = _columns(view, spec, hidden_size, features.shape[1]).to(features.device)
        fits.append((columns, *_fit_view(view, spec, x[:, columns], h[:, columns], shots, task, taught_features)))
        if progress is not None:
            progress(done, len(views))
    parts = [part for _, _, part in fits]
    believed = features.new_tensor([view.weight for view in views])
    mixture = _Mixture(believed, features.new_zeros(0), features.new_zeros(0, 0))
    if task is not None:
        mixture = _mixture(parts, believed, task)
    weights, held_out = mixture.weights, mixture.held_out
    keys = features.new_zeros(len(label_features), features.shape[1])
    prior_scale = features.new_zeros(features.shape[1])
    bias = features.new_zeros(len(label_features))
    for (columns, units, part), weight in zip(fits, weights, strict=True):
        keys[:, columns] += weight * part.keys * units.text
        prior_scale[columns] += weight * part.scale * units.text * units.label
        bias += weight * part.bias
    if log_expected is None:
        log_expected = torch.zeros_like(bias)
    added = log_expected if log_chosen is None else log_expected + log_chosen
    if task is not None:
        bias[present] += mixture.biases
        held_out = held_out + added[present]
    counted = shot_weights(targets[:shots], log_expected)
    return Selection(
        label_keys=keys,
        label_bias=bias - keys @ mean + added,
        prior_scale=prior_scale,
        prior_shift=shift,
        prior_centre=mean,
        views=() if task is None else _view_facts(views, parts, weights, local[:shots], counted),
        quality=Quality() if task is None else _quality(held_out, local[:shots], counted),
        held_out=held_out,
    )


@dataclass(frozen=True)
class _Mixture:
    """How views are mixed.

    Attributes:
        weights: float32 (V,), of the views, temperature included.
        biases: float32 (labels with texts,), which unequally many shots call for.
        held_out: Logits of the mixture, biases included, float32 (shots, labels with texts); empty without shots.
    """

    weights: Tensor
    biases: Tensor
    held_out: Tensor


def _mixture(parts: Sequence[ViewFit], believed: Tensor, task: FoldedTask) -> _Mixture:
    """Fit the mixture to the held-out logits of the views."""
    gold, shares = task.targets[: task.shots], task.log_shares_of_shots
    logits = torch.stack([part.held_out for part in parts])  # (V, shots, labels with texts)
    spread = (logits - logits.mean(2, keepdim=True)).flatten(1).std(1).clamp_min(1e-6) / LOGIT_DEVIATION
    pull = MIXTURE_PULL / len(gold)
    weights = fit_mixture(logits / spread.reshape(-1, 1, 1), gold, believed, pull, shares) / spread
    held_out = torch.einsum("v,vnl->nl", weights, logits)
    biases = fit_rare_biases(held_out, gold, shares)
    temperature = fit_temperature(held_out + biases, gold, shares)
    return _Mixture(weights / temperature, biases / temperature, (held_out + biases) / temperature)


def _view_facts(
    views: Sequence[View], parts: Sequence[ViewFit], weights: Tensor, gold: Tensor, counted: Tensor
) -> tuple[ViewFacts, ...]:
    return tuple(
        ViewFacts(view.name, float(weight), part.scale, part.penalty, _accuracy(part.held_out, gold, counted))
        for view, part, weight in zip(views, parts, weights, strict=True)
    )


def _quality(held_out: Tensor, gold: Tensor, counted: Tensor) -> Quality:
    losses = torch.nn.functional.cross_entropy(held_out, gold, reduction="none")
    return Quality(_accuracy(held_out, gold, counted), float((losses * counted).mean()))


@dataclass(frozen=True)
class _Units:
    """Factors of a view's features of texts and of labels, each (F_v,)."""

    text: Tensor
    label: Tensor


def _to_units(view: View, x: Tensor, h: Tensor, spec: FeatureSpec, one_label: bool) -> _Units:
    """Factors that bring a view's features to the lengths that the grid of strengths is made for."""
    if view.atoms:  # unit-length atoms side by side, then the whole of length 1
        rows = x.new_full((x.shape[1],), len(view.atoms) ** -0.5)
        return _Units(rows, rows)
    if one_label:
        return _Units(x.new_ones(x.shape[1]), x.new_ones(x.shape[1]))
    layers = x.reshape(len(x), len(spec.attention), -1)  # (N, K, Q)
    per_layer = layers.square().mean((0, 2)).sqrt().clamp_min(1e-6).reciprocal()  # (K,): every layer counts alike
    rows = per_layer.repeat_interleave(layers.shape[2])
    rows = rows * ATTENTION_LENGTH / (x * rows).square().sum(1).mean().sqrt().clamp_min(1e-6)
    deviation = ((x * rows) @ h.t()).std(unbiased=False).clamp_min(1e-9)
    return _Units(rows, torch.full_like(rows, PRIOR_DEVIATION) / deviation)


def _fit_view(
    view: View,
    spec: FeatureSpec,
    x: Tensor,
    h: Tensor,
    shots: int,
    task: FoldedTask | None,
    taught_features: Callable[[Tensor], Tensor] | None,
) -> tuple[_Units, ViewFit]:
    """Fit one view to centred features x (N, F_v) of the texts and h (L, F_v) of the labels; without a task to h alone."""
    units = _to_units(view, x[:shots], h, spec, one_label=task is None)
    if task is None:
        return units, _describe_only(h * units.label)
    texts, labels = ViewTexts.of(x * units.text, h * units.label, task), h * units.label
    predicted = (
        _predict_taught(view, spec, taught_features, h, task)
        if not view.atoms and taught_features is not None
        else predict(texts, task)
    )
    return units, fit_view(texts, labels, task, predicted)


def _predict_taught(
    view: View, spec: FeatureSpec, taught_features: Callable[[Tensor], Tensor], h: Tensor, task: FoldedTask
) -> Predicted:
    """``predict`` where each fold has label queries that only the other folds have taught; one repeat, since teaching is slow."""

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for fold in range(task.folds.grid.folds):
            x = taught_features(torch.nonzero(task.training_mask(0, fold)).flatten())
            x = x - balanced_mean(x[: task.shots], task.targets[: task.shots])
            units = _to_units(view, x[: task.shots], h, spec, one_label=False)
            yield from held_out_logits(ViewTexts.of(x * units.text, h * units.label, task), task, 0, [fold])

    return gather(task, 1, parts())


def _describe_only(h: Tensor) -> ViewFit:
    """A view without shots to learn from: cosine to the centred descriptions."""
    return ViewFit(ZERO_SHOT_SCALE * h, h.new_zeros(len(h)), h.new_zeros(0, 0), ZERO_SHOT_SCALE, 0.0)


def _columns(view: View, spec: FeatureSpec, hidden: int, features: int) -> Tensor:
    if not view.atoms:
        return torch.arange(spec.size(hidden), features)
    return torch.cat([torch.arange(hidden) + hidden * spec.atoms.index(atom) for atom in view.atoms])


def _accuracy(logits: Tensor, targets: Tensor, counted: Tensor) -> float:
    weights = counted.double()
    return float(((logits.argmax(1) == targets) * weights).sum() / weights.sum())
