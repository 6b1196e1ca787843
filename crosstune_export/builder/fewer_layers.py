"""Heads on fewer layers, for budgets that no graph with all layers keeps to."""

from __future__ import annotations

from collections.abc import Iterator

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.checkpoint import Checkpoint
from crosstune.training import train_on_fewer_layers


def held_out_accuracy(trained: Checkpoint) -> float | None:
    """Accuracy on held-out folds of the shots, in [0, 1]; None where there were none."""
    return trained.quality.cv_accuracy


def on_fewer_layers(trained: Checkpoint, backbone: FrozenBackbone) -> Iterator[Checkpoint]:
    """The same task with its head fitted anew on one layer less, then on two less, down to half of the layers.

    The shots are split into the same folds at every depth, so that accuracies can be compared. The paper's head reads the
    last layer only, and without shots nobody knows what a layer is worth: then there is nothing to yield.

    Args:
        trained: The head on all layers that it was trained for.
        backbone: Its backbone, on the CPU.
    """
    if trained.head.kind != "default" or held_out_accuracy(trained) is None:
        return
    all_layers = trained.head.spec.last_layer
    yield from train_on_fewer_layers(trained, backbone, range(all_layers - 1, (all_layers + 1) // 2 - 1, -1))
