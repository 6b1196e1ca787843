"""The heads: label cross-attention whose averaged attention over the labels is the class distribution.

Shapes: B texts, T tokens, L labels, D hidden size, F features, H heads, d = features a head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from crosstune.backbone.frozen import PoolPositions
from crosstune.core.errors import CheckpointError
from crosstune.features.pooling import FeatureSpec, text_features

#: What a default head is made of, by name.
DEFAULT_TENSORS = (
    "label_bias",
    "label_keys",
    "label_queries",
    "prior_centre",
    "prior_scale",
    "prior_shift",
    "scope_keys",
)


class LabelAttentionHead(nn.Module):
    """What both heads share: the features of a text, and where they come from in the hidden states."""

    kind = ""

    def __init__(self, spec: FeatureSpec, positions: PoolPositions) -> None:
        super().__init__()
        self.spec = spec
        self.positions = positions

    def probs(self, text_vector: Tensor) -> Tensor:
        """Class probabilities, float32 (B, L), from features (B, F)."""
        raise NotImplementedError

    def folded(self) -> tuple[Tensor, Tensor]:
        """Label keys (H, L, F) and biases (H, L) with ``p = mean_h softmax_y(x · keys_hᵀ + bias_h)``: what a build ships."""
        raise NotImplementedError

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and features from hidden states.

        Args:
            states: layers + 1 tensors, float32 (B, T, D).
            mask: int64 (B, T).

        Returns:
            float32 (B, L) and (B, F).
        """
        vector = text_features(states, mask, self.spec, self.positions, self.queries)
        return self.probs(vector), vector

    @property
    def queries(self) -> Tensor | None:
        """Label queries, float32 (K, Q, D), of a head that attends to tokens."""
        return None

    def feature_count(self, hidden_size: int) -> int:
        """F."""
        return self.spec.size(hidden_size, 0 if self.queries is None else self.queries.shape[1])

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name."""
        return {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}


class PriorHead(LabelAttentionHead):
    """Label attention twice: label queries over the tokens of a text, then the text over the label keys.

    ``p = softmax(x · keysᵀ + bias)``: the keys (L, F) are the label's own features, scaled, plus what the shots taught. x
    holds pooled states and, last, what the label queries found among the tokens. A label that is known by its description
    alone has ``key = prior_scale · (h − prior_shift)`` and ``bias = −key · prior_centre``, with h (F,) its own features.
    """

    kind = "default"
    label_keys: Tensor  # (L, F)
    label_bias: Tensor  # (L,)
    label_queries: Tensor  # (K, Q, D)
    prior_scale: Tensor  # (F,)
    prior_shift: Tensor  # (F,)
    prior_centre: Tensor  # (F,)
    scope_keys: Tensor  # (L, S), S = D for each atom that is a mean: the first S features

    def __init__(self, spec: FeatureSpec, positions: PoolPositions, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(spec, positions)
        for name in DEFAULT_TENSORS:
            self.register_buffer(name, tensors[name])

    @property
    def queries(self) -> Tensor | None:
        """Label queries, float32 (K, Q, D)."""
        return self.label_queries if self.spec.attention else None

    @property
    def scope_atoms(self) -> int:
        """How many atoms the scope is measured on."""
        return mean_atoms(self.spec)

    def scope(self, text_vector: Tensor) -> Tensor:
        """Cosine to the nearest label, float32 (B,), from features (B, F): low where a text belongs to none."""
        return (text_vector[:, : self.scope_keys.shape[1]] @ self.scope_keys.t()).amax(1)

    def probs(self, text_vector: Tensor) -> Tensor:
        """Class probabilities, float32 (B, L), from features (B, F)."""
        return (text_vector @ self.label_keys.t() + self.label_bias).softmax(-1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Label keys (1, L, F) and biases (1, L)."""
        return self.label_keys.unsqueeze(0), self.label_bias.unsqueeze(0)


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


def mean_atoms(spec: FeatureSpec) -> int:
    """How many atoms of a spec are means over tokens; they stand first."""
    return sum(atom.pool == "mean" for atom in spec.atoms)


def head_from_tensors(
    kind: str,
    spec: FeatureSpec,
    positions: PoolPositions,
    tensors: Mapping[str, Tensor],
    labels: int,
    hidden_size: int,
    where: str,
) -> LabelAttentionHead:
    """The head that a checkpoint's tensors describe.

    Raises:
        CheckpointError: A tensor is missing, foreign, not finite, or of another shape or type than expected.
    """
    asked = tensors.get("label_queries", torch.empty(0, 0, 0))
    queries = asked.shape[1] if asked.ndim == 3 else 0
    features = spec.size(hidden_size, queries)
    shapes: dict[str, tuple[int, ...]]
    if kind == "default":
        shapes = {
            "label_bias": (labels,),
            "label_keys": (labels, features),
            "label_queries": (len(spec.attention), queries, hidden_size),
            **dict.fromkeys(("prior_centre", "prior_scale", "prior_shift"), (features,)),
            "scope_keys": (labels, mean_atoms(spec) * hidden_size),
        }
    elif kind == "paper":
        query = tuple(tensors["query"].shape) if "query" in tensors else (1, 1, features)
        shapes = {"key": (*query[:2], features), "label_vectors": (labels, features), "query": (*query[:2], features)}
    else:
        raise CheckpointError(f"{where}: head {kind!r}, expected default or paper. Upgrade crosstune-export.")
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
