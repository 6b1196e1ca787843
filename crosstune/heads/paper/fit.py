"""Trains the paper's head: full-batch Adam on the cross-entropy of the averaged attention."""

from __future__ import annotations

import torch
from torch import Tensor

from crosstune.config import TrainConfig
from crosstune.core.errors import TrainingError
from crosstune.core.progress import StepProgress
from crosstune.core.training_facts import HeadFacts
from crosstune.features.encoding import EncodedTask, cached_features
from crosstune.heads.feature_plan import paper_specs
from crosstune.heads.paper.head import PaperHead
from crosstune.heads.shares import log_shares

#: Power of the shares in the loss. A share itself would explain the shots, but the head fits its own shots far more closely than fresh
#: texts, and the fewer a label has the more: on pool texts of six datasets balanced accuracy is 58.0, 60.3, 61.3 and 59.7% with powers of
#: 1, 2, 3 and 4; above 2, trec and emotion lose (docs/development/experiments.md, "Unbalanced shots").
SHARE_POWER = 2.0


def fit_paper(
    task: EncodedTask, config: TrainConfig, progress: StepProgress | None
) -> tuple[PaperHead, HeadFacts, Tensor]:
    """Fit the paper's head to all examples of a task, at least one; no probabilities are held out.

    Args:
        task: An encoded task.
        config: Settings.
        progress: Called with epochs done and their number.

    Raises:
        TrainingError: The loss is not finite.
    """
    backbone = task.backbone
    text_spec, description_spec = paper_specs(config, backbone.layer_count)
    features = cached_features(task.texts, text_spec).to(backbone.device)  # (N, F)
    counts = [len(label.descriptions) for label in task.labels]
    sentences = torch.split(cached_features(task.descriptions, description_spec).to(backbone.device), counts)
    label_vectors = torch.stack([rows.mean(0) for rows in sentences])  # (L, F)
    head = PaperHead.start(text_spec, backbone.pool_positions(task.layout), label_vectors, config.heads, config.seed)
    optimize(
        head,
        features,
        task.targets,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        progress=progress,
    )
    return head.requires_grad_(False), HeadFacts(), torch.zeros(0, len(task.labels))


def optimize(
    head: PaperHead,
    features: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    learning_rate: float,
    progress: StepProgress | None = None,
) -> None:
    """Minimise ``−log p[gold]``, ``p = (1/H) Σ_k a_k``, over the shots, by changing the head.

    Where the labels have unequally many shots, p is multiplied by their shares to the power of ``SHARE_POWER`` and brought to sum 1
    again (``heads.shares``).

    Args:
        head: Where to start.
        features: float32 (N, F).
        targets: int64 (N,).
        epochs: Passes over all shots.
        learning_rate: Of Adam.
        progress: Called with epochs done and their number.

    Raises:
        TrainingError: The loss is not finite.
    """
    optimizer = torch.optim.Adam(head.parameters(), lr=learning_rate)
    rows = torch.arange(len(targets), device=targets.device)
    shares = (SHARE_POWER * log_shares(targets, len(head.label_vectors))).exp()
    is_balanced = bool((shares == 1).all())
    for epoch in range(epochs):
        optimizer.zero_grad()
        probs = head.probs(features)
        if not is_balanced:
            probs = probs * shares / (probs @ shares).unsqueeze(1)
        loss = -probs[rows, targets].clamp_min(1e-12).log().mean()
        if not bool(torch.isfinite(loss)):
            raise TrainingError(
                f"training: loss is {float(loss.detach())} at epoch {epoch} with learning rate {learning_rate}. Lower the learning rate."
            )
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if progress is not None:
            progress(epoch + 1, epochs)
