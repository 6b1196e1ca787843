"""Drops position embeddings beyond the maximum length."""

from __future__ import annotations

import numpy as np
from onnxscript import ir


def apply(model: ir.Model, tokens: int) -> int:
    """Keep the first ``tokens`` rows of position embeddings.

    Requires: positions are a prefix of 0, 1, 2 ...: ``Gather(table, Slice(0 .. P - 1))`` with constants.
    Ensures: the same function for texts of at most ``tokens`` tokens; onnxruntime fails on longer ones.

    Args:
        model: Changed in place.
        tokens: Maximum tokens per text, with special tokens.

    Returns:
        Number of truncated tables.
    """
    done = 0
    for node in model.graph:
        table = node.inputs[0] if node.op_type == "Gather" else None
        if table is None or not table.is_initializer() or table.dtype != ir.DataType.FLOAT or len(table.uses()) != 1:
            continue
        array = table.const_value.numpy()
        if array.ndim != 2 or len(array) <= tokens or not _counts_up(node.inputs[1]):
            continue
        tensor = ir.tensor(np.ascontiguousarray(array[:tokens]), name=table.name)
        table.const_value, table.shape = tensor, tensor.shape
        done += 1
    return done


def _counts_up(value: ir.Value | None) -> bool:
    """Whether a value is a prefix of 0, 1, 2 ..."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Slice":
        return False
    source, start = (ir.convenience.get_const_tensor(part) for part in node.inputs[:2])
    if source is None or start is None or start.numpy().any():
        return False
    numbers = source.numpy().reshape(-1)
    return bool(np.array_equal(numbers, np.arange(len(numbers))))
