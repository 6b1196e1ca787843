"""Fuses attention, Gelu and layer normalization into onnxruntime's own operators, by onnxscript's rules."""

from __future__ import annotations

from onnxscript import ir
from onnxscript.rewriter.ort_fusions import optimize_for_ort


def apply(model: ir.Model) -> int:
    """Fuse an encoder.

    Requires: a graph as torch exports it with eager attention.
    Ensures: the same function; ``Attention``, ``BiasGelu`` and ``SkipLayerNormalization`` of com.microsoft where they fit.

    Args:
        model: Changed in place.

    Returns:
        Number of attention layers fused; 0 means that the rules do not know this backbone.
    """
    _, counts = optimize_for_ort(model)
    for node in model.graph:
        sizes = node.attributes.get("qkv_hidden_sizes") if node.op_type == "Attention" else None
        if sizes is not None and len(set(sizes.as_ints())) == 1:
            node.attributes.pop("qkv_hidden_sizes")  # equal sizes are the default, and QAttention knows no others
    return int(counts["attention"])
