"""Label descriptions attend to the tokens of a text: which queries they ask, and what comes back.

The tokens of a label's description, as the backbone sees them in a layer, are queries over the token states of a text
in the same layer. A query brings back how near the text comes to it: the attention-weighted mean of its cosines.

Shapes: B texts, T tokens, D hidden size, K attention layers, L labels, Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Multiplies the cosines inside the softmax over tokens: 0 would be a plain mean, ∞ the nearest token alone.
SHARPNESS = 16.0
#: Queries a label: the tokens of its descriptions that are least like any token of other labels' descriptions.
QUERIES_A_LABEL = 8


def attention_features(states: Sequence[Tensor], mask: Tensor, queries: Tensor) -> Tensor:
    """What the label queries find in a batch of texts.

    ``f_q = Σ_t softmax_t(SHARPNESS · cos(s_t, q)) · cos(s_t, q)``, over the tokens of a text, special ones included.

    Args:
        states: K tensors, float32 (B, T, D), the attention layers.
        mask: int64 (B, T).
        queries: float32 (K, Q, D), of length 1.

    Returns:
        float32 (B, K·Q), in [-1, 1].
    """
    hidden = (mask.to(queries.dtype).unsqueeze(-1) - 1) * 1e4  # (B, T, 1), 0 where there is a token
    found = []
    for layer, asked in zip(states, queries, strict=True):
        length = layer.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()  # (B, T, 1)
        cosine = (layer @ asked.t()) * length  # (B, T, Q)
        found.append(((cosine * SHARPNESS + hidden).softmax(1) * cosine).sum(1))
    return torch.cat(found, 1)


def choose_queries(descriptions: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """The queries of a set of labels.

    Args:
        descriptions: For each of L labels one tensor a sentence, float32 (K, T, D): token states, special tokens left out.

    Returns:
        Queries float32 (K, Q, D), of length 1, and the label of each, int64 (Q,). A label gets ``QUERIES_A_LABEL`` of them,
        fewer where its sentences have fewer tokens. Which, is decided in all layers but the lowest.
    """
    tokens = [torch.cat([torch.nn.functional.normalize(part, dim=-1) for part in parts], 1) for parts in descriptions]
    owner = torch.cat([torch.full((part.shape[1],), y) for y, part in enumerate(tokens)]).to(tokens[0].device)
    pool = torch.cat(tokens, 1)  # (K, tokens, D)
    chosen = []
    for label in range(len(tokens)):
        own, others = torch.nonzero(owner == label).flatten(), pool[:, owner != label]
        if len(own) > QUERIES_A_LABEL and others.shape[1]:
            upper = slice(min(1, len(pool) - 1), None)
            nearest = (pool[upper, own] @ others[upper].transpose(1, 2)).amax(2).mean(0)  # (tokens of the label,)
            own = own[torch.argsort(nearest, stable=True)[:QUERIES_A_LABEL]].sort().values
        chosen.append(own[:QUERIES_A_LABEL])
    at = torch.cat(chosen)
    return pool[:, at].contiguous(), owner[at]


def query_weights(owner: Tensor, labels: int, layers: int) -> Tensor:
    """A label's own features: the mean of what its queries find, float32 (L, K·Q), 0 elsewhere.

    The lowest of several layers counts nothing: that a text has a word of a description in it is for the shots to value.
    """
    own = torch.nn.functional.one_hot(owner, labels).to(torch.float32).t()  # (L, Q)
    weights = (own / own.sum(1, keepdim=True).clamp_min(1)).repeat(1, layers)
    weights[:, : len(owner) * (layers > 1)] = 0
    return weights
