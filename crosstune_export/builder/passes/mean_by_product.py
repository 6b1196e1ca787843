"""Computes masked means over tokens as a matrix product instead of a product and a sum."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer


def apply(model: ir.Model) -> int:
    """Write ``ReduceSum(x · mask, tokens)`` as ``mask · x``, for x (B, T, N, D) and a mask (B, T, 1, 1).

    Requires: N and D are known; the mask is a (B, T) tensor after two Unsqueeze.
    Ensures: the same sums, added in another order, without an intermediate value of the size of x.

    Args:
        model: Changed in place.

    Returns:
        Number of rewritten sums.
    """
    graph = model.graph
    done = 0
    for node in list(graph):
        product = node.inputs[0].producer() if node.op_type == "ReduceSum" and node.inputs[0] is not None else None
        if product is None or product.op_type != "Mul" or not _over_tokens(node):
            continue
        states, mask = product.inputs[0], _mask(product.inputs[1])
        shape = None if states is None else states.shape
        if mask is None or shape is None or len(shape) != 4 or not all(isinstance(shape[i], int) for i in (2, 3)):
            continue
        name = str(node.outputs[0].name)
        layers, size = int(shape[2]), int(shape[3])
        row = add_initializer(graph, f"{name}_axis", np.array([1], np.int64))
        flat = add_initializer(graph, f"{name}_flat", np.array([0, 0, layers * size], np.int64))
        back = add_initializer(graph, f"{name}_back", np.array([0, layers, size], np.int64))
        weights = ir.node("Unsqueeze", [mask, row], name=f"{name}_weights")  # (B, 1, T)
        wide = ir.node("Reshape", [states, flat], name=f"{name}_wide")  # (B, T, N·D)
        total = ir.node("MatMul", [weights.outputs[0], wide.outputs[0]], name=f"{name}_total")  # (B, 1, N·D)
        split = ir.node("Reshape", [total.outputs[0], back], name=f"{name}_split")  # (B, N, D)
        for new in (weights, wide, total):
            new.outputs[0].name = str(new.name)
        split.outputs[0].dtype, split.outputs[0].shape = ir.DataType.FLOAT, node.outputs[0].shape
        graph.insert_before(node, [weights, wide, total, split])
        node.outputs[0].replace_all_uses_with(split.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        split.outputs[0].name = name
        if not product.outputs[0].uses():
            graph.remove(product, safe=True)
        done += 1
    return done


def _over_tokens(node: ir.Node) -> bool:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or axes.const_value is None or axes.const_value.numpy().tolist() != [1]:
        return False
    return "keepdims" in node.attributes and node.attributes["keepdims"].as_int() == 0


def _mask(value: ir.Value | None) -> ir.Value | None:
    """Return the (B, T) tensor before two Unsqueeze of the last axis; None if there is none."""
    for _ in range(2):
        producer = None if value is None else value.producer()
        if producer is None or producer.op_type != "Unsqueeze":
            return None
        axes = producer.inputs[1]
        if axes is None or axes.const_value is None or axes.const_value.numpy().reshape(-1).tolist() != [-1]:
            return None
        value = producer.inputs[0]
    return value
