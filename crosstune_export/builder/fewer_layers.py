"""Heads on fewer layers, for budgets that no graph with all layers keeps within."""

from __future__ import annotations

from collections.abc import Iterator

from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint
from crosstune.training import train_on_fewer_layers


def held_out_accuracy(trained: Checkpoint) -> float | None:
    """Accuracy on held-out folds of the shots, in [0, 1]; None where there were none."""
    return trained.quality.cv_accuracy


def on_fewer_layers(trained: Checkpoint, backbone: Backbone) -> Iterator[Checkpoint]:
    """Fit the head again on one layer less, then on two less, down to half of the layers.

    The shots are split into the same folds at every depth, so that accuracies can be compared. Yields nothing for the paper
    head, which uses the last layer only, without a cross-validated accuracy to compare with, and where a log, which the checkpoint
    does not have, chose what gets no label.

    Args:
        trained: The head on all layers that it was trained for.
        backbone: Its backbone, on the CPU.
    """
    if trained.head.kind != "default" or held_out_accuracy(trained) is None or trained.facts.head.log_texts:
        return
    all_layers = trained.head.spec.last_layer
    yield from train_on_fewer_layers(trained, backbone, range(all_layers - 1, (all_layers + 1) // 2 - 1, -1))
