"""Fits the default head to encoded shots and descriptions: chooses the label queries, the depth and the strengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstune.config import TrainConfig
from crosstune.core.errors import DataError
from crosstune.core.progress import StepProgress
from crosstune.core.training_facts import HeadFacts, LayersTried, Quality
from crosstune.features.encoding import EncodedTask, cached_features
from crosstune.heads.default.abstention import (
    coverage_threshold,
    held_out_similarity,
    length_offsets,
    offsets_of_log,
    precision_threshold,
    scope_keys,
)
from crosstune.heads.default.head import PriorHead, mean_atoms
from crosstune.heads.default.mixing import Selection, select
from crosstune.heads.default.task import description_features, task_features
from crosstune.heads.default.teaching import Teacher, teach
from crosstune.heads.feature_plan import default_views, depths_to_try, spec_of
from crosstune.heads.shares import log_chosen, log_expected, shot_weights

#: With ``layers = "auto"``: by how much fewer layers may lower the accuracy on held-out shots, and raise their loss (as a
#: share of it). Chosen by hand; ``auto`` as a whole gains 0.05 points (``benchmarks/results/ablations.json``).
ACCURACY_LOSS, CROSS_ENTROPY_LOSS = 0.005, 0.02
#: Share of the held-out shots that reach ``usual_similarity``; chosen by hand, the usual level of an outlier test.
USUAL_SHARE = 0.95


def fit_default(
    task: EncodedTask, config: TrainConfig, progress: StepProgress | None, teacher: Teacher | None = None
) -> tuple[PriorHead, HeadFacts, Tensor]:
    """Fit the default head.

    Args:
        task: An encoded task; its examples may be none.
        config: Seed, the layers to use, the shares of the labels in use, and when to abstain.
        progress: Called with steps done and their number.
        teacher: A head on more layers, whose answers to a log the head learns to give; None without one.

    Returns:
        The head, what the fit reports, and probabilities of held-out shots, float32 (shots, L), of no rows without shots.

    Raises:
        DataError: A threshold is to be chosen, and there are no shots to choose it by; or a description has no token.
    """
    depths = depths_to_try(config, task.backbone.layer_count)
    in_use = log_expected(config.expected_shares, task.labels, task.targets[: task.shots])
    chosen_more = log_chosen(config.log_shares, task.labels, task.targets[: task.shots])
    fits: list[tuple[PriorHead, Selection]] = []
    tried = []
    views = len(default_views(1))
    for number, depth in enumerate(depths):

        def step(done: int, _: int, before: int = number * views) -> None:
            if progress is not None:
                progress(before + done, views * len(depths))

        head, chosen = _fit_depth(task, depth, config.seed, in_use, chosen_more, step)
        tried.append(LayersTried(depth, chosen.quality))
        rivals = (*fits[:1], *fits[-1:])  # all layers, and the fewest that did as well
        if all(_as_good(chosen.quality, rival.quality) for _, rival in rivals):
            fits.append((head, chosen))
    head, chosen = fits[-1]
    facts = HeadFacts(
        quality=chosen.quality,
        layers=head.spec.last_layer,
        layers_tried=tuple(tried),
        views=chosen.views,
    )
    similarities = weights = None
    if task.shots:
        cosines, tokens, weights = _similarities(task, head, in_use)
        kind, _, value = (config.abstain_at or "").partition("=")
        coverage = float(value) if kind == "coverage" else USUAL_SHARE
        longest = task.layout.max_length_tokens
        if task.unlabeled is None:
            offsets = length_offsets(cosines, tokens, longest, coverage, weights)
        else:
            offsets = offsets_of_log(cosines, tokens, longest, coverage)
        head.scope_offsets = torch.from_numpy(offsets).to(head.scope_keys.device)
        similarities = cosines + offsets[tokens] if len(offsets) else cosines
        facts = replace(facts, usual_similarity=min(1.0, coverage_threshold(similarities, USUAL_SHARE, weights)))
    if config.abstain_at is not None:
        facts = _with_threshold(facts, task, head, chosen, similarities, weights, config.abstain_at, in_use)
    if teacher is not None:
        taught = teach(head, teacher, config.seed)
        head, facts = taught.head, replace(facts, taught=taught.facts, threshold=taught.threshold)
    held_out = in_use.new_zeros(len(chosen.held_out), len(task.labels))
    if len(held_out):
        held_out[:, torch.unique(task.targets)] = chosen.held_out.softmax(1)
    return head, facts, held_out


def _similarities(
    task: EncodedTask, head: PriorHead, in_use: Tensor
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float32] | None]:
    """Cosine similarity, number of tokens and weight of N texts, (N,) each: those of the log, or each shot to the other shots."""
    size, device = head.scope_keys.shape[1], head.scope_keys.device
    states = task.texts.select(np.arange(task.shots)) if task.unlabeled is None else task.unlabeled
    tokens = np.array([text.shape[1] for text in states.tokens], np.int64)
    texts = cached_features(states, head.spec)[:, :size].to(head.scope_keys)
    if task.unlabeled is not None:
        return np.asarray((texts @ head.scope_keys.t()).max(1).values.double().cpu()), tokens, None
    targets = task.targets[: task.shots]
    descriptions = description_features(task, head.spec, device)[:, :size]
    cosines = held_out_similarity(texts, targets, descriptions, head.similarity_atoms)
    return cosines, tokens, shot_weights(targets, in_use).cpu().numpy()


def _with_threshold(
    facts: HeadFacts,
    task: EncodedTask,
    head: PriorHead,
    chosen: Selection,
    similarities: npt.NDArray[np.float64] | None,
    weights: npt.NDArray[np.float32] | None,
    target: str,
    in_use: Tensor,
) -> HeadFacts:
    """The facts with the threshold that keeps a promise such as ``coverage=0.95``, for labels as frequent as in use."""
    kind, _, value = target.partition("=")
    if similarities is None or not len(chosen.held_out):
        raise DataError(
            f"abstain_at: {target} needs shots of 2 labels or more, found fewer. Leave it out, or give examples."
        )
    if kind == "precision":
        targets = task.targets
        counted = shot_weights(targets[: task.shots], in_use).cpu().numpy()
        features = cached_features(task.texts, head.spec, head.queries)[: task.shots].to(head.label_keys)
        logits = features @ head.label_keys.t() + head.label_bias  # of labels without shots, which compete too
        logits[:, torch.unique(targets)] = chosen.held_out
        gold = targets[: task.shots].cpu().numpy()
        probs = logits.softmax(1).cpu().numpy()
        return replace(facts, threshold=precision_threshold(probs, gold, float(value), counted))
    limit = min(1.0, coverage_threshold(similarities, float(value), weights))
    return replace(facts, min_similarity=limit, log_texts=0 if task.unlabeled is None else len(task.unlabeled.tokens))


def _as_good(shallow: Quality, deep: Quality) -> bool:
    """Whether fewer layers do as well on held-out shots; without shots this cannot be measured, and all layers stay."""
    if shallow.cv_accuracy is None or deep.cv_accuracy is None or shallow.cv_loss is None or deep.cv_loss is None:
        return False
    return shallow.cv_accuracy >= deep.cv_accuracy - ACCURACY_LOSS and shallow.cv_loss <= deep.cv_loss * (
        1 + CROSS_ENTROPY_LOSS
    )


def _fit_depth(
    task: EncodedTask, depth: int, seed: int, in_use: Tensor, chosen_more: Tensor, progress: StepProgress
) -> tuple[PriorHead, Selection]:
    """Fit a head to the first ``depth`` layers."""
    backbone, targets = task.backbone, task.targets
    views = default_views(depth, backbone.pool)
    spec = spec_of(views, depth)
    features = task_features(task, spec)
    chosen = select(
        views,
        spec,
        features.texts,
        targets,
        features.labels,
        backbone.hidden_size,
        seed,
        progress,
        generated=len(task.examples) - task.shots,
        taught_features=features.taught_features,
        log_expected=in_use,
        log_chosen=chosen_more,
        centre=None
        if task.unlabeled is None or task.shots
        else cached_features(task.unlabeled, spec, features.queries).mean(0).to(features.texts),
    )
    size = mean_atoms(spec) * backbone.hidden_size
    shots = features.texts[: task.shots, :size]
    tensors = {
        "scope_keys": scope_keys(shots, targets[: task.shots], features.labels[:, :size], mean_atoms(spec)),
        "scope_offsets": targets.new_zeros(0, dtype=torch.float32),  # known once the similarities of held-out shots are
        "label_keys": chosen.label_keys,
        "label_bias": chosen.label_bias,
        "label_queries": features.queries,
        "prior_scale": chosen.prior_scale,
        "prior_shift": chosen.prior_shift,
        "prior_centre": chosen.prior_centre,
    }
    return PriorHead(spec, backbone.pool_positions(backbone.tokens), tensors), chosen
