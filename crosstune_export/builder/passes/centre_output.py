"""Takes a constant error out of the features that a graph puts out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer


def apply(model: ir.Model, error: npt.NDArray[np.float32]) -> int:
    """Subtract a vector from ``text_vector``.

    Rounding moves features to one side on the whole, a little in each layer; labels near each other then flip in one
    direction. The mean error over some texts is a good estimate of it, and takes one subtraction.

    Requires: ``text_vector`` (B, F) is the first output.
    Ensures: the same output less ``error``.

    Args:
        model: Changed in place.
        error: float32 (F,).

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
