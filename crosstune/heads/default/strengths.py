"""Fits one view of the default head: every strength of a grid on folds of the shots, then the likely ones on all texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from crosstune.data.sampling import assign_folds
from crosstune.heads.default.regression import STEPS, fit_prior
from crosstune.heads.shares import log_shares

#: Power of the held-out likelihood by which strengths are averaged: 0 weighs all alike, 1 takes shots as independent evidence.
#: Chosen by hand; not ablated.
LIKELIHOOD_POWER = 1.0
#: Before any shot is seen, log10 of the penalty is taken to be normal with this mean and width. Chosen by hand; not ablated.
PENALTY_BELIEF = (-1.5, 0.7)
#: Strengths with a smaller share of the average are not fitted again on all shots. Saves time; not ablated.
LEAST_SHARE = 1e-3
#: Multiplications that choosing the strengths of one view may take.
WORK_BUDGET = 6e10
#: Largest rank of the features of a view; beyond it only their principal directions are fitted. Bounds time; not ablated.
MAX_RANK = 256
#: Steps of a fit where even the quickest grid exceeds the budget, as with hundreds of labels. Chosen by hand: with two shots each,
#: 30 instead of 200 steps changed the accuracy by -1.0 points on 150 labels, and by +0.3 on 77.
FEWEST_STEPS = 30
#: With at least so many folds, all are fitted in one batch; with fewer, each to its own texts, which are far fewer than all. Saves time;
#: not ablated.
FOLDS_AT_ONCE = 5
#: Numbers in the features of a view above which a singular value decomposition takes seconds.
LARGE_MATRIX = 4_000_000


@dataclass(frozen=True)
class Grid:
    """Strengths to try, and how often and into how many folds the shots are split."""

    scales: tuple[float, ...]
    penalties: tuple[float, ...]
    folds: int
    repeats: int

    @property
    def settings(self) -> int:
        """How many fits a view takes."""
        return len(self.scales) * len(self.penalties) * self.folds * self.repeats


#: From thorough to quick; the first whose work fits the budget is used. Chosen by hand; not ablated.
GRIDS = (
    Grid((5, 20, 80), (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), folds=5, repeats=2),
    Grid((20, 60), (1e-4, 1e-3, 1e-2), folds=5, repeats=1),
    Grid((20, 60), (3e-6, 3e-5, 3e-4), folds=3, repeats=1),
    Grid((20,), (3e-6, 3e-5, 3e-4), folds=2, repeats=1),
)


def affordable_grid(shots: int, labels: int, hidden: int) -> tuple[Grid, int]:
    """The most thorough grid whose work on one view fits the budget, and how many steps each fit takes."""
    work = 4.0 * shots * min(shots, MAX_RANK, 3 * hidden) * labels  # of one step
    grid = next((grid for grid in GRIDS if grid.settings * work * STEPS <= WORK_BUDGET), GRIDS[-1])
    return grid, min(STEPS, max(FEWEST_STEPS, int(WORK_BUDGET / (grid.settings * work))))


@dataclass(frozen=True)
class Folds:
    """A grid and, for each repeat, the fold of each shot: int64 (repeats, shots)."""

    grid: Grid
    of_shot: Tensor


def fold_table(targets: Sequence[int], grid: Grid, seed: int) -> Folds:
    """Stratified folds of the shots, in an order that the seed decides."""
    repeats = [
        torch.from_numpy(assign_folds(targets, grid.folds, seed + 7919 * repeat)) for repeat in range(grid.repeats)
    ]
    return Folds(grid, torch.stack(repeats))


@dataclass(frozen=True)
class FoldedTask:
    """What every view of a task is fitted to.

    Attributes:
        targets: int64 (N,), of the texts, shots first: positions in ``present``.
        present: int64, the labels that have texts.
        folds: Of the shots.
        nearest: int64 (N − shots,), the shot with which each generated text is held out (``nearest_shots``).
        steps: Of each fit.
    """

    targets: Tensor
    present: Tensor
    folds: Folds
    nearest: Tensor
    steps: int = STEPS

    @property
    def log_shares(self) -> Tensor:
        """Of all texts: float32 (labels with texts,)."""
        return log_shares(self.targets, len(self.present))

    @property
    def log_shares_of_shots(self) -> Tensor:
        """Of the shots: float32 (labels with texts,)."""
        return log_shares(self.targets[: self.shots], len(self.present))

    @property
    def shots(self) -> int:
        """How many of the texts are shots."""
        return self.folds.of_shot.shape[1]

    @property
    def strengths(self) -> tuple[Tensor, Tensor]:
        """Scales and penalties of the grid, (G,) each."""
        pairs = [(scale, penalty) for scale in self.folds.grid.scales for penalty in self.folds.grid.penalties]
        scales, penalties = torch.tensor(pairs, device=self.targets.device).t()
        return scales, penalties

    def training_mask(self, repeat: int, fold: int) -> Tensor:
        """Which texts are not held out, bool (N,): generated ones are where the shot that they resemble most is."""
        of_shot = self.folds.of_shot[repeat].to(self.targets.device)
        return torch.cat([of_shot, of_shot[self.nearest]]) != fold


@dataclass(frozen=True)
class ViewFit:
    """One view, fitted.

    Attributes:
        keys: float32 (L, F_v).
        bias: float32 (L,), on centred features.
        held_out: float32 (shots, labels with texts).
        scale: Mean multiplier of the description's part.
        penalty: Geometric mean of the shrinkage towards the description.
    """

    keys: Tensor
    bias: Tensor
    held_out: Tensor
    scale: float
    penalty: float


@dataclass(frozen=True)
class Predicted:
    """Predictions of G strengths for shots that they were not fitted to.

    Attributes:
        held_out: Logits, float32 (G, shots, labels with texts), the mean over repeats.
        loss: float32 (G,), summed over shots.
    """

    held_out: Tensor
    loss: Tensor


@dataclass(frozen=True)
class ViewTexts:
    """The texts of a task as a view sees them.

    Attributes:
        basis: float32 (N, r), in an orthogonal basis of their span.
        back: float32 (r, F_v), leads back to features.
        prior: float32 (N, labels with texts), their similarity to the descriptions.
    """

    basis: Tensor
    back: Tensor
    prior: Tensor

    @classmethod
    def of(cls, x: Tensor, h: Tensor, task: FoldedTask) -> ViewTexts:
        """Of features x (N, F_v) of the texts and h (L, F_v) of the labels."""
        return cls(*_principal(x), x @ h[task.present].t())


def predict(texts: ViewTexts, task: FoldedTask) -> Predicted:
    """Predict held-out shots with every strength."""
    folds = range(task.folds.grid.folds)
    repeats = range(len(task.folds.of_shot))
    return gather(
        task, len(repeats), (part for repeat in repeats for part in held_out_logits(texts, task, repeat, folds))
    )


def gather(task: FoldedTask, repeats: int, parts: Iterable[tuple[Tensor, Tensor]]) -> Predicted:
    """Put the held-out logits of all folds together."""
    settings = task.folds.grid.settings // (task.folds.grid.folds * task.folds.grid.repeats)
    held_out = torch.zeros(settings, task.shots, len(task.present), device=task.targets.device)
    loss = held_out.new_zeros(settings)
    for out, logits in parts:
        held_out[:, out] += logits / repeats
        loss += _losses(logits + task.log_shares_of_shots, task.targets[out]).sum(1) / repeats
    return Predicted(held_out, loss)


def held_out_logits(
    texts: ViewTexts, task: FoldedTask, repeat: int, folds: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of some folds: its shots, and their logits (G, n, labels with texts) by fits to the other texts."""
    scales, penalties = task.strengths
    of_shot = task.folds.of_shot[repeat].to(texts.basis.device)
    together = [folds] if task.folds.grid.folds >= FOLDS_AT_ONCE else [[fold] for fold in folds]
    for some in together:
        weights = torch.stack([task.training_mask(repeat, fold) for fold in some]).to(texts.basis.dtype)
        weights = weights / weights[:, : task.shots].sum(1, keepdim=True)  # a generated text counts as much as a shot
        rows = weights.any(0)
        theta, bias = fit_prior(
            texts.basis[rows],
            texts.prior[rows],
            task.targets[rows],
            weights[:, rows].repeat(len(scales), 1),
            scales.repeat_interleave(len(some)),
            penalties.repeat_interleave(len(some)),
            task.log_shares,
            task.steps,
        )
        theta = theta.reshape(len(scales), len(some), texts.basis.shape[1], -1)
        bias = bias.reshape(len(scales), len(some), -1)
        for place, fold in enumerate(some):
            out = torch.nonzero(of_shot == fold).flatten()
            learned = texts.basis[out] @ theta[:, place] + bias[:, place].unsqueeze(1)
            yield out, scales.reshape(-1, 1, 1) * texts.prior[out] + learned


