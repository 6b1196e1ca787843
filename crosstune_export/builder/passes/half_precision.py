"""Converts the encoder to float16; features and labels stay in float32."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from crosstune.core.errors import GateError
from crosstune_export.builder.passes.initializers import add_initializer

_LARGEST = float(np.finfo(np.float16).max)
_NORMS = ("LayerNormalization", "SkipLayerNormalization")


def apply(model: ir.Model) -> int:
    """Convert the layer normalizations and everything they depend on to float16.

    Requires: all constants of the encoder are in the range of float16, up to 65504.
    Ensures: constants and values of the encoder are float16, and values that leave it are cast to float32, so that pooling,
    normalization to length 1, scores and softmax stay in float32.

    Args:
        model: Changed in place.

    Returns:
        Number of converted constants; 0 if there is no layer normalization.

    Raises:
        GateError: A constant of the encoder exceeds the range of float16.
    """
    graph = model.graph
    encoder = _ancestors([node for node in graph if node.op_type in _NORMS])
    if not encoder:
        return 0
    halves: dict[str, ir.Value] = {}
    for node in encoder:
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.dtype != ir.DataType.FLOAT:
                continue
            name = str(value.name)
            if name not in halves:
                array = value.const_value.numpy()
                if array.size and np.abs(array).max() > _LARGEST:
                    raise GateError(
                        f"precision: the backbone's {name} reaches {np.abs(array).max():.3g}, expected at most {_LARGEST:g} "
                        "for fp16. Build with --precision fp32."
                    )
                halves[name] = add_initializer(graph, f"{name}_half", array.astype(np.float16))
            node.replace_input_with(index, halves[name])
        if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
            node.attributes["to"] = ir.AttrInt64("to", ir.DataType.FLOAT16)
    inside = {id(node) for node in encoder}
    for node in encoder:
        for value in node.outputs:
            leaving = [use for use in value.uses() if id(use.node) not in inside]
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
            if not (leaving or value.is_graph_output()) or value.dtype != ir.DataType.FLOAT16:
                continue
            cast = ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT}, name=f"{value.name}_float")
            cast.outputs[0].name, cast.outputs[0].dtype = f"{value.name}_float", ir.DataType.FLOAT
            cast.outputs[0].shape = value.shape
            graph.insert_after(node, cast)
            if value.is_graph_output():
                at = next(index for index, output in enumerate(graph.outputs) if output is value)
                cast.outputs[0].name, value.name = value.name, cast.outputs[0].name
                graph.outputs[at] = cast.outputs[0]
            for use in leaving:
                use.node.replace_input_with(use.idx, cast.outputs[0])
    for name in halves:
        if not graph.initializers[name].uses():
            del graph.initializers[name]
    return len(halves)


def _ancestors(nodes: list[ir.Node]) -> list[ir.Node]:
    """Return the nodes and all nodes that they depend on, each once."""
    visited: dict[int, ir.Node] = {}
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if id(node) in visited:
            continue
        visited[id(node)] = node
        pending += [value.producer() for value in node.inputs if value is not None and value.producer() is not None]
    return list(visited.values())
