"""Label queries attend to the tokens of a text.

The tokens of a label's description, as the backbone sees them in a layer, are queries over the token states of a text
in the same layer. The feature of a query is the attention-weighted mean of its cosines to the tokens: how near the text comes to it.

Shapes: B texts, T tokens, D hidden size, K attention layers, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Multiplies the cosines inside the softmax over tokens: 0 would be a plain mean, ∞ the nearest token alone. Chosen by hand;
#: not ablated.
SHARPNESS = 16.0


def attention_features(states: Sequence[Tensor], mask: Tensor, queries: Tensor) -> Tensor:
    """Features of the label queries in a batch of texts.

    ``f_q = Σ_t softmax_t(SHARPNESS · cos(s_t, q)) · cos(s_t, q)``, over the tokens of a text, special ones included.

    Args:
        states: K tensors, float32 (B, T, D), the attention layers.
        mask: int64 (B, T).
        queries: float32 (K, Q, D), of length 1.

    Returns:
        float32 (B, K·Q), in [-1, 1].
    """
    padding = (mask.to(queries.dtype).unsqueeze(-1) - 1) * 1e4  # (B, T, 1), 0 where there is a token
    features = []
    for layer, layer_queries in zip(states, queries, strict=True):
        inverse_length = layer.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()  # (B, T, 1)
        cosine = (layer @ layer_queries.t()) * inverse_length  # (B, T, Q)
        features.append(((cosine * SHARPNESS + padding).softmax(1) * cosine).sum(1))
    return torch.cat(features, 1)
