"""From cached states to the features a head sees: the same numbers as straight from the hidden states."""

from __future__ import annotations

import torch
from torch import Tensor

from crosstune.features.attention import attention_features
from crosstune.features.cache import TextStates
from crosstune.features.pooling import POOLS, FeatureSpec, pooled_features


def cached_pools(spec: FeatureSpec) -> tuple[str, ...]:
    """What to keep of a text: all pools but the mask, so that heads of every kind share it; the mask alone with its template."""
    return ("mask",) if "mask" in spec.pools else tuple(pool for pool in POOLS if pool != "mask")


def cached_features(states: TextStates, spec: FeatureSpec, queries: Tensor | None = None) -> Tensor:
    """Features of N texts, each computed alone: no padding, and no rounding by batch-mates.

    Args:
        states: What the cache kept of the texts; at least the pools and token layers that the spec names.
        spec: What to take.
        queries: float32 (K, Q, D), where the spec has attention layers; its device is used.

    Returns:
        float32 (N, F).
    """
    device = torch.device("cpu") if queries is None else queries.device
    pooled = pooled_features(torch.from_numpy(states.pooled).to(device), states.pools, spec)
    if queries is None or not spec.attention:
        return pooled
    at = [states.layers.index(layer) for layer in spec.attention]
    found = [queries.new_zeros(0, queries.shape[0] * queries.shape[1])]
    for tokens in states.tokens:
        layers = torch.from_numpy(tokens[at].astype("float32")).to(device).unsqueeze(1)  # (K, 1, T, D)
        found.append(attention_features(list(layers), layers.new_ones(layers.shape[1:3]), queries))
    return torch.cat([pooled, torch.cat(found)], 1)
