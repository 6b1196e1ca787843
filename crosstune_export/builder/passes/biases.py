"""Finds the constant vector that is added to a value of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer


@dataclass(frozen=True)
class Bias:
    """A constant vector among the inputs of a node.

    Attributes:
        node: The node.
        index: Place among its inputs.
    """

    node: ir.Node
    index: int

    @classmethod
    def at(cls, node: ir.Node, index: int) -> Bias | None:
        """Return the bias at a place; None if there is no constant vector."""
        value = node.inputs[index] if index < len(node.inputs) else None
        is_vector = value is not None and value.is_initializer() and value.const_value.numpy().ndim == 1
        return cls(node, index) if is_vector else None

    @property
    def value(self) -> ir.Value:
        """The vector."""
        return self.node.inputs[self.index]

    def add(self, graph: ir.Graph, array: npt.NDArray[np.floating]) -> None:
        """Add a vector to it; other nodes that read the same constant keep it as it was."""
        name = f"{self.node.outputs[0].name}_{self.index}_{len(graph.initializers)}"
        total = self.value.const_value.numpy() + array.astype(np.float64)
        self.node.replace_input_with(self.index, add_initializer(graph, name, total.astype(np.float32)))


def bias_of_product(node: ir.Node) -> Bias | None:
    """Return the bias that is added to a product, if nothing else uses the product."""
    if node.op_type == "Attention":
        return Bias.at(node, 2)
    user = only_user(node.outputs[0])
    if user is None or user.op_type not in ("Add", "BiasGelu"):
        return None
    return Bias.at(user, 1 if user.inputs[0] is node.outputs[0] else 0)


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the node that reads a value; None if there is none, if there are several, or if the graph returns the value."""
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
