"""Stores embedding tables as int8 with one scale per row and one per column."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer


def apply(model: ir.Model) -> int:
    """Write ``Gather(table, ids)`` as ``Cast(Gather(int8, ids)) · Gather(row scales, ids) · column scales``.

    Requires: nothing.
    Ensures: the error of each entry is at most half the product of its two scales. A column scale is the root mean square of the
    column, so that a few large columns do not cost the others precision; a row scale is the largest magnitude of the scaled
    row / 127. A single scale per table, as in onnxruntime's quantizer, is several times coarser for most rows.

    Args:
        model: Changed in place.

    Returns:
        Number of rewritten tables.
    """
    graph = model.graph
    nodes = [
        node
        for node in graph
        if node.op_type == "Gather"
        and node.inputs[0] is not None
        and node.inputs[0].is_initializer()
        and node.inputs[0].dtype == ir.DataType.FLOAT
        and node.inputs[0].shape is not None
        and len(node.inputs[0].shape) == 2
        and ("axis" not in node.attributes or node.attributes["axis"].as_int() == 0)
    ]
    for node in nodes:
        table, ids = node.inputs[0], node.inputs[1]
        array = table.const_value.numpy().astype(np.float32)
        column = np.maximum(np.sqrt(np.square(array, dtype=np.float64).mean(0)), 1e-12).astype(np.float32)
        array = array / column
        scale = np.maximum(np.abs(array).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        columns = add_initializer(graph, f"{table.name}_columns", column)
        rows = add_initializer(graph, f"{table.name}_int8", np.clip(np.rint(array / scale), -127, 127).astype(np.int8))
        scales = add_initializer(graph, f"{table.name}_scale", scale)
        name = node.outputs[0].name
        codes = ir.node("Gather", [rows, ids], name=f"{name}_rows")
        weight = ir.node("Gather", [scales, ids], name=f"{name}_scales")
        cast = ir.node("Cast", [codes.outputs[0]], attributes={"to": ir.DataType.FLOAT}, name=f"{name}_cast")
        scaled = ir.node("Mul", [cast.outputs[0], weight.outputs[0]], name=f"{name}_scaled")
        product = ir.node("Mul", [scaled.outputs[0], columns], name=f"{name}_embed")
        for added in (codes, weight, cast, scaled):
            added.outputs[0].name = f"{added.name}_out"
        product.outputs[0].dtype, product.outputs[0].shape = ir.DataType.FLOAT, node.outputs[0].shape
        graph.insert_before(node, [codes, weight, cast, scaled, product])
        node.outputs[0].replace_all_uses_with(product.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        product.outputs[0].name = name
        if not table.uses():
            del graph.initializers[table.name]
    return len(nodes)
