"""Shares of the labels among the shots and in use: how a head stays fair to labels with few shots.

A head is fitted to ``softmax(logits + log_shares)``: the shots explain their own shares, and the logits compare the labels as if
all were equally frequent (the logit adjustment of Menon et al., ICLR 2021). With equally many shots per label this changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from crosstune.core.labels import LabelSet


def log_shares(targets: Tensor, labels: int) -> Tensor:
    """Logarithm of the share of each label, times L: float32 (L,), all 0 where the labels have equally many texts.

    Examples:
        >>> log_shares(torch.tensor([0, 1, 1, 0]), 2).tolist()
        [0.0, 0.0]

    Args:
        targets: int64 (N,), class indices. A label without a text is taken to be as frequent as the mean of the others.
        labels: L.
    """
    counts = torch.bincount(targets, minlength=labels)
    seen = counts > 0
    return torch.where(seen, counts * int(seen.sum()) / max(1, len(targets)), 1.0).log()


def log_expected(expected: str | Mapping[str, float], labels: LabelSet, targets: Tensor) -> Tensor:
    """Logarithm of the share that each label is expected to have in use, times L: float32 (L,).

    Examples:
        >>> labels = LabelSet.from_mapping({"spam": "an unwanted message", "ham": "a message from a friend"})
        >>> log_expected({"spam": 1, "ham": 3}, labels, torch.tensor([0, 1])).exp().tolist()
        [0.5, 1.5]

    Args:
        expected: ``uniform``, ``shots`` (as among the shots), or a share for each label.
        labels: The L labels.
        targets: int64 (N,), class indices of the shots.
    """
    if expected == "uniform":
        return torch.zeros(len(labels), device=targets.device)
    if isinstance(expected, str):
        return log_shares(targets, len(labels))
    return _log_of(expected, labels, targets)


def log_chosen(of_log: str | Mapping[str, float], labels: LabelSet, targets: Tensor) -> Tensor:
    """How much more frequent each label is among the shots than in the log that they were chosen from: logarithms, float32 (L,).

    Shots that are chosen by their content have, given the text, the label shares of the log and not their own. So what a fit takes off
    for the shares of the shots has to be given back, and the shares of the log have to be taken off.

    Examples:
        >>> labels = LabelSet.from_mapping({"spam": "an unwanted message", "ham": "a message from a friend"})
        >>> [round(more, 2) for more in log_chosen({"spam": 1, "ham": 3}, labels, torch.tensor([0, 1])).exp().tolist()]
        [2.0, 0.67]

    Args:
        of_log: A share for each label; or a string, for shots that were chosen by their labels.
        labels: The L labels.
        targets: int64 (N,), class indices of the shots.
    """
    if isinstance(of_log, str):
        return torch.zeros(len(labels), device=targets.device)
    return log_shares(targets, len(labels)) - _log_of(of_log, labels, targets)


def _log_of(shares: Mapping[str, float], labels: LabelSet, targets: Tensor) -> Tensor:
    values = torch.tensor([shares[name] for name in labels.names], dtype=torch.float32, device=targets.device)
    return (values * len(labels) / values.sum()).log()


def shot_weights(targets: Tensor, log_shares_in_use: Tensor | None = None) -> Tensor:
    """How much each of N shots counts, so that their labels have the shares expected in use.

    Examples:
        >>> [round(weight, 2) for weight in shot_weights(torch.tensor([0, 1, 1, 1])).tolist()]
        [2.0, 0.67, 0.67, 0.67]

    Args:
        targets: int64 (N,), class indices.
        log_shares_in_use: float32 (L,), as by ``log_expected``; labels count alike when None.

    Returns:
        float32 (N,), of mean 1; all 1 where labels with equally many shots are to count alike.
    """
    _, local, counts = torch.unique(targets, return_inverse=True, return_counts=True)
    weights: Tensor = len(targets) / (len(counts) * counts[local]).to(torch.float32)
    if log_shares_in_use is None:
        return weights
    weights = weights * log_shares_in_use.exp()[targets]
    return weights / weights.mean()


def balanced_mean(features: Tensor, targets: Tensor) -> Tensor:
    """The mean of N texts in which every label counts alike: float32 (F,), from float32 (N, F) and int64 (N,)."""
    return (features * shot_weights(targets).unsqueeze(1)).mean(0)
