"""Stores embedding tables as int8 with a scale a row."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from crosstune_export.build.passes.initializers import add_initializer


def apply(model: ir.Model) -> int:
    """Write ``Gather(table, ids)`` as ``Cast(Gather(int8, ids)) · Gather(scales, ids)``.

    Requires: nothing.
    Ensures: each entry is off by at most half its row's scale, which is the row's largest magnitude / 127. One scale for
    the whole table, as onnxruntime's own tool writes it, is several times coarser for most rows.

    Args:
        model: Changed in place.

    Returns:
        Number of tables.
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
        scale = np.maximum(np.abs(array).max(1, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        rows = add_initializer(graph, f"{table.name}_int8", np.clip(np.rint(array / scale), -127, 127).astype(np.int8))
        scales = add_initializer(graph, f"{table.name}_scale", scale)
        name = node.outputs[0].name
        picked = ir.node("Gather", [rows, ids], name=f"{name}_rows")
        weight = ir.node("Gather", [scales, ids], name=f"{name}_scales")
        cast = ir.node("Cast", [picked.outputs[0]], attributes={"to": ir.DataType.FLOAT}, name=f"{name}_cast")
        product = ir.node("Mul", [cast.outputs[0], weight.outputs[0]], name=f"{name}_embed")
        for added in (picked, weight, cast):
            added.outputs[0].name = f"{added.name}_out"
        product.outputs[0].dtype, product.outputs[0].shape = ir.DataType.FLOAT, node.outputs[0].shape
        graph.insert_before(node, [picked, weight, cast, product])
        node.outputs[0].replace_all_uses_with(product.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        product.outputs[0].name = name
        if not table.uses():
            del graph.initializers[table.name]
    return len(nodes)
