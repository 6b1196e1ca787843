"""The default head: label attention whose keys start at the descriptions.

Shapes: B texts, L labels, D hidden size, F features, K attention layers, Q label queries.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crosstune.backbone.frozen import PoolPositions
from crosstune.features.spec import FeatureSpec
from crosstune.heads.label_attention import LabelAttentionHead

#: What a default head is made of, by name.
DEFAULT_TENSORS = (
    "label_bias",
    "label_keys",
    "label_queries",
    "prior_centre",
    "prior_scale",
    "prior_shift",
    "scope_keys",
    "scope_offsets",
)


class PriorHead(LabelAttentionHead):
    """Label attention twice: label queries over the tokens of a text, then the text over the label keys.

    ``p = softmax(x · keysᵀ + bias)``: the keys (L, F) are the features of the description, scaled, plus what the shots taught. x
    holds pooled states and, last, the features of the label queries. A label that is known by its description alone has
    ``key = prior_scale · (h − prior_shift)`` and ``bias = −key · prior_centre``, with h (F,) the features of its description.
    """

    kind = "default"
    label_keys: Tensor  # (L, F)
    label_bias: Tensor  # (L,)
    label_queries: Tensor  # (K, Q, D)
    prior_scale: Tensor  # (F,)
    prior_shift: Tensor  # (F,)
    prior_centre: Tensor  # (F,)
    scope_keys: Tensor  # (L, S), S = D for each atom that is a mean: the first S features
    scope_offsets: Tensor  # (max_length_tokens + 1), or (0,) if length does not matter

    def __init__(self, spec: FeatureSpec, positions: PoolPositions, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(spec, positions)
        for name in DEFAULT_TENSORS:
            self.register_buffer(name, tensors[name])

    @property
    def queries(self) -> Tensor | None:
        """Label queries, float32 (K, Q, D)."""
        return self.label_queries if self.spec.attention else None

    @property
    def similarity_atoms(self) -> int:
        """How many atoms the similarity is measured on."""
        return mean_atoms(self.spec)

    def similarity(self, text_vector: Tensor, tokens: Tensor) -> Tensor:
        """How near each text is to the nearest label: low where it belongs to none.

        Args:
            text_vector: Features, float32 (B, F).
            tokens: Tokens of each text, int64 (B,).

        Returns:
            float32 (B,), cosines; if short texts are further from the labels than long ones, made comparable to those of a text
            of median length.
        """
        cosines = (text_vector[:, : self.scope_keys.shape[1]] @ self.scope_keys.t()).amax(1)
        return cosines + self.scope_offsets[tokens] if len(self.scope_offsets) else cosines

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name; no offsets where length does not matter."""
        kept = super().tensors()
        return (
            kept
            if len(self.scope_offsets)
            else {name: value for name, value in kept.items() if name != "scope_offsets"}
        )

    def probs(self, text_vector: Tensor) -> Tensor:
        """Class probabilities, float32 (B, L), from features (B, F)."""
        return (text_vector @ self.label_keys.t() + self.label_bias).softmax(-1)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Label keys (1, L, F) and biases (1, L)."""
        return self.label_keys.unsqueeze(0), self.label_bias.unsqueeze(0)


def mean_atoms(spec: FeatureSpec) -> int:
    """How many atoms of a spec are means over tokens; they stand first."""
    return sum(atom.pool == "mean" for atom in spec.atoms)
