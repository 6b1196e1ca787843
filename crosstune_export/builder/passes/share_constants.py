"""Stores matrices that several layers share once."""

from __future__ import annotations

import hashlib

from onnxscript import ir


def apply(model: ir.Model) -> int:
    """Let all uses of equal matrices read one of them.

    The layers of ALBERT share their weights; fusions and quantization write them once for each layer.

    Ensures: no two constants with two dimensions have the same type, shape and contents.

    Args:
        model: Changed in place.

    Returns:
        Number of removed matrices.
    """
    graph = model.graph
    kept: dict[tuple[object, ...], ir.Value] = {}
    removed = 0
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or len(tensor.shape) != 2:
            continue
        key = tensor.dtype, tuple(tensor.shape), hashlib.sha256(tensor.tobytes()).digest()
        first = kept.setdefault(key, value)
        if first is not value:
            value.replace_all_uses_with(first)
            del graph.initializers[name]
            removed += 1
    return removed
