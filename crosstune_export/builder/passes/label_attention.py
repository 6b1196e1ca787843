"""Appends the head: label queries attend to the tokens, and the text vector is compared with the label keys."""

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
    """The arrays of a head, all float32.

    Attributes:
        keys: Label keys (H, L, F).
        bias: Label biases (H, L).
        queries: Label queries (K, Q, D) of length 1 for K layers; None for a head without queries.
        scope_keys: Label vectors (L, S) to measure similarity against; None for a head without scope.
        scope_offsets: What a text of n tokens gets added to its similarity (M,), for n from 0 to M - 1; nothing if None or M is 0.
    """

    keys: Floats
    bias: Floats
    queries: Floats | None = None
    scope_keys: Floats | None = None
    scope_offsets: Floats | None = None


def apply(model: ir.Model, head: HeadArrays) -> int:
    """Append the attended features to the text vector, and ``probs = mean_h softmax_y(text_vector · keys_hᵀ + bias_h)``.

    Requires: the outputs ``text_vector`` (B, A·D) and, with queries, ``token_states_k`` (B, T, D) for each of K layers; the
    input ``attention_mask``.
    Ensures: the outputs ``probs`` (B, L), ``text_vector`` (B, F) and, with scope keys, ``scope`` (B,); the initializers
    ``label_keys`` (H·L, F), ``label_bias`` (H·L), ``label_queries_k`` (D, Q), ``scope_keys`` (S, L), ``scope_offsets`` (M,).

    Args:
        model: Changed in place.
        head: Arrays of the head.

    Returns:
        1.

    Raises:
        ValueError: The model has other outputs.
    """
    graph = model.graph
    layers = 0 if head.queries is None else len(head.queries)
    expected = ["text_vector", *(f"token_states_{index}" for index in range(layers))]
    if [value.name for value in graph.outputs] != expected:
        raise ValueError(f"outputs {[value.name for value in graph.outputs]}, expected {', '.join(expected)}")
    add = _Appender(graph)
    pooled, states = graph.outputs[0], list(graph.outputs[1:])
    batch = graph.inputs[0].shape[0] if graph.inputs[0].shape is not None else "batch"
    scope = None if head.scope_keys is None else _scope(add, pooled, head.scope_keys, head.scope_offsets)
    vector = pooled
    if head.queries is not None:
        pooled.name = "pooled_vector"
        vector = add("Concat", [pooled, *_attended(add, states, head.queries)], axis=1)
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
    """Appends nodes to a graph under unique names."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.count = graph, 0

    def __call__(self, operator: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        node = ir.node(operator, inputs, attributes=attributes, name=f"label_step_{self.count}")
        node.outputs[0].name = f"label_step_{self.count}_out"
        self.count += 1
        self.graph.append(node)
        return node.outputs[0]


def _attended(add: _Appender, states: list[ir.Value], queries: Floats) -> list[ir.Value]:
    """Append ``Σ_t softmax_t(SHARPNESS · cos(s_t, q)) · cos(s_t, q)``, (B, Q), for each layer."""
    graph = add.graph
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    last = add_initializer(graph, "label_last_axis", np.array([-1], np.int64))
    tokens = add_initializer(graph, "label_token_axis", np.array([1], np.int64))
    sharpness = add_initializer(graph, "label_sharpness", np.float32(SHARPNESS))
    tiny = add_initializer(graph, "label_tiny", np.float32(1e-12))
    one, far = (
        add_initializer(graph, f"label_{name}", np.float32(value)) for name, value in (("one", 1), ("far", 1e4))
    )
    is_token = add("Unsqueeze", [add("Cast", [mask], to=int(ir.DataType.FLOAT)), last])  # (B, T, 1)
    masked = add("Mul", [add("Sub", [is_token, one]), far])  # 0 for tokens, -10,000 for padding
    features = []
    for index, (state, layer_queries) in enumerate(zip(states, queries, strict=True)):
        weights = add_initializer(graph, f"label_queries_{index}", np.ascontiguousarray(layer_queries.T))
        length = add("Max", [add("ReduceL2", [state, last], keepdims=1), tiny])  # (B, T, 1)
        cosine = add("Div", [add("MatMul", [state, weights]), length])  # (B, T, Q)
        attention = add("Softmax", [add("Add", [add("Mul", [cosine, sharpness]), masked])], axis=1)
        features.append(add("ReduceSum", [add("Mul", [attention, cosine]), tokens], keepdims=0))
    return features


def _scope(add: _Appender, pooled: ir.Value, scope_keys: Floats, offsets: Floats | None) -> ir.Value:
    """Append the cosine similarity to the nearest label, (B,), computed from the first S features, plus that of its length."""
    graph = add.graph
    last = add_initializer(graph, "scope_axis", np.array([1], np.int64))
    if pooled.shape is None or pooled.shape[1] != scope_keys.shape[1]:
        start, end = (
            add_initializer(graph, f"scope_{name}", np.array([value], np.int64))
            for name, value in (("start", 0), ("end", scope_keys.shape[1]))
        )
        pooled = add("Slice", [pooled, start, end, last])
    keys = add_initializer(graph, "scope_keys", np.ascontiguousarray(scope_keys.T))
    cosine = add("ReduceMax", [add("MatMul", [pooled, keys]), last], keepdims=0)
    if offsets is None or not len(offsets):
        return cosine
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    tokens = add("ReduceSum", [mask, last], keepdims=0)  # (B,)
    return add("Add", [cosine, add("Gather", [add_initializer(graph, "scope_offsets", offsets), tokens], axis=0)])
