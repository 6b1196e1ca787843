"""Passes the padding mask to fused attention instead of a bias computed from it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.runtime.session import open_inner

_BIAS, _MASK = 5, 3  # inputs of com.microsoft.Attention


#: A bias of at most this hides a token: the number that onnxruntime adds for one hidden by ``mask_index``.
_HIDDEN = -10_000.0


def apply(model: ir.Model, max_length_tokens: int) -> int:
    """Replace ``attention_bias`` by ``mask_index`` (int32, (B, T)).

    Requires: the attention bias of com.microsoft.Attention is computed from ``attention_mask`` alone, and hides padding and
    nothing else. The bias of a sliding window depends on positions too: the pass computes each bias for a text of the maximum
    length, and leaves those that hide tokens.
    Ensures: the same function without the nodes that computed the bias, in a form that int8 attention supports.

    Args:
        model: Changed in place.
        max_length_tokens: Maximum tokens per text.

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
    nodes = [node for node in nodes if sources(node.inputs[_BIAS]) == {"attention_mask"} and node.inputs[_MASK] is None]
    plain = hide_padding_only(model, {str(node.inputs[_BIAS].name) for node in nodes}, max_length_tokens)
    nodes = [node for node in nodes if node.inputs[_BIAS].name in plain]
    if not nodes:
        return 0
    cast = ir.node("Cast", [inputs["attention_mask"]], attributes={"to": ir.DataType.INT32}, name="padding_mask")
    cast.outputs[0].name = "padding_mask"
    graph.insert_before(graph[0], cast)
    for node in nodes:
        node.replace_input_with(_MASK, cast.outputs[0])
        node.replace_input_with(_BIAS, None)
        node.resize_inputs(_BIAS)
    drop_unused(graph)
    return len(nodes)


def hide_padding_only(model: ir.Model, biases: set[str], length: int) -> set[str]:
    """Return the names of the biases that are 0 for every token and hide every padding, whichever token attends.

    Args:
        model: The graph; not changed.
        biases: Names of the biases, each (1, 1, 1 or T, T).
        length: T of the text to compute them for; its last third is padding.
    """
    tokens = length - length // 3
    mask = (np.arange(length) < tokens).astype(np.int64)[None]
    return {
        name
        for name, bias in evaluated(model, biases, mask).items()
        if not bias[..., :tokens, :tokens].any() and bool((bias[..., :tokens, tokens:] <= _HIDDEN).all())
    }


def evaluated(model: ir.Model, names: set[str], mask: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float32]]:
    """Compute values of a graph for one attention mask.

    Args:
        model: The graph; not changed.
        names: Names of float values that depend on the mask at most.
        mask: (1, T).
    """
    if not names:
        return {}
    watched = model.clone()
    outputs = [value for node in watched.graph for value in node.outputs if value.name in names]
    watched.graph.outputs.clear()
    watched.graph.outputs.extend(outputs)
    drop_unused(watched.graph)
    inputs = [value for value in watched.graph.inputs if value.uses()]
    watched.graph.inputs.clear()
    watched.graph.inputs.extend(inputs)
    for value in outputs:
        value.dtype = ir.DataType.FLOAT
    feeds = {str(value.name): np.zeros_like(mask) for value in inputs} | {"attention_mask": mask}
    session = open_inner(bytes(ir.serde.serialize_model(watched).SerializeToString()), "the bias of attention")
    found = [str(value.name) for value in outputs]
    return dict(zip(found, session.run(found, feeds), strict=True))


def sources(value: ir.Value | None) -> set[str]:
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


def drop_unused(graph: ir.Graph) -> None:
    """Remove nodes and constants that nothing reads."""
    outputs = {id(value) for value in graph.outputs}
    for node in reversed(list(graph)):
        if all(not value.uses() and id(value) not in outputs for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
