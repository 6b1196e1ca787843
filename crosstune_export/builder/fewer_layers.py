"""Heads on fewer layers, for budgets that no graph with all layers keeps within."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint
from crosstune.core.token_layout import Text
from crosstune.training import LEAST_UNLABELED, texts_of_log, train_on_fewer_layers


def held_out_accuracy(trained: Checkpoint) -> float | None:
    """Accuracy on held-out folds of the shots, in [0, 1]; None where there were none."""
    return trained.quality.cv_accuracy


def on_fewer_layers(trained: Checkpoint, backbone: Backbone, log: Sequence[Text] = ()) -> Iterator[Checkpoint]:
    """Fit the head again on one layer less, then on two less, down to half of the layers.

    The shots are split into the same folds at every depth, so that accuracies can be compared. Yields nothing for the paper
    head, which uses the last layer only, without a cross-validated accuracy to compare with, and without a log where the checkpoint
    needed one that it does not have.

    Args:
        trained: The head on all layers that it was trained for.
        backbone: Its backbone, on the CPU.
        log: Texts that teach the heads the answers of ``trained``; not used if fewer than ``LEAST_UNLABELED`` of them are no examples.
    """
    facts = trained.facts.head
    log = texts_of_log(log, trained.examples)
    if len(log) < LEAST_UNLABELED:
        log = []
    if trained.head.kind != "default" or held_out_accuracy(trained) is None:
        return
    if not log and (facts.log_texts or facts.taught is not None):
        return
    all_layers = trained.head.spec.last_layer
    yield from train_on_fewer_layers(trained, backbone, range(all_layers - 1, (all_layers + 1) // 2 - 1, -1), log=log)
