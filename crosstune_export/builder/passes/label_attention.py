"""Appends the head: label queries attend to the tokens, and the text meets the label keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune.features.attention import SHARPNESS
from crosstune_export.builder.passes.initializers import add_initializer

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class HeadArrays:
    """What a head is made of, all float32.

    Attributes:
        keys: (H, L, F).
        bias: (H, L).
        queries: (K, Q, D) of length 1, or None.
        scope_keys: (L, S), or None.
    """

    keys: Floats
    bias: Floats
    queries: Floats | None = None
    scope_keys: Floats | None = None


def apply(model: ir.Model, head: HeadArrays) -> int:
    """Add what the queries find to the text vector, ``probs = mean_h softmax_y(text_vector · keys_hᵀ + bias_h)``, and the scope.

    Requires: outputs are ``text_vector`` (B, A·D) and, where there are queries, ``token_states_k`` (B, T, D) for each of K
    layers; an input ``attention_mask``.
    Ensures: outputs are ``probs`` (B, L), ``text_vector`` (B, F) and, where there are scope keys, ``scope`` (B,); initializers
    ``label_keys`` (H·L, F), ``label_bias`` (H·L), ``label_queries_k`` (D, Q), ``scope_keys`` (S, L).

    Args:
        model: Changed in place.
        head: Its arrays.

    Returns:
        1.

    Raises:
        ValueError: The model has other outputs.
    """
    graph = model.graph
    layers = 0 if head.queries is None else len(head.queries)
    wanted = ["text_vector", *(f"token_states_{index}" for index in range(layers))]
    if [value.name for value in graph.outputs] != wanted:
        raise ValueError(f"outputs {[value.name for value in graph.outputs]}, expected {', '.join(wanted)}")
    add = _Appender(graph)
    pooled, states = graph.outputs[0], list(graph.outputs[1:])
    batch = graph.inputs[0].shape[0] if graph.inputs[0].shape is not None else "batch"
    scope = None if head.scope_keys is None else _scope(add, pooled, head.scope_keys)
    vector = pooled
    if head.queries is not None:
        pooled.name = "pooled_vector"
        vector = add("Concat", [pooled, *_found(add, states, head.queries)], axis=1)
        vector.name = "text_vector"
    heads, labels, features = head.keys.shape
    label_keys = add_initializer(graph, "label_keys", head.keys.reshape(heads * labels, features))
    label_bias = add_initializer(graph, "label_bias", head.bias.reshape(heads * labels))
    probs = add("Gemm", [vector, label_keys, label_bias], transB=1)
    if heads == 1:
        probs = add("Softmax", [probs], axis=-1)
    else:
        shape = add_initializer(graph, "label_shape", np.array([0, heads, labels], np.int64))
        axes = add_initializer(graph, "label_heads", np.array([1], np.int64))
        probs = add("ReduceMean", [add("Softmax", [add("Reshape", [probs, shape])], axis=-1), axes], keepdims=0)
    graph.outputs.clear()
    for name, value, shape_of in (
        ("probs", probs, [batch, labels]),
        ("text_vector", vector, [batch, features]),
        ("scope", scope, [batch]),
    ):
        if value is not None:
            value.name, value.dtype, value.shape = name, ir.DataType.FLOAT, ir.Shape(shape_of)
            graph.outputs.append(value)
    return 1


class _Appender:
    """Adds nodes at the end of a graph, each with a name of its own."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.count = graph, 0

    def __call__(self, operator: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        node = ir.node(operator, inputs, attributes=attributes, name=f"label_step_{self.count}")
        node.outputs[0].name = f"label_step_{self.count}_out"
        self.count += 1
        self.graph.append(node)
        return node.outputs[0]


def _found(add: _Appender, states: list[ir.Value], queries: Floats) -> list[ir.Value]:
    """``Σ_t softmax_t(SHARPNESS · cos(s_t, q)) · cos(s_t, q)`` for each layer, (B, Q)."""
    graph = add.graph
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    last = add_initializer(graph, "label_last_axis", np.array([-1], np.int64))
    tokens = add_initializer(graph, "label_token_axis", np.array([1], np.int64))
    sharpness = add_initializer(graph, "label_sharpness", np.float32(SHARPNESS))
    tiny = add_initializer(graph, "label_tiny", np.float32(1e-12))
    one, far = (
        add_initializer(graph, f"label_{name}", np.float32(value)) for name, value in (("one", 1), ("far", 1e4))
    )
    there = add("Unsqueeze", [add("Cast", [mask], to=int(ir.DataType.FLOAT)), last])  # (B, T, 1)
    hidden = add("Mul", [add("Sub", [there, one]), far])
    found = []
    for index, (state, asked) in enumerate(zip(states, queries, strict=True)):
        weights = add_initializer(graph, f"label_queries_{index}", np.ascontiguousarray(asked.T))
        length = add("Max", [add("ReduceL2", [state, last], keepdims=1), tiny])  # (B, T, 1)
        cosine = add("Div", [add("MatMul", [state, weights]), length])  # (B, T, Q)
        attention = add("Softmax", [add("Add", [add("Mul", [cosine, sharpness]), hidden])], axis=1)
        found.append(add("ReduceSum", [add("Mul", [attention, cosine]), tokens], keepdims=0))
    return found


def _scope(add: _Appender, pooled: ir.Value, scope_keys: Floats) -> ir.Value:
    """Cosine to the nearest of the labels, (B,), from the first S features."""
    graph = add.graph
    last = add_initializer(graph, "scope_axis", np.array([1], np.int64))
    if pooled.shape is None or pooled.shape[1] != scope_keys.shape[1]:
        start, end = (
            add_initializer(graph, f"scope_{name}", np.array([value], np.int64))
            for name, value in (("start", 0), ("end", scope_keys.shape[1]))
        )
        pooled = add("Slice", [pooled, start, end, last])
    keys = add_initializer(graph, "scope_keys", np.ascontiguousarray(scope_keys.T))
    return add("ReduceMax", [add("MatMul", [pooled, keys]), last], keepdims=0)
