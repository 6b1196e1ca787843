"""Looks up the biases of attention by the distance of two tokens, in place of the nodes that compute them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer
from crosstune_export.builder.passes.padding_mask import drop_unused, evaluated, hide_padding_only, sources

_BIAS, _MASK = 5, 3  # inputs of com.microsoft.Attention
#: Names of the table, and of the bias that is made from it.
TABLE, VALUE = "distance.bias", "distance_bias"
_LEAST = np.float32(np.finfo(np.float32).min)


def apply(model: ir.Model, max_length_tokens: int) -> int:
    """Write an attention bias as ``table[:, j - i + P - 1] + padding``, for a query at i, a token at j and texts of at most P tokens.

    Requires: the bias is a sum of two: one that depends on the number of tokens only, and one that hides padding. All attention nodes
    read the same sum. The pass computes the first for texts of P tokens and of about half as many, and changes nothing if it is no
    function of the distance.
    Ensures: the same function, for texts of at most P tokens, with the constant ``distance.bias``, float32 (H, 2P - 1). The padding
    term is ``(1 - attention_mask) * least float``, which fast kernels know.

    Args:
        model: Changed in place.
        max_length_tokens: P.

    Returns:
        Number of attention nodes with the new bias.
    """
    graph = model.graph
    nodes = [
        node
        for node in graph
        if node.op_type == "Attention" and len(node.inputs) > _BIAS and node.inputs[_BIAS] is not None
    ]
    biases = {id(node.inputs[_BIAS]): node.inputs[_BIAS] for node in nodes}
    if len(biases) != 1 or any(node.inputs[_MASK] is not None for node in nodes):
        return 0
    [bias] = biases.values()
    parts = _parts(bias)
    if parts is None:
        return 0
    by_place, hiding = parts
    table = _by_distance(model, str(by_place.name), max_length_tokens)
    if table is None or not hide_padding_only(model, {str(hiding.name)}, max_length_tokens):
        return 0
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    added = _nodes(graph, mask, table)
    graph.insert_before(graph[0], added)
    for node in nodes:
        node.replace_input_with(_BIAS, added[-1].outputs[0])
    drop_unused(graph)
    return len(nodes)


def _parts(bias: ir.Value | None) -> tuple[ir.Value, ir.Value] | None:
    """The term that depends on the number of tokens only, and the one that hides padding; None if the bias is no such sum."""
    node = None if bias is None else bias.producer()
    if node is None or node.op_type != "Add":
        return None
    for first, second in (node.inputs, node.inputs[::-1]):
        if first is not None and second is not None and not sources(first) and sources(second) == {"attention_mask"}:
            return first, second
    return None


def _by_distance(model: ir.Model, name: str, length: int) -> npt.NDArray[np.float32] | None:
    """The biases (H, 2 length - 1) of all distances, from the first token for the last query on; None if they depend on more."""
    table = None
    for tokens in (length, length // 2 + 1):
        bias = evaluated(model, {name}, np.ones((1, tokens), np.int64))[name]
        if bias.ndim != 4 or len(bias) != 1 or bias.shape[2:] != (tokens, tokens):
            return None
        found = np.concatenate([bias[0, :, :0:-1, 0], bias[0, :, 0]], 1)
        table = found if table is None else table
        middle = table[:, length - tokens : length + tokens - 1]
        distances = np.arange(tokens)[None] - np.arange(tokens)[:, None] + tokens - 1
        if not np.array_equal(middle[:, distances], bias[0]):
            return None
    return table


def _nodes(graph: ir.Graph, mask: ir.Value, table: npt.NDArray[np.float32]) -> list[ir.Node]:
    """The nodes that compute the bias; the last one returns it, float32 (B, H, T, T)."""
    nodes: list[ir.Node] = []

    def add(
        operator: str, name: str, *inputs: ir.Value, dtype: ir.DataType = ir.DataType.INT64, **attributes: int
    ) -> ir.Value:
        nodes.append(ir.node(operator, inputs, attributes=attributes, name=name))
        value = nodes[-1].outputs[0]
        value.name, value.dtype = name, dtype
        return value

    def constant(name: str, value: npt.NDArray[np.generic] | np.generic) -> ir.Value:
        return add_initializer(graph, f"distance.{name}", value)

    zero, one = constant("zero", np.int64(0)), constant("one", np.int64(1))
    first, both = constant("first_axis", np.array([0])), constant("head_axes", np.array([1, 2]))
    second = constant("second_axis", np.array([1]))
    tokens = add("Squeeze", "distance_tokens", add("Shape", "distance_shape", mask, start=1, end=2))
    places = add("Range", "distance_places", zero, tokens, one)
    rows = add("Unsqueeze", "distance_queries", places, second)
    distances = add("Sub", "distance_between", add("Unsqueeze", "distance_others", places, first), rows)
    at = add("Add", "distance_at", distances, constant("middle", np.int64(table.shape[1] // 2)))
    biases = add("Gather", "distance_biases", add_initializer(graph, TABLE, table), at, dtype=ir.DataType.FLOAT, axis=1)
    of_text = add("Unsqueeze", "distance_of_text", biases, first, dtype=ir.DataType.FLOAT)
    to = {"to": int(ir.DataType.FLOAT)}
    kept = add("Cast", "distance_kept", add("Unsqueeze", "distance_mask", mask, both), dtype=ir.DataType.FLOAT, **to)
    hidden = add("Sub", "distance_hidden", constant("float_one", np.float32(1)), kept, dtype=ir.DataType.FLOAT)
    least = add("Mul", "distance_padding", hidden, constant("least", _LEAST), dtype=ir.DataType.FLOAT)
    add("Add", VALUE, of_text, least, dtype=ir.DataType.FLOAT)
    return nodes
