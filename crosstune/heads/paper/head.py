"""The head of the paper: multi-head label cross-attention whose averaged attention is the class distribution.

Shapes: B texts, L labels, F features, H heads, d features a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from crosstune.backbone.frozen import PoolPositions
from crosstune.features.spec import FeatureSpec
from crosstune.heads.label_attention import LabelAttentionHead


class PaperHead(LabelAttentionHead):
    """Multi-head label cross-attention as in CrossTune (LREC-COLING 2024).

    ``a_k = softmax_y((W_k^Q h_x) · (W_k^K h_y) / √d)`` and ``p(y|x) = (1/H) Σ_k a_k[y]``. The number of parameters does
    not depend on the number of labels.
    """

    kind = "paper"
    label_vectors: Tensor  # (L, F)

    def __init__(
        self, spec: FeatureSpec, positions: PoolPositions, query: Tensor, key: Tensor, label_vectors: Tensor
    ) -> None:
        super().__init__(spec, positions)
        self.query = nn.Parameter(query)  # (H, d, F)
        self.key = nn.Parameter(key)  # (H, d, F)
        self.register_buffer("label_vectors", label_vectors)

    @classmethod
    def start(
        cls, spec: FeatureSpec, positions: PoolPositions, label_vectors: Tensor, heads: int, seed: int
    ) -> PaperHead:
        """A head with random projections (Xavier uniform) from F features to F / H a head."""
        features = label_vectors.shape[1]
        size = max(1, features // heads)
        generator = torch.Generator().manual_seed(seed)
        bound = math.sqrt(6 / (features + size))
        query, key = ((torch.rand(heads, size, features, generator=generator) * 2 - 1) * bound for _ in range(2))
        return cls(spec, positions, query.to(label_vectors), key.to(label_vectors), label_vectors)

    def attention(self, text_vector: Tensor) -> Tensor:
        """Attention of every head over the labels, float32 (B, H, L), from features (B, F)."""
        queries = torch.einsum("hdf,bf->bhd", self.query, text_vector)
        keys = torch.einsum("hdf,lf->hld", self.key, self.label_vectors)
        return (torch.einsum("bhd,hld->bhl", queries, keys) / math.sqrt(self.key.shape[1])).softmax(-1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Label keys (H, L, F), ``(W_k^K h_y)ᵀ W_k^Q / √d``, and biases (H, L), zero."""
        keys = torch.einsum("hdf,lf->hld", self.key, self.label_vectors)
        folded = torch.einsum("hld,hdf->hlf", keys, self.query) / math.sqrt(self.key.shape[1])
        return folded, folded.new_zeros(folded.shape[:2])

    def probs(self, text_vector: Tensor) -> Tensor:
        """Class probabilities, float32 (B, L), from features (B, F)."""
        return self.attention(text_vector).mean(1)
