"""Finds how the default head turns descriptions into label keys, so that a finished bundle can take further labels."""

from __future__ import annotations

import numpy as np

from crosstune.checkpoint import Checkpoint
from crosstune.head import PriorHead
from crosstune_export.label_bank import Floats, PriorMap
from crosstune_export.runtime.session import GraphSession
from crosstune_export.runtime.tokenization import Text, TextTokenizer


def prior_map(trained: Checkpoint, session: GraphSession, tokenizer: TextTokenizer) -> PriorMap | None:
    """The map of a checkpoint's head; None for heads that have no such map.

    The head keeps what each description contributed to its label's key, ``scale · (h - shift)`` with one scale an atom:
    two labels or more are enough to read scale and shift off. Texts were centred on the mean of the shots.

    Args:
        trained: The checkpoint.
        session: Of its float graph.
        tokenizer: Makes its batches.
    """
    head = trained.head
    if not isinstance(head, PriorHead):
        return None

    def vectors(texts: list[Text]) -> Floats:
        return np.stack([session.run(tokenizer.batch([row]).feeds())[1][0] for row in tokenizer.rows(texts)])

    def single(text: str) -> Text:
        return (text, "") if trained.text_pair else text

    described = np.stack([vectors([single(text) for text in label.descriptions]).mean(0) for label in trained.labels])
    keys = head.prior_keys.numpy()
    spread, moved = described - described.mean(0), keys - keys.mean(0)
    atoms = len(head.spec.atoms)
    products = (spread * moved).reshape(len(keys), atoms, -1).sum((0, 2))  # (A,)
    squares = (spread * spread).reshape(len(keys), atoms, -1).sum((0, 2))
    scale = np.repeat(products / np.maximum(squares, 1e-12), described.shape[1] // atoms)
    shift = np.where(scale != 0, described.mean(0) - keys.mean(0) / np.where(scale != 0, scale, 1), 0)
    centre = vectors([example.content for example in trained.examples]).mean(0) if trained.examples else shift
    return PriorMap(*(array.astype(np.float32) for array in (scale, shift, centre)))
