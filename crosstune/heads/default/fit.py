"""Fits the default head to encoded shots and descriptions: chooses the label queries, the depth and the strengths."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.config import TrainConfig
from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import StepProgress
from crosstune.core.strict_text import Json
from crosstune.features.attention import choose_queries, query_weights
from crosstune.features.cache import TextStates
from crosstune.features.encoding import cached_features
from crosstune.features.pooling import FeatureSpec, pooled_features
from crosstune.heads.default.abstention import coverage_threshold, held_out_scope, precision_threshold, scope_keys
from crosstune.heads.default.mixing import Found, Selection, default_views, select, spec_of
from crosstune.heads.default.queries import QueryLearner
from crosstune.heads.label_attention import PriorHead, mean_atoms

#: With ``layers = "auto"``: what fewer layers may lose on held-out shots, of accuracy and of the loss itself.
ACCURACY_LOSS, CROSS_ENTROPY_LOSS = 0.005, 0.02


@dataclass(frozen=True)
class EncodedTask:
    """A task whose texts and descriptions have been through the backbone.

    Attributes:
        labels: The classes.
        targets: int64 (N,), class indices of the texts.
        described: States of all descriptions, one label's after the other's.
        texts: States of the N texts, shots first.
        further: How many of the last texts are not shots: learned from, but nothing is chosen or measured by them.
    """

    labels: LabelSet
    targets: Tensor
    described: TextStates
    texts: TextStates
    further: int = 0

    @property
    def shots(self) -> int:
        """How many of the texts are shots."""
        return len(self.targets) - self.further


def depths(config: TrainConfig, layer_count: int) -> tuple[int, ...]:
    """Numbers of layers that a run tries, the most first; ``auto`` goes down to half, in steps of a sixth or one layer."""
    if config.layers == "auto":
        return tuple(range(layer_count, (layer_count + 1) // 2 - 1, -max(1, layer_count // 6)))
    return (layer_count if config.layers is None else config.layers,)


def fit_default(
    task: EncodedTask, backbone: FrozenBackbone, config: TrainConfig, progress: StepProgress
) -> tuple[PriorHead, dict[str, Json]]:
    """Fit the default head.

    Args:
        task: What was encoded.
        backbone: What encoded it.
        config: Seed, and the layers to use.
        progress: Called with steps done and their number.

    Returns:
        The head and what training reports of it.

    Raises:
        DataError: A threshold is to be chosen, and there are no shots to choose it by.
    """
    tried = depths(config, backbone.layer_count)
    fits: list[tuple[PriorHead, Selection]] = []
    report: list[Json] = []
    views = len(default_views(1))
    for number, depth in enumerate(tried):

        def step(done: int, _: int, before: int = number * views) -> None:
            progress(before + done, views * len(tried))

        head, chosen = _fit_depth(task, backbone, depth, config.seed, step)
        report.append({"layers": depth, "cv_accuracy": chosen.accuracy, "cv_loss": chosen.loss})
        rivals = (*fits[:1], *fits[-1:])  # all layers, and the fewest that did as well
        if all(_as_good(chosen, rival) for _, rival in rivals):
            fits.append((head, chosen))
    head, chosen = fits[-1]
    summary: dict[str, Json] = {
        "cv_accuracy": chosen.accuracy,
        "cv_loss": chosen.loss,
        "layers": head.spec.last_layer,
        "layers_tried": report,
        "views": [
            {
                "name": choice.view.name,
                "weight": choice.weight,
                "scale": choice.scale,
                "penalty": choice.penalty,
                "cv_accuracy": choice.accuracy,
            }
            for choice in chosen.choices
        ],
    }
    if config.abstain_at is not None:
        summary |= _thresholds(task, head, chosen, config.abstain_at)
    return head, summary


def _thresholds(task: EncodedTask, head: PriorHead, chosen: Selection, target: str) -> dict[str, Json]:
    kind, _, value = target.partition("=")
    if not len(chosen.held_out):
        raise DataError(
            f"abstain_at: {target} needs shots of 2 labels or more, found fewer. Leave it out, or give examples."
        )
    if kind == "precision":
        features = cached_features(task.texts, head.spec, head.queries)[: task.shots].to(head.label_keys)
        logits = features @ head.label_keys.t() + head.label_bias  # of labels without shots, which compete too
        logits[:, torch.unique(task.targets)] = chosen.held_out
        gold = task.targets[: task.shots].cpu().numpy()
        return {"threshold": precision_threshold(logits.softmax(1).cpu().numpy(), gold, float(value))}
    size, atoms = head.scope_keys.shape[1], head.scope_atoms
    texts = cached_features(task.texts, head.spec)[:, :size].to(head.scope_keys)
    described = _described(task, head.spec, texts.device)[:, :size]
    scope = held_out_scope(texts[: task.shots], task.targets[: task.shots], described, atoms)
    return {"scope_threshold": coverage_threshold(scope, float(value))}


def _as_good(shallow: Selection, deep: Selection) -> bool:
    """Whether fewer layers do as well on held-out shots; without shots nobody knows, and all layers stay."""
    if shallow.accuracy is None or deep.accuracy is None or shallow.loss is None or deep.loss is None:
        return False
    return shallow.accuracy >= deep.accuracy - ACCURACY_LOSS and shallow.loss <= deep.loss * (1 + CROSS_ENTROPY_LOSS)


def _fit_depth(
    task: EncodedTask, backbone: FrozenBackbone, depth: int, seed: int, progress: StepProgress
) -> tuple[PriorHead, Selection]:
    views = default_views(depth)
    spec = spec_of(views, depth)
    seen = task_features(task, backbone, spec)
    chosen = select(
        views,
        spec,
        seen.texts,
        task.targets,
        seen.labels,
        backbone.hidden_size,
        seed,
        progress,
        further=task.further,
        found=seen.found,
    )
    size = mean_atoms(spec) * backbone.hidden_size
    shots = seen.texts[: task.shots, :size]
    tensors = {
        "scope_keys": scope_keys(shots, task.targets[: task.shots], seen.labels[:, :size], mean_atoms(spec)),
        "label_keys": chosen.label_keys,
        "label_bias": chosen.label_bias,
        "label_queries": seen.queries,
        "prior_scale": chosen.prior_scale,
        "prior_shift": chosen.prior_shift,
        "prior_centre": chosen.prior_centre,
    }
    return PriorHead(spec, backbone.pool_positions(backbone.tokens), tensors), chosen


@dataclass(frozen=True)
class TaskFeatures:
    """What the default head is fitted to.

    Attributes:
        queries: Label queries, taught by all texts, float32 (K, Q, D).
        texts: float32 (N, F).
        labels: A label's own features: pooled states of its descriptions, weights of its queries, float32 (L, F).
        found: What queries find that only some texts have taught, as ``select`` wants it; None where they are as described.
    """

    queries: Tensor
    texts: Tensor
    labels: Tensor
    found: Found | None


def task_features(task: EncodedTask, backbone: FrozenBackbone, spec: FeatureSpec) -> TaskFeatures:
    """Features of an encoded task."""
    queries, own = _label_queries(task, backbone, spec)
    described = _described(task, spec, queries.device)  # (L, A·D)
    labels = torch.cat([described, own], 1)
    found = None
    if len(torch.unique(task.targets[: task.shots])) > 1:
        learner = QueryLearner(task.texts, spec, task.targets, queries, own)
        if learner.steps:
            queries, found = learner.learn(torch.arange(len(task.targets), device=queries.device)), learner.found
    return TaskFeatures(queries, cached_features(task.texts, spec, queries), labels, found)


def _described(task: EncodedTask, spec: FeatureSpec, device: torch.device) -> Tensor:
    """Pooled features of the descriptions, (L, A·D), the mean where a label has several."""
    sentences = pooled_features(torch.from_numpy(task.described.pooled).to(device), task.described.pools, spec)
    counts = [len(label.descriptions) for label in task.labels]
    return torch.stack([rows.mean(0) for rows in torch.split(sentences, counts)])


def _label_queries(task: EncodedTask, backbone: FrozenBackbone, spec: FeatureSpec) -> tuple[Tensor, Tensor]:
    """Queries (K, Q, D) and each label's weights on what they find, (L, K·Q)."""
    at = [task.described.layers.index(layer) for layer in spec.attention]
    first, last = len(backbone.tokens.prefix_ids), len(backbone.tokens.suffix_ids)
    sentences = iter(task.described.tokens)
    tokens = []
    for label in task.labels:
        states = [torch.from_numpy(next(sentences)[at].astype("float32")) for _ in label.descriptions]
        tokens.append([part[:, first : part.shape[1] - last].to(backbone.device) for part in states])
        if any(not part.shape[1] for part in tokens[-1]):
            raise DataError(
                f"labels: a description of {label.name!r} has no token for {backbone.name}, expected words. Describe it in others."
            )
    queries, owner = choose_queries(tokens)
    return queries, query_weights(owner, len(task.labels), len(at))
