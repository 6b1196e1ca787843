"""The head that the tensors of a checkpoint describe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crosstune.backbone.frozen import PoolPositions
from crosstune.core.errors import CheckpointError
from crosstune.features.spec import FeatureSpec
from crosstune.heads.default.head import PriorHead, mean_atoms
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune.heads.paper.head import PaperHead


def head_from_tensors(
    kind: str,
    spec: FeatureSpec,
    positions: PoolPositions,
    tensors: Mapping[str, Tensor],
    labels: int,
    hidden_size: int,
    max_length_tokens: int,
    where: str,
) -> LabelAttentionHead:
    """The head that a checkpoint's tensors describe.

    Raises:
        CheckpointError: A tensor is missing, foreign, not finite, or of another shape or type than expected.
    """
    label_queries = tensors.get("label_queries", torch.empty(0, 0, 0))
    queries = label_queries.shape[1] if label_queries.ndim == 3 else 0
    features = spec.size(hidden_size, queries)
    shapes: dict[str, tuple[int, ...]]
    if kind == "default":
        shapes = {
            "label_bias": (labels,),
            "label_keys": (labels, features),
            "label_queries": (len(spec.attention), queries, hidden_size),
            **dict.fromkeys(("prior_centre", "prior_scale", "prior_shift"), (features,)),
            "scope_keys": (labels, mean_atoms(spec) * hidden_size),
            "scope_offsets": (max_length_tokens + 1,),
        }
    elif kind == "paper":
        query = tuple(tensors["query"].shape) if "query" in tensors else (1, 1, features)
        shapes = {"key": (*query[:2], features), "label_vectors": (labels, features), "query": (*query[:2], features)}
    else:
        raise CheckpointError(f"{where}: head {kind!r}, expected default or paper. Upgrade crosstune-export.")
    if kind == "default":
        if set(shapes) - set(tensors) == {"scope_offsets"}:  # a checkpoint of 0.1.0
            tensors = {**tensors, "scope_offsets": torch.empty(0)}
        if tensors.get("scope_offsets", torch.empty(1)).shape == (0,):
            shapes["scope_offsets"] = (0,)
    if sorted(tensors) != sorted(shapes):
        raise CheckpointError(
            f"{where}: tensors {', '.join(sorted(tensors))}, expected {', '.join(sorted(shapes))}. Train again."
        )
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != shape:
            raise CheckpointError(
                f"{where}: tensor {name} is {tensor.dtype} {tuple(tensor.shape)}, expected torch.float32 {shape}. Train again."
            )
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise CheckpointError(f"{where}: tensor {name} has {bad} values that are not finite. Train again.")
    if kind == "default":
        return PriorHead(spec, positions, tensors)
    return PaperHead(spec, positions, tensors["query"], tensors["key"], tensors["label_vectors"]).requires_grad_(False)
