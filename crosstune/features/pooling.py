"""Pools the hidden states of all tokens to the features that a head reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosstune.backbone.frozen import HiddenStates, PoolPositions
from crosstune.features.attention import attention_features
from crosstune.features.spec import POOLS, FeatureSpec

#: Changes when the meaning of a pool does, or the shapes of the products that compute it, whose last bits may differ: features that were
#: cached before are then not used.
POOLING_VERSION = 2


def pool_tokens(states: Tensor, mask: Tensor, pool: str, positions: PoolPositions) -> Tensor:
    """Pool several layers at once over tokens.

    Args:
        states: float32 (B, T, N, D): N layers.
        mask: int64 (B, T).
        pool: Out of ``POOLS``.
        positions: Where the first token of the text and the template's mask stand.

    Returns:
        float32 (B, N, D).

    Raises:
        ValueError: There is no such pool.
    """
    weight = mask.to(states.dtype).unsqueeze(-1).unsqueeze(-1)  # (B, T, 1, 1)
    if pool == "mean":
        return (states * weight).sum(1) / weight.sum(1)
    if pool == "max":
        return (states + (weight - 1) * 1e30).amax(1)
    if pool == "first":
        return states[:, positions.first]
    if pool == "cls":
        return states[:, 0]
    if pool in ("mask", "last"):
        from_end = positions.mask_from_end if pool == "mask" else 1
        place = (mask.sum(1) - from_end).reshape(-1, 1, 1, 1)  # (B, 1, 1, 1)
        return torch.gather(states, 1, place.expand(-1, 1, states.shape[2], states.shape[3])).squeeze(1)
    raise ValueError(f"pool {pool!r}, expected one of {', '.join(POOLS)}")


def pool_layers(hidden: HiddenStates, pools: Sequence[str], positions: PoolPositions) -> Tensor:
    """All layers and the given pools: float32 (B, P, layers + 1, D)."""
    states = torch.stack(hidden.states, 2)  # (B, T, layers + 1, D)
    return torch.stack([pool_tokens(states, hidden.mask, pool, positions) for pool in pools], 1)


def pooled_features(pooled: Tensor, pools: Sequence[str], spec: FeatureSpec) -> Tensor:
    """Features from cached pooled states, without those of label queries.

    Args:
        pooled: float32 (N, P, layers + 1, D).
        pools: The P names.
        spec: Which features to compute.

    Returns:
        float32 (N, F).
    """
    places = [list(pools).index(atom.pool) for atom in spec.atoms]
    return merge_atoms(pooled[:, places, [atom.layer for atom in spec.atoms]], spec.merge)


def text_features(
    states: Sequence[Tensor],
    mask: Tensor,
    spec: FeatureSpec,
    positions: PoolPositions,
    queries: Tensor | None = None,
) -> Tensor:
    """Features from hidden states; a built graph computes the same.

    Args:
        states: layers + 1 tensors, float32 (B, T, D).
        mask: int64 (B, T).
        spec: Which features to compute.
        positions: Where the first token of the text and the template's mask stand.
        queries: float32 (K, Q, D), where the spec has attention layers.

    Returns:
        float32 (B, F).
    """
    parts = []
    for pool in spec.pools:
        layers = [states[atom.layer] for atom in spec.atoms if atom.pool == pool]
        parts.append(pool_tokens(torch.stack(layers, 2), mask, pool, positions))
    pooled = merge_atoms(torch.cat(parts, 1), spec.merge)
    if queries is None or not spec.attention:
        return pooled
    return torch.cat([pooled, attention_features([states[layer] for layer in spec.attention], mask, queries)], 1)


def merge_atoms(vectors: Tensor, merge: str) -> Tensor:
    """Vectors (N, A, D) to features (N, F)."""
    if merge == "concat":
        return unit_length(vectors).flatten(1)
    return unit_length(vectors.amax(1))


def unit_length(rows: Tensor) -> Tensor:
    """Rows (..., D) scaled to length 1."""
    return rows * rows.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()