def _principal(x: Tensor) -> tuple[Tensor, Tensor]:
    """A basis (N, r) of the span of the texts, and the matrix (r, F_v) that leads back to features."""
    if x.numel() > LARGE_MATRIX:  # by the products of the texts, which are far fewer than the features
        squares, left = torch.linalg.eigh(x.double() @ x.double().t())
        size, left = squares.clamp_min(0).sqrt().flip(0), left.flip(1)
        keep = _rank(size)
        basis = (left[:, :keep] * size[:keep]).to(x)
        return basis, (left[:, :keep] / size[:keep]).to(x).t() @ x
    left, size, right = torch.linalg.svd(x, full_matrices=False)
    keep = _rank(size)
    return left[:, :keep] * size[:keep], right[:keep]


def _rank(size: Tensor) -> int:
    """How many singular values, in descending order, are kept."""
    return min(max(1, int((size > 1e-4 * size[0]).sum())), MAX_RANK)


def fit_view(texts: ViewTexts, h: Tensor, task: FoldedTask, predicted: Predicted) -> ViewFit:
    """Fit one view to all texts, shots first, and to features h (L, F_v) of the labels."""
    scales, penalties = task.strengths
    loss = predicted.loss
    middle, width = PENALTY_BELIEF
    belief = -((penalties.log10() - middle) / width).square() / 2
    share = (belief - (loss - loss.min()) * LIKELIHOOD_POWER).softmax(0)  # (G,), loss is a sum over shots
    used = torch.nonzero(share > LEAST_SHARE).flatten()
    share = share[used] / share[used].sum()

    even = h.new_full((len(used), len(texts.basis)), 1 / task.shots)
    theta, bias = fit_prior(
        texts.basis, texts.prior, task.targets, even, scales[used], penalties[used], task.log_shares, task.steps
    )
    scale = float((share * scales[used]).sum())
    keys = scale * h
    keys[task.present] += torch.einsum("g,grl->lr", share, theta) @ texts.back  # (labels with texts, F_v)
    label_bias = h.new_zeros(len(h))
    label_bias[task.present] = torch.einsum("g,gl->l", share, bias)
    return ViewFit(
        keys=keys,
        bias=label_bias,
        held_out=torch.einsum("g,gnl->nl", share, predicted.held_out[used]),
        scale=scale,
        penalty=float(torch.exp((share * penalties[used].log()).sum())),
    )


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each shot under each setting: logits (G, n, L) to (G, n)."""
    return -logits.log_softmax(-1).gather(2, targets.reshape(1, -1, 1).expand(len(logits), -1, 1)).squeeze(2)
