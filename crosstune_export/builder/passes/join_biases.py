"""Adds up the biases of attention before they are added to its scores."""

from __future__ import annotations

from onnxscript import ir


def apply(model: ir.Model) -> int:
    """Write ``softmax((scores + position bias) + mask)`` as ``softmax(scores + (position bias + mask))``.

    The rules that fuse attention know one bias. Layers that share their biases also share their sum.

    Ensures: the same function up to rounding.

    Args:
        model: Changed in place.

    Returns:
        Number of rewritten softmax nodes.
    """
    joined: dict[tuple[int, int], ir.Value] = {}
    done = 0
    for node in list(model.graph):
        outer = _sum_alone(node.inputs[0]) if node.op_type == "Softmax" else None
        inner = None if outer is None else _sum_alone(outer.inputs[0])
        if outer is None or inner is None:
            continue
        (scores, bias), mask = inner.inputs, outer.inputs[1]
        if scores is None or bias is None or mask is None:
            continue
        key = id(bias), id(mask)
        if key not in joined:
            both = ir.node("Add", [bias, mask], name=f"{inner.name}_biases")
            both.outputs[0].name, both.outputs[0].dtype = f"{inner.outputs[0].name}_biases", mask.dtype
            model.graph.insert_before(outer, both)
            joined[key] = both.outputs[0]
        outer.replace_input_with(0, scores)
        outer.replace_input_with(1, joined[key])
        model.graph.remove(inner, safe=True)
        done += 1
    return done


def _sum_alone(value: ir.Value | None) -> ir.Node | None:
    """Return the node that computes a value, if it is a sum that nothing else reads."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.op_type != "Add" or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return node
