"""Adds constants to a graph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir


def add_initializer(graph: ir.Graph, name: str, array: npt.NDArray[np.generic] | np.generic) -> ir.Value:
    """Add a constant to the initializers of a graph under a name that is not yet used, and return it."""
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(np.shape(array)), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.initializers[name] = value
    return value
