"""Fits a head to some rows of an encoded task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from crosstune.config import TrainConfig
from crosstune.core.errors import TrainingError
from crosstune.core.progress import StepProgress
from crosstune.core.training_facts import HeadFacts
from crosstune.features.cache import TextStates
from crosstune.features.encoding import EncodedTask, Rows, cached_features
from crosstune.heads.default.fit import fit_default
from crosstune.heads.default.teaching import Teacher
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune.heads.paper.fit import fit_paper


@dataclass(frozen=True)
class FittedHead:
    """A head and what its fit reports.

    Attributes:
        head: The head, on the CPU.
        facts: Held-out accuracy and what was chosen.
        held_out: Probabilities of the shots by fits that did not learn from them, float32 (shots, L), 0 for labels without texts;
            of no rows where nothing was held out.
    """

    head: LabelAttentionHead
    facts: HeadFacts
    held_out: npt.NDArray[np.float32]

    def probs(self, texts: TextStates) -> npt.NDArray[np.float32]:
        """Class probabilities of N encoded texts, float32 (N, L)."""
        with torch.inference_mode():
            return np.asarray(self.head.probs(cached_features(texts, self.head.spec, self.head.queries)))


def fit_head(
    task: EncodedTask,
    rows: Rows,
    config: TrainConfig,
    progress: StepProgress | None = None,
    teacher: Teacher | None = None,
) -> FittedHead:
    """Fit a head; nothing is encoded.

    Args:
        task: An encoded task.
        rows: int64 (n,), the examples to learn from, shots before generated ones. Nothing is chosen by generated ones.
        config: Settings.
        progress: Called with steps done and their number.
        teacher: What the default head shall answer to the texts of a log; None without one.

    Raises:
        DataError: A threshold is to be chosen, and there are no shots to choose it by; or a description has no token.
        TrainingError: The head is not finite.
    """
    with _one_thread():
        head: LabelAttentionHead
        if config.head == "default":
            head, facts, held_out = fit_default(task.select(rows), config, progress, teacher)
        else:
            head, facts, held_out = fit_paper(task.select(rows), config, progress)
    for name, tensor in head.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"training: {name} is not finite. Look for absurd texts, or lower the learning rate.")
    return FittedHead(head.cpu(), facts, held_out.cpu().numpy())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread.

    The products are many and small. Threads gain little on an idle machine, wait for each other on a busy one, and change last bits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
