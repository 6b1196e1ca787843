"""Subtracts the mean quantization error from the text vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer


def apply(model: ir.Model, error: npt.NDArray[np.float32]) -> int:
    """Subtract a vector from ``text_vector``.

    Rounding errors of all layers add up to a bias of the features, which moves texts between similar labels in one direction.
    The mean error over the calibration texts estimates this bias.

    Requires: ``text_vector`` (B, F) is the first output.
    Ensures: the same output minus ``error``.

    Args:
        model: Changed in place.
        error: Mean error of the features, float32 (F,).

    Returns:
        1.
    """
    graph = model.graph
    old = graph.outputs[0]
    constant = add_initializer(graph, "text_vector_error", error)
    node = ir.node("Sub", [old, constant], name="text_vector_centred")
    new = node.outputs[0]
    new.dtype, new.shape = ir.DataType.FLOAT, old.shape
    graph.append(node)
    graph.outputs[0] = new
    new.name, old.name = old.name, "text_vector_raw"
    return 1
