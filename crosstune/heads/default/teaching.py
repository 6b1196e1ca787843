"""Teaches a head on fewer layers to answer the texts of a log as the head on more layers does.

The student keeps its features and, in part, the keys that the shots gave it; a linear map on the features is fitted to the probabilities
of the teacher (distillation, Hinton et al. 2015). Shapes: N texts of the log, F features, r rank of them, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstune.core.training_facts import TaughtFacts
from crosstune.data.sampling import assign_folds
from crosstune.evaluation.metrics import rate_interval
from crosstune.features.cache import TextStates
from crosstune.features.encoding import cached_features
from crosstune.heads.default.head import PriorHead
from crosstune.heads.default.regression import fit_prior

Array = npt.NDArray[np.float64]

#: Folds of the texts, and largest rank of their features. Chosen by hand.
FOLDS, RANK = 5, 256
#: Factors of the student's own logits, and strengths of the penalty, from which held-out cross-entropy chooses. The lists were chosen on
#: the pools of nine datasets, of which no test text was seen.
SCALES, PENALTIES = (0.5, 1.0), (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)


@dataclass(frozen=True)
class Teacher:
    """A head on more layers, and its answers to the texts of a log.

    Attributes:
        states: States of the N texts, with all that the student reads.
        probs: Probabilities by the teacher, float32 (N, L).
        layers: Layers that it uses.
        threshold: Probability below which it gives no label, in [0, 1]; None if every text gets one.
    """

    states: TextStates
    probs: npt.NDArray[np.float32]
    layers: int
    threshold: float | None = None


@dataclass(frozen=True)
class Taught:
    """A student.

    Attributes:
        head: The head.
        facts: Labels that differ from the teacher's.
        threshold: Probability below which it gives no label, so that as many texts of the log get one as by the teacher; None for none.
    """

    head: PriorHead
    facts: TaughtFacts
    threshold: float | None


@dataclass(frozen=True)
class Imitation:
    """A linear map that imitates probabilities.

    Attributes:
        scale: Factor of the logits that it adds to.
        weights: float64 (r, L).
        bias: float64 (L,).
        held_out: Probabilities of each text by a map that did not learn from it, float64 (N, L).
    """

    scale: float
    weights: Array
    bias: Array
    held_out: Array


def teach(head: PriorHead, teacher: Teacher, seed: int) -> Taught:
    """Teach a head.

    With the features x (F) and the logits ``x · key + bias`` that the shots gave, the student has
    ``s · (x · key + bias) + (x − mean) · Δ + b``. Δ and b minimise the cross-entropy to the teacher's probabilities plus
    ``λ/2 · ‖Δ‖²``; s and λ are chosen on texts that the map has not learned from. Δ and b sum to 0 over the labels, and what a
    description alone is worth is multiplied by s too, so that labels that are added later compete as before.

    Args:
        head: The student, fitted to the shots. It is not changed.
        teacher: What it shall answer.
        seed: Assigns texts to folds.
    """
    features = cached_features(teacher.states, head.spec, head.queries).double().cpu()
    keys, bias = head.label_keys.double().cpu(), head.label_bias.double().cpu()
    own = features @ keys.t() + bias
    mean = features.mean(0)
    units = _units(features - mean, head.spec.size(head.label_queries.shape[2]), len(head.spec.atoms))
    left, scale, right = torch.linalg.svd((features - mean) * units, full_matrices=False)
    rank = min(RANK, int((scale > 1e-4 * scale[0]).sum()))
    labels = teacher.probs.argmax(1)
    folds = np.asarray(assign_folds(labels.tolist(), FOLDS, seed))
    probs = torch.from_numpy(teacher.probs).double()
    found = imitate(left[:, :rank] * scale[:rank], own, probs, folds, SCALES, PENALTIES)
    added = torch.from_numpy(found.weights).t() @ right[:rank] * units  # (L, F)
    tensors = {
        **head.state_dict(),
        "label_keys": (found.scale * keys + added).to(head.label_keys),
        "label_bias": (found.scale * bias + torch.from_numpy(found.bias) - added @ mean).to(head.label_bias),
        "prior_scale": found.scale * head.prior_scale,
    }
    changes = int((found.held_out.argmax(1) != labels).sum())
    low, high = rate_interval(changes, len(labels))
    facts = TaughtFacts(
        layers=teacher.layers,
        texts=len(labels),
        label_changes=changes,
        low=low,
        high=high,
        untaught_label_changes=int((own.argmax(1).numpy() != labels).sum()),
    )
    threshold = None
    if teacher.threshold is not None:
        threshold = same_share(probs.numpy().max(1), found.held_out.max(1), teacher.threshold)
    return Taught(PriorHead(head.spec, head.positions, tensors), facts, threshold)


def imitate(
    basis: Tensor,
    own: Tensor,
    probs: Tensor,
    folds: npt.NDArray[np.int64],
    scales: Sequence[float],
    penalties: Sequence[float],
) -> Imitation:
    """Fit a linear map to the probabilities of N texts.

    Args:
        basis: float64 (N, r), the texts in an orthogonal basis of their span.
        own: Logits that the map adds to, float64 (N, L).
        probs: float64 (N, L).
        folds: int64 (N,), from 0 to ``FOLDS`` − 1.
        scales: Factors of ``own`` to try.
        penalties: Strengths of the penalty to try, above 0.

    Returns:
        The map that is fitted to all texts with the factor and the penalty whose held-out cross-entropy is the least.
    """
    count, labels = probs.shape
    kept = torch.stack([torch.tensor(folds != fold) for fold in range(FOLDS)]).double()
    settings = [(scale, penalty) for scale in scales for penalty in penalties]
    weights = (kept / kept.sum(1, keepdim=True)).repeat(len(settings), 1)
    grid = torch.tensor(settings, dtype=torch.float64)  # (S, 2)

    def fit(text_weights: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        return fit_prior(basis, own, probs, text_weights, chosen[:, 0], chosen[:, 1], own.new_zeros(labels))

    theta, bias = fit(weights, grid.repeat_interleave(FOLDS, 0))
    number = torch.arange(len(settings)).unsqueeze(1) * FOLDS + torch.tensor(folds).unsqueeze(0)  # (S, N)
    logits = torch.stack(
        [
            scale * own + torch.einsum("nr,nrl->nl", basis, theta[each]) + bias[each]
            for scale, each in zip(grid[:, 0], number, strict=True)
        ]
    )
    best = int((-(logits.log_softmax(2) * probs).sum(2).mean(1)).argmin())
    theta, bias = fit(torch.full((1, count), 1 / count, dtype=torch.float64), grid[best : best + 1])
    return Imitation(settings[best][0], theta[0].numpy(), bias[0].numpy(), logits[best].softmax(1).numpy())


def same_share(before: Array, after: Array, threshold: float) -> float:
    """Return the threshold that as many values of ``after`` stay below as values of ``before`` below ``threshold``.

    Examples:
        >>> same_share(np.array([0.2, 0.6, 0.9]), np.array([0.5, 0.7, 0.8]), 0.4)
        0.7
    """
    below, ordered = int((before < threshold).sum()), np.sort(after)
    if below == 0:
        return float(min(threshold, ordered[0]))
    return float(ordered[below]) if below < len(ordered) else float(np.nextafter(ordered[-1], np.inf))


def _units(x: Tensor, pooled: int, atoms: int) -> Tensor:
    """Factors (F,) with which a text's ``pooled`` features have length 1, and centred features x (N, F) of the label queries their size."""
    units = torch.full_like(x[0], atoms**-0.5)
    if pooled < x.shape[1]:
        squares = x.square().sum(0)
        units[pooled:] *= (squares[:pooled].sum() / squares[pooled:].sum().clamp_min(1e-12)).sqrt()
    return units
