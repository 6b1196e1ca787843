"""The features of an encoded task that the default head is fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstune.core.errors import DataError
from crosstune.features.encoding import EncodedTask, cached_features
from crosstune.features.pooling import pooled_features
from crosstune.features.spec import FeatureSpec
from crosstune.heads.default.queries import QueryLearner, choose_queries, query_weights


@dataclass(frozen=True)
class TaskFeatures:
    """What the default head is fitted to.

    Attributes:
        queries: Label queries, taught by all texts, float32 (K, Q, D).
        texts: float32 (N, F).
        labels: Features of each label: pooled states of its descriptions, weights of its queries, float32 (L, F).
        taught_features: Rows int64 (n,) to the features float32 (N, K·Q) of all texts by queries that these rows alone have
            taught; None where queries stay as the descriptions have them.
    """

    queries: Tensor
    texts: Tensor
    labels: Tensor
    taught_features: Callable[[Tensor], Tensor] | None


def task_features(task: EncodedTask, spec: FeatureSpec) -> TaskFeatures:
    """Features of an encoded task.

    Raises:
        DataError: A description has no token.
    """
    queries, weights = _label_queries(task, spec)
    labels = torch.cat([description_features(task, spec, queries.device), weights], 1)
    targets = task.targets
    taught_features = None
    if len(torch.unique(targets[: task.shots])) > 1:
        learner = QueryLearner(task.texts, spec, targets, queries, weights)
        if learner.steps:
            queries = learner.learn(torch.arange(len(targets), device=queries.device))
            taught_features = learner.taught_features
    return TaskFeatures(queries, cached_features(task.texts, spec, queries), labels, taught_features)


def description_features(task: EncodedTask, spec: FeatureSpec, device: torch.device) -> Tensor:
    """Pooled features of the descriptions, float32 (L, A·D): the mean where a label has several."""
    states = task.descriptions
    sentences = pooled_features(torch.from_numpy(states.pooled).to(device), states.pools, spec)
    counts = [len(label.descriptions) for label in task.labels]
    return torch.stack([rows.mean(0) for rows in torch.split(sentences, counts)])


def _label_queries(task: EncodedTask, spec: FeatureSpec) -> tuple[Tensor, Tensor]:
    """Queries float32 (K, Q, D), and the weights of each label on their features, float32 (L, K·Q)."""
    backbone = task.backbone
    places = [task.descriptions.layers.index(layer) for layer in spec.attention]
    first, last = len(backbone.tokens.prefix_ids), len(backbone.tokens.suffix_ids)
    sentences = iter(task.descriptions.tokens)
    tokens = []
    for label in task.labels:
        states = [torch.from_numpy(next(sentences)[places].astype("float32")) for _ in label.descriptions]
        tokens.append([part[:, first : part.shape[1] - last].to(backbone.device) for part in states])
        if any(not part.shape[1] for part in tokens[-1]):
            raise DataError(
                f"labels: a description of {label.name!r} has no token for {backbone.name}, expected words. Describe it in others."
            )
    queries, owner = choose_queries(tokens, shared=task.shots > 0)
    return queries, query_weights(owner, len(task.labels), len(places))
