"""The teacher: a classifier that is fitted to the real shots only, and judges other texts and held-out shots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from crosstune.config import TrainConfig
from crosstune.core.progress import StepProgress
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.sampling import assign_folds
from crosstune.features.encoding import EncodedTask, Rows
from crosstune.heads.default.resemblance import nearest_shots
from crosstune.heads.fit import fit_head

#: Folds of the shots. Chosen by hand; not ablated.
FOLDS = 4
#: Random divisions into folds: two for few shots, and one for more than ``MANY_SHOTS``, where a second one takes long and
#: changes little. The limit was chosen by hand; it is not ablated.
REPEATS_OF_FEW, REPEATS_OF_MANY, MANY_SHOTS = 2, 1, 100

Probs: TypeAlias = npt.NDArray[np.float32]
#: A custom teacher: is fitted to shots and gives class probabilities of N texts, float32 (N, L).
Fit: TypeAlias = Callable[[Sequence[Example], Sequence[Text]], Probs]
#: The same by rows of an encoded task: is fitted to the first rows and gives class probabilities of the N second ones.
RowFit: TypeAlias = Callable[[Rows, Rows], Probs]

NO_ROWS: Rows = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Folds:
    """The fold of each of N shots in each of R repeats, int64 (R, N)."""

    table: npt.NDArray[np.int64]

    @classmethod
    def assign(cls, shots: Sequence[Example], seed: int) -> Folds:
        """Stratified folds of the shots, in an order that the seed decides.

        Examples:
            >>> shots = [Example(f"text {i}", "ab"[i % 2]) for i in range(16)]
            >>> folds = Folds.assign(shots, 13)
            >>> folds.table.shape, [sorted(row.tolist()).count(0) for row in folds.table]
            ((2, 16), [4, 4])
        """
        repeats = REPEATS_OF_FEW if len(shots) <= MANY_SHOTS else REPEATS_OF_MANY
        names = [shot.label for shot in shots]
        return cls(np.stack([assign_folds(names, FOLDS, seed + 104_729 * (repeat + 1)) for repeat in range(repeats)]))

    def held_out(
        self,
        fit: RowFit,
        others: Rows = NO_ROWS,
        progress: StepProgress | None = None,
    ) -> tuple[Probs, Probs]:
        """Fit without each fold in turn. Row n is shot n.

        Args:
            fit: What is fitted.
            others: Rows of M other texts.
            progress: Called with fits done and their number.

        Returns:
            Probabilities of the shots by fits that did not see them, float32 (R, N, L), and of the other texts by each fit,
            float32 (R · ``FOLDS``, M, L).
        """
        splits = [(repeat, row == fold) for repeat, row in enumerate(self.table) for fold in range(FOLDS)]
        of_shots: Probs | None = None
        of_others = []
        for done, (repeat, is_held_out) in enumerate(splits, 1):
            held_out = np.flatnonzero(is_held_out)
            probs = fit(np.flatnonzero(~is_held_out), np.concatenate([held_out, others]))
            if of_shots is None:
                of_shots = np.zeros((*self.table.shape, probs.shape[1]), np.float32)
            of_shots[repeat, held_out] = probs[: len(held_out)]
            of_others.append(probs[len(held_out) :])
            if progress is not None:
                progress(done, len(splits))
        assert of_shots is not None
        return of_shots, np.stack(of_others)


def fit_by_rows(fit: Fit, examples: Sequence[Example]) -> RowFit:
    """A custom teacher as a fit by rows of the examples."""

    def by_rows(shots: Rows, rows: Rows) -> Probs:
        return fit([examples[row] for row in shots], [examples[row].content for row in rows])

    return by_rows


@dataclass(frozen=True)
class HeadFit:
    """Fits a head to rows of an encoded task: the default teacher, and what the gate measures.

    Attributes:
        task: The encoded task.
        config: Settings of the head.
    """

    task: EncodedTask
    config: TrainConfig

    def __call__(self, shots: Rows, rows: Rows) -> Probs:
        """Fit to shots and give class probabilities of N rows, float32 (N, L)."""
        return fit_head(self.task, shots, self.config).probs(self.task.texts.select(rows))

    def judge(
        self, generated: Rows, others: Rows = NO_ROWS, progress: StepProgress | None = None
    ) -> tuple[Probs, Probs]:
        """Fit to all shots and generated texts.

        Args:
            generated: Rows of generated texts to learn from.
            others: Rows of M other texts.
            progress: Called with steps done and their number.

        Returns:
            Probabilities of the N shots by fits that learned neither from the shot nor from generated texts that resemble it most,
            float32 (N, L), and of the other texts, float32 (M, L).
        """
        fitted = fit_head(self.task, np.concatenate([np.arange(self.task.shots), generated]), self.config, progress)
        probs = fitted.probs(self.task.texts.select(others))
        if len(fitted.held_out):
            return fitted.held_out, probs
        return self._held_out(generated), probs

    def _held_out(self, generated: Rows) -> Probs:
        """The same for a head that holds no shots out while it is fitted."""
        task = self.task
        features = torch.from_numpy(task.texts.pooled[:, :, -1].reshape(len(task.examples), -1))
        nearest = nearest_shots(features, task.targets.cpu(), task.shots).numpy()

        def fit(shots: Rows, rows: Rows) -> Probs:
            return self(np.concatenate([shots, generated[np.isin(nearest[generated - task.shots], shots)]]), rows)

        of_shots, _ = Folds.assign(task.examples[: task.shots], self.config.seed).held_out(fit)
        return np.asarray(of_shots.mean(0))
