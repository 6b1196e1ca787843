"""Takes the projections out of attention that has a bias for each pair of tokens, so that int8 can quantize them."""

from __future__ import annotations

from onnxscript import ir

_MASK, _BIAS = 3, 5  # inputs of com.microsoft.Attention


def apply(model: ir.Model) -> int:
    """Write ``Attention`` with a bias as one product, its three parts, and ``MultiHeadAttention``.

    ``QAttention``, the int8 form of ``Attention``, takes no bias for pairs of tokens.

    Requires: query, key and value of the same size, and a bias but no mask.
    Ensures: the same function.

    Args:
        model: Changed in place.

    Returns:
        Number of rewritten attention nodes.
    """
    graph = model.graph
    done = 0
    for node in list(graph):
        if node.op_type != "Attention" or len(node.inputs) <= _BIAS or node.inputs[_BIAS] is None:
            continue
        states, weights, added = node.inputs[:3]
        if node.inputs[_MASK] is not None or "qkv_hidden_sizes" in node.attributes or added is None:
            continue
        result = node.outputs[0]
        name = str(result.name)
        product = ir.node("MatMul", [states, weights], name=f"{name}_projections")
        biased = ir.node("Add", [product.outputs[0], added], name=f"{name}_projected")
        parts = ir.node(
            "Split", biased.outputs, attributes={"axis": 2, "num_outputs": 3}, num_outputs=3, name=f"{name}_parts"
        )
        kept = {key: value for key, value in node.attributes.items() if key in ("num_heads", "scale")}
        fused = ir.Node(
            "com.microsoft",
            "MultiHeadAttention",
            [*parts.outputs, None, None, node.inputs[_BIAS]],
            kept.values(),
            name=f"{name}_heads",
        )
        for inner in (product, biased, parts):
            for index, value in enumerate(inner.outputs):
                value.name, value.dtype = f"{inner.name}_{index}", ir.DataType.FLOAT
        fused.outputs[0].dtype, fused.outputs[0].shape = result.dtype, result.shape
        graph.insert_before(node, [product, biased, parts, fused])
        result.replace_all_uses_with(fused.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        fused.outputs[0].name = name
        done += 1
    return done
