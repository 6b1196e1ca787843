"""What both heads share: label attention over the features of a text.

Shapes: B texts, T tokens, L labels, D hidden size, F features, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from crosstune.backbone.frozen import PoolPositions
from crosstune.features.pooling import text_features
from crosstune.features.spec import FeatureSpec


class LabelAttentionHead(nn.Module):
    """Base of both heads: reads the features of a text from hidden states, and gives class probabilities.

    Attributes:
        kind: ``default`` or ``paper``.
        spec: Which features it reads.
        positions: Where single tokens stand in a row.
    """

    kind: str

    spec: FeatureSpec
    positions: PoolPositions

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
