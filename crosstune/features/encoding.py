"""Encodes a task once: the states of its texts and descriptions, from which rows are taken as often as needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstune.backbone.frozen import Backbone
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress, stage_progress
from crosstune.core.token_layout import TokenLayout
from crosstune.data.examples import Example
from crosstune.data.task import Task
from crosstune.features.attention import attention_features
from crosstune.features.cache import FeatureCache, TextStates, default_cache_path
from crosstune.features.pooling import pooled_features
from crosstune.features.spec import FeatureSpec

#: Indices of examples of an ``EncodedTask``, int64 (n,).
Rows: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EncodingPlan:
    """Which states of a task are kept.

    Attributes:
        text_pools: Pools of the texts, out of ``spec.POOLS``.
        description_pools: Pools of the descriptions.
        token_layers: Layers whose token states are kept, of texts and of descriptions.
        layout: How ids are laid out around a text. Descriptions have the backbone's own layout.
    """

    text_pools: tuple[str, ...]
    description_pools: tuple[str, ...]
    token_layers: tuple[int, ...]
    layout: TokenLayout


@dataclass(frozen=True)
class EncodedTask:
    """A task whose texts and descriptions have been through the backbone.

    Attributes:
        labels: L labels.
        examples: N examples: the shots, then generated ones.
        shots: How many of the examples are shots. The others are learned from, but nothing is chosen or measured by them.
        texts: States of the N texts.
        descriptions: States of all description sentences, in the order of the labels.
        layout: How ids are laid out around a text.
        backbone: The backbone that encoded them.
        unlabeled: States of the texts of a log; None without one.
    """

    labels: LabelSet
    examples: tuple[Example, ...]
    shots: int
    texts: TextStates
    descriptions: TextStates
    layout: TokenLayout
    backbone: Backbone
    unlabeled: TextStates | None = None

    @property
    def targets(self) -> Tensor:
        """Class indices of the examples, int64 (N,), on the device of the backbone."""
        return torch.tensor(self.labels.indices(self.examples), dtype=torch.int64, device=self.backbone.device)

    def select(self, rows: Rows) -> EncodedTask:
        """The task with some of its examples only; nothing is encoded.

        Args:
            rows: int64 (n,), rows of shots before rows of generated examples.
        """
        return replace(
            self,
            examples=tuple(self.examples[row] for row in rows),
            shots=int((rows < self.shots).sum()),
            texts=self.texts.select(rows),
        )


def encode(
    task: Task,
    backbone: Backbone,
    plan: EncodingPlan,
    *,
    cache_path: Path | None = None,
    progress: Progress = no_progress,
) -> EncodedTask:
    """Encode a task: the cache is opened once, and asked once for each distinct text and description.

    Args:
        task: The labels, shots, generated texts and texts of a log.
        backbone: What encodes them.
        plan: Which states to keep.
        cache_path: File of cached features; the user's own when None.
        progress: Called with the stage, the steps done and their total.

    Raises:
        ResourceError: The cache cannot be written.
    """
    examples = (*task.shots, *task.generated)
    sentences = [sentence for label in task.labels for sentence in label.descriptions]
    distinct_sentences = list(dict.fromkeys(sentences))
    distinct_texts = list(dict.fromkeys(example.content for example in examples))
    log = list(dict.fromkeys(task.unlabeled))
    with FeatureCache(cache_path or default_cache_path()) as cache:
        descriptions = cache.states(
            backbone,
            distinct_sentences,
            plan.description_pools,
            plan.token_layers,
            backbone.tokens,
            stage_progress(progress, "encode labels"),
        )
        texts = cache.states(
            backbone,
            distinct_texts,
            plan.text_pools,
            plan.token_layers,
            plan.layout,
            stage_progress(progress, "encode texts"),
        )
        log_step = stage_progress(progress, "encode log")
        of_log = cache.states(backbone, log, plan.text_pools, plan.token_layers, plan.layout, log_step) if log else None
    return EncodedTask(
        labels=task.labels,
        examples=examples,
        shots=len(task.shots),
        texts=texts.select(_positions(distinct_texts, [example.content for example in examples])),
        descriptions=descriptions.select(_positions(distinct_sentences, sentences)),
        layout=plan.layout,
        backbone=backbone,
        unlabeled=of_log,
    )


def cached_features(states: TextStates, spec: FeatureSpec, queries: Tensor | None = None) -> Tensor:
    """Features of N texts, each computed alone: without padding, and without rounding that depends on other texts.

    Args:
        states: What the cache kept of the texts; at least the pools and token layers that the spec names.
        spec: Which features to compute.
        queries: float32 (K, Q, D), where the spec has attention layers; the features are computed on its device.

    Returns:
        float32 (N, F).
    """
    device = torch.device("cpu") if queries is None else queries.device
    pooled = pooled_features(torch.from_numpy(states.pooled).to(device), states.pools, spec)
    if queries is None or not spec.attention:
        return pooled
    places = [states.layers.index(layer) for layer in spec.attention]
    attended = [queries.new_zeros(0, queries.shape[0] * queries.shape[1])]
    for tokens in states.tokens:
        layers = torch.from_numpy(tokens[places].astype("float32")).to(device).unsqueeze(1)  # (K, 1, T, D)
        attended.append(attention_features(list(layers), layers.new_ones(layers.shape[1:3]), queries))
    return torch.cat([pooled, torch.cat(attended)], 1)


def _positions(distinct: Sequence[object], items: Sequence[object]) -> Rows:
    """Where each item stands among the distinct ones."""
    position = {item: i for i, item in enumerate(distinct)}
    return np.array([position[item] for item in items], np.int64)
