"""Fuses attention, Gelu and layer normalization into onnxruntime's own operators, by the rules that know the graph."""

from __future__ import annotations

import logging

import onnx
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from onnxscript import ir
from onnxscript.rewriter.ort_fusions import optimize_for_ort


def apply(model: ir.Model, heads: int = 0, hidden_size: int = 0) -> int:
    """Fuse an encoder.

    onnxscript's rules know graphs as torch exports them now; onnxruntime's know those of torch's older exporter, which
    optimum uses. The second are tried where the first find no attention.

    Requires: a graph exported with eager attention or with scaled dot products written out; or one that is fused already.
    Ensures: the same function; ``Attention``, ``BiasGelu`` and ``SkipLayerNormalization`` of com.microsoft where they fit.

    Args:
        model: Changed in place.
        heads: Of each attention layer, for graphs whose shapes leave it open.
        hidden_size: With ``heads``.

    Returns:
        Number of fused attention layers; 0 means that no rules know this backbone.
    """
    original = ir.serde.serialize_model(model)
    optimize_for_ort(model)
    if not _attention(model):
        other = _by_onnxruntime(original, heads, hidden_size)
        if _attention(other):
            model.graph = other.graph
    for node in _attention(model):
        sizes = node.attributes.get("qkv_hidden_sizes")
        if sizes is not None and len(set(sizes.as_ints())) == 1:
            node.attributes.pop("qkv_hidden_sizes")  # equal sizes are the default, and QAttention knows no others
    return len(_attention(model))


def _attention(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Attention" and node.domain == "com.microsoft"]


def _by_onnxruntime(proto: onnx.ModelProto, heads: int, hidden_size: int) -> ir.Model:
    typed = ir.from_proto(
        onnx.shape_inference.infer_shapes(proto)
    )  # before the fusions, which lose types and keep names
    options = FusionOptions("bert")
    options.enable_embed_layer_norm = False  # its int8 form has one scale for the whole table
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
