"""The teacher: what a classifier fitted on the real shots only thinks of other texts, and of shots it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.config import TrainConfig
from crosstune.core.labels import LabelSet
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.sampling import deal
from crosstune.features.cache import FeatureCache, default_cache_path
from crosstune.features.encoding import cached_features, cached_pools
from crosstune.training import token_layers, train_on

FOLDS = 4
#: Repeats of the folds: with few shots one division of them says little, with many it is enough and takes long.
REPEATS_OF_FEW, REPEATS_OF_MANY, MANY_SHOTS = 2, 1, 100

Probs = npt.NDArray[np.float32]
#: Fits on shots and answers texts: float32 (N, L).
Fit = Callable[[Sequence[Example], Sequence[Text]], Probs]


@dataclass(frozen=True)
class Folds:
    """The fold of each shot in each repeat, int64 (R, N)."""

    table: npt.NDArray[np.int64]

    @classmethod
    def deal(cls, shots: Sequence[Example], seed: int) -> Folds:
        """Deal the shots of each label out in turn, in an order that the seed decides.

        Example:
            >>> shots = [Example(f"text {i}", "ab"[i % 2]) for i in range(16)]
            >>> folds = Folds.deal(shots, 13)
            >>> folds.table.shape, [sorted(row.tolist()).count(0) for row in folds.table]
            ((2, 16), [4, 4])
        """
        repeats = REPEATS_OF_FEW if len(shots) <= MANY_SHOTS else REPEATS_OF_MANY
        names = [shot.label for shot in shots]
        return cls(np.stack([deal(names, FOLDS, seed + 104_729 * (repeat + 1)) for repeat in range(repeats)]))

    def held_out(
        self,
        shots: Sequence[Example],
        fits: Fit | Sequence[Fit],
        texts: Sequence[Text] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[Probs, Probs]:
        """Fit without each fold in turn.

        Args:
            shots: N shots.
            fits: Fits and answers; or one for each of the R · ``FOLDS`` fits, in the order of repeats and folds.
            texts: M other texts.
            progress: Called with fits done and their number.

        Returns:
            What each shot gets from fits that did not see it, float32 (R, N, L), and what the other texts get from each
            fit, float32 (R · ``FOLDS``, M, L).
        """
        splits = [(repeat, row == fold) for repeat, row in enumerate(self.table) for fold in range(FOLDS)]
        each = list(fits) if isinstance(fits, Sequence) else [fits] * len(splits)
        out: Probs | None = None
        others = []
        for done, ((repeat, outside), fit) in enumerate(zip(splits, each, strict=True), 1):
            inside = [shot for shot, its in zip(shots, outside, strict=True) if not its]
            asked = [shot.content for shot, its in zip(shots, outside, strict=True) if its]
            probs = fit(inside, [*asked, *texts])
            if out is None:
                out = np.zeros((len(self.table), len(shots), probs.shape[1]), np.float32)
            out[repeat, outside] = probs[: len(asked)]
            others.append(probs[len(asked) :])
            if progress is not None:
                progress(done, len(splits))
        assert out is not None
        return out, np.stack(others)


@dataclass(frozen=True)
class HeadFit:
    """Fits a head on cached features: the default teacher, and what the gate measures.

    Attributes:
        labels: L labels.
        config: Settings of the head.
        backbone: What encodes.
        cache_path: File of cached features; the user's own when None.
        generated: Texts that are added to the shots of every fit.
    """

    labels: LabelSet
    config: TrainConfig
    backbone: FrozenBackbone
    cache_path: Path | None = None
    generated: tuple[Example, ...] = ()

    def __call__(self, shots: Sequence[Example], texts: Sequence[Text]) -> Probs:
        """Fit on shots and answer texts: float32 (N, L)."""
        path = self.cache_path or default_cache_path()
        checkpoint = train_on(shots, self.generated, self.labels, self.config, self.backbone, cache_path=path)
        head = checkpoint.head
        with FeatureCache(path) as cache:
            layers = token_layers(self.config, self.backbone.layer_count)  # as in training: the shots are there already
            states = cache.states(self.backbone, texts, cached_pools(head.spec), layers, checkpoint.tokens)
        with torch.inference_mode():
            return head.probs(cached_features(states, head.spec, head.queries)).numpy()
