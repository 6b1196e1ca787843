"""Computes once what does not depend on the input, weights of any size included."""

from __future__ import annotations

from onnxscript import ir, optimizer

_NO_LIMIT = 1 << 40


def apply(model: ir.Model) -> int:
    """Fold constants and drop what is left unused.

    Requires: nothing.
    Ensures: the same function; joined attention weights are initializers, which quantization needs.

    Args:
        model: Changed in place.

    Returns:
        Number of nodes gone.
    """
    before = len(model.graph)
    optimizer.fold_constants(model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)
    optimizer.remove_unused_nodes(model)
    return before - len(model.graph)
