"""Passes the padding mask to fused attention instead of a bias computed from it."""

from __future__ import annotations

from onnxscript import ir

_BIAS, _MASK = 5, 3  # inputs of com.microsoft.Attention


def apply(model: ir.Model) -> int:
    """Replace ``attention_bias`` by ``mask_index`` (int32, (B, T)).

    Requires: the attention bias of com.microsoft.Attention is computed from ``attention_mask`` alone: 0 for tokens and very
    negative for padding. The pass checks the dependency; the values are checked by parity on padded batches.
    Ensures: the same function without the nodes that computed the bias, in a form that int8 attention supports.

    Args:
        model: Changed in place.

    Returns:
        Number of rewritten attention nodes.
    """
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs}
    nodes = [
        node
        for node in graph
        if node.op_type == "Attention" and len(node.inputs) > _BIAS and node.inputs[_BIAS] is not None
    ]
    nodes = [
        node for node in nodes if _sources(node.inputs[_BIAS]) == {"attention_mask"} and node.inputs[_MASK] is None
    ]
    if not nodes:
        return 0
    cast = ir.node("Cast", [inputs["attention_mask"]], attributes={"to": ir.DataType.INT32}, name="padding_mask")
    cast.outputs[0].name = "padding_mask"
    graph.insert_before(graph[0], cast)
    for node in nodes:
        node.replace_input_with(_MASK, cast.outputs[0])
        node.replace_input_with(_BIAS, None)
        node.resize_inputs(_BIAS)
    _drop_unused(graph)
    return len(nodes)


def _sources(value: ir.Value | None) -> set[str]:
    """Return the names of the graph inputs on whose contents (not only shapes) a value depends."""
    names: set[str] = set()
    pending = [value]
    visited: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in visited:
            continue
        visited.add(id(current))
        producer = current.producer()
        if producer is None:
            if current.is_graph_input() and current.name is not None:
                names.add(current.name)
        elif producer.op_type != "Shape":
            pending.extend(producer.inputs)
    return names


def _drop_unused(graph: ir.Graph) -> None:
    outputs = {id(value) for value in graph.outputs}
    for node in reversed(list(graph)):
        if all(not value.uses() and id(value) not in outputs for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
