"""Appends the label attention: text vectors meet the label keys and become probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir


def apply(model: ir.Model, keys: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> int:
    """Add ``probs = mean_h softmax_y(text_vector · keys_hᵀ + bias_h)``.

    Requires: the only output is ``text_vector`` (B, F).
    Ensures: outputs are ``probs`` (B, L) and ``text_vector``; initializers ``label_keys`` (H·L, F) and ``label_bias`` (H·L).

    Args:
        model: Changed in place.
        keys: float32 (H, L, F).
        bias: float32 (H, L).

    Returns:
        1.

    Raises:
        ValueError: The model has other outputs.
    """
    graph = model.graph
    if [value.name for value in graph.outputs] != ["text_vector"]:
        raise ValueError(f"outputs {[value.name for value in graph.outputs]}, expected text_vector")
    vector = graph.outputs[0]
    heads, labels, features = keys.shape
    label_keys = _initializer(graph, "label_keys", keys.reshape(heads * labels, features))
    label_bias = _initializer(graph, "label_bias", bias.reshape(heads * labels))
    gemm = ir.node("Gemm", [vector, label_keys, label_bias], attributes={"transB": 1}, name="label_scores")
    nodes = [gemm]
    if heads == 1:
        nodes.append(ir.node("Softmax", [gemm.outputs[0]], attributes={"axis": -1}, name="label_attention"))
    else:
        shape = _initializer(graph, "label_shape", np.array([0, heads, labels], np.int64))
        axes = _initializer(graph, "label_heads", np.array([1], np.int64))
        split = ir.node("Reshape", [gemm.outputs[0], shape], name="label_heads_split")
        soft = ir.node("Softmax", [split.outputs[0]], attributes={"axis": -1}, name="label_attention")
        nodes += [
            split,
            soft,
            ir.node("ReduceMean", [soft.outputs[0], axes], attributes={"keepdims": 0}, name="label_mean"),
        ]
    for index, node in enumerate(nodes):
        node.outputs[0].name = f"label_step_{index}"
        graph.append(node)
    probs = nodes[-1].outputs[0]
    probs.name = "probs"
    probs.dtype = ir.DataType.FLOAT
    batch = graph.inputs[0].shape[0] if graph.inputs[0].shape is not None else "batch"
    probs.shape = ir.Shape([batch, labels])
    graph.outputs.insert(0, probs)
    return 1


def _initializer(graph: ir.Graph, name: str, array: npt.NDArray[np.generic]) -> ir.Value:
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.initializers[name] = value
    return value
