"""The codes of an embedding table."""

from __future__ import annotations

import numpy as np

from crosstune_export.builder.passes import product_quantize_embeddings
from crosstune_export.builder.passes.product_quantize_embeddings import encode


def error(rounds: int, monkeypatch) -> float:
    table = np.random.default_rng(5).normal(size=(3000, 4)).astype(np.float32)
    monkeypatch.setattr(product_quantize_embeddings, "ROUNDS", rounds)
    codes, book = encode(table, 2)
    found = np.concatenate([book[index][codes[:, index]] for index in range(2)], 1).astype(np.float32)
    return float(np.square(found - table).mean())


def test_moved_centres_are_nearer_than_those_that_were_drawn(monkeypatch):
    rounds = product_quantize_embeddings.ROUNDS
    assert error(rounds, monkeypatch) < 0.8 * error(0, monkeypatch)
