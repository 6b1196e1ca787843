"""Gives fused attention the padding mask itself instead of a bias computed from it."""

from __future__ import annotations

from onnxscript import ir

_BIAS, _MASK = 5, 3  # inputs of com.microsoft.Attention


def apply(model: ir.Model) -> int:
    """Replace ``attention_bias`` by ``mask_index`` (int32, (B, T)).

    Requires: every attention bias of com.microsoft.Attention is made from ``attention_mask`` alone, 0 where there is a
    token and very negative where there is none. Checked as far as the graph shows it; parity on padded batches shows the rest.
    Ensures: the same function, without the nodes that only made the bias; int8 attention can read the mask.

    Args:
        model: Changed in place.

    Returns:
        Number of attention nodes changed.
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
    """Names of the graph inputs whose contents (not only shapes) a value is computed from."""
    found: set[str] = set()
    pending = [value]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        producer = current.producer()
        if producer is None:
            if current.is_graph_input() and current.name is not None:
                found.add(current.name)
        elif producer.op_type != "Shape":
            pending.extend(producer.inputs)
    return found


def _drop_unused(graph: ir.Graph) -> None:
    outputs = {id(value) for value in graph.outputs}
    for node in reversed(list(graph)):
        if all(not value.uses() and id(value) not in outputs for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
