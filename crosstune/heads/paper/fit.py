"""Trains the paper's head: full-batch Adam on the cross-entropy of the averaged attention."""

from __future__ import annotations

import torch
from torch import Tensor

from crosstune.backbone.frozen import PoolPositions
from crosstune.core.errors import TrainingError
from crosstune.core.progress import StepProgress
from crosstune.features.pooling import FeatureSpec
from crosstune.heads.label_attention import PaperHead


def fit_paper(
    spec: FeatureSpec,
    positions: PoolPositions,
    features: Tensor,
    targets: Tensor,
    label_vectors: Tensor,
    *,
    heads: int,
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: StepProgress | None = None,
) -> PaperHead:
    """Minimise ``−log (1/H) Σ_k a_k[gold]`` over the shots.

    Args:
        spec: Where the features come from.
        positions: Where single tokens stand.
        features: float32 (N, F).
        targets: int64 (N,).
        label_vectors: float32 (L, F).
        heads: H.
        epochs: Passes over all shots.
        learning_rate: Of Adam.
        seed: Decides the start.
        progress: Called with epochs done and their number.

    Raises:
        TrainingError: The loss is not finite.
    """
    head = PaperHead.start(spec, positions, label_vectors, heads, seed)
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate)
    rows = torch.arange(len(targets), device=targets.device)
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss = -head.probs(features)[rows, targets].clamp_min(1e-12).log().mean()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"training: loss is {float(loss.detach())} at epoch {epoch} with learning rate {learning_rate}. Lower the learning rate."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if progress is not None:
            progress(epoch + 1, epochs)
    return head.requires_grad_(False)
