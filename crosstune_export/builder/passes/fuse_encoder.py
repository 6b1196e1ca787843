"""Fuses attention, Gelu and layer normalization into operators of onnxruntime."""

from __future__ import annotations

import contextlib
import logging

import onnx
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from onnxscript import ir
from onnxscript.rewriter.ort_fusions import optimize_for_ort

#: What ``Attention`` adds to the scores of padding, unless it has another value.
_MASK_FILTER_VALUE = -10_000.0


def apply(model: ir.Model, heads: int = 0, hidden_size: int = 0) -> int:
    """Fuse an encoder.

    The rules of onnxscript match graphs of torch's current exporter. If they find no attention, the rules of onnxruntime are
    tried, which match graphs of torch's older exporter, as used by optimum.

    Requires: a graph with attention as separate products and softmax, or a fused one.
    Ensures: the same function, with ``Attention`` or ``MultiHeadAttention``, ``BiasGelu`` and ``SkipLayerNormalization`` of
    com.microsoft where possible. ``MultiHeadAttention`` leaves the projections outside, as rotary positions require.

    Args:
        model: Changed in place.
        heads: Attention heads per layer, for graphs whose shapes do not determine it; 0 to detect it.
        hidden_size: Hidden size; 0 to detect it.

    Returns:
        Number of fused attention layers; 0 means that no rules match this backbone.
    """
    original = ir.serde.serialize_model(model)
    optimize_for_ort(model)
    if not _attention(model):
        # These rules raise an error for some graphs, such as one of a normalization without bias. They are optional.
        with contextlib.suppress(Exception):
            fused = _fuse_by_onnxruntime(original, heads, hidden_size)
            if _attention(fused):
                model.graph = fused.graph
    fused_nodes = _attention(model)
    for node in fused_nodes:
        sizes = node.attributes.get("qkv_hidden_sizes")
        if sizes is not None and len(set(sizes.as_ints())) == 1:
            node.attributes.pop("qkv_hidden_sizes")  # equal sizes are the default, and QAttention supports no others
        filtered = node.attributes.get("mask_filter_value")
        if filtered is not None and filtered.as_float() <= _MASK_FILTER_VALUE:
            node.attributes.pop("mask_filter_value")  # padding has the weight 0 by the default, too
    return len(fused_nodes)


def _attention(model: ir.Model) -> list[ir.Node]:
    names = ("Attention", "MultiHeadAttention")
    return [node for node in model.graph if node.op_type in names and node.domain == "com.microsoft"]


def _fuse_by_onnxruntime(proto: onnx.ModelProto, heads: int, hidden_size: int) -> ir.Model:
    # Infer types before the fusions, which keep names and lose types.
    typed = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # quantize_embeddings needs the Gather nodes
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        fused = optimize_model(proto, "bert", heads, hidden_size, optimization_options=options, opt_level=0)
    finally:
        logging.disable(level)
    model: ir.Model = ir.from_proto(fused.model)
    known = {value.name: value for node in typed.graph for value in node.outputs}
    for node in model.graph:
        for value in node.outputs:
            if value.dtype is None and value.name in known:
                value.type, value.shape = known[value.name].type, known[value.name].shape
    return model
