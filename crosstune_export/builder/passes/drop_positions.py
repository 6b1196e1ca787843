"""Drops the position vectors that no text is long enough to reach."""

from __future__ import annotations

import numpy as np
from onnxscript import ir


def apply(model: ir.Model, tokens: int) -> int:
    """Keep the first ``tokens`` rows of tables of positions.

    Requires: positions are the start of 0, 1, 2 ...: ``Gather(table, Slice(0 .. P - 1))`` with constants.
    Ensures: the same function for texts of at most ``tokens`` tokens; a longer one is an error of onnxruntime, never an answer.

    Args:
        model: Changed in place.
        tokens: The longest text, special tokens included.

    Returns:
        Number of tables cut.
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
    """Whether a value is cut out of 0, 1, 2 ... from the start."""
    cut = None if value is None else value.producer()
    if cut is None or cut.op_type != "Slice":
        return False
    whole, start = (ir.convenience.get_const_tensor(part) for part in cut.inputs[:2])
    if whole is None or start is None or start.numpy().any():
        return False
    numbers = whole.numpy().reshape(-1)
    return bool(np.array_equal(numbers, np.arange(len(numbers))))
