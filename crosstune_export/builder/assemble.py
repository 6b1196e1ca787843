"""Puts a backbone's graph and a head together, as the bytes of ``model.onnx``."""

from __future__ import annotations

import numpy as np
import onnx
from onnxscript import ir

from crosstune.heads.default.head import PriorHead
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder.exporters.runtime_target import RuntimeTarget
from crosstune_export.builder.passes import label_attention
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.manifest import GraphFacts


def with_labels(encoder: ir.Model, head: LabelAttentionHead) -> ir.Model:
    """Return a copy of an encoder with the label attention of a head appended."""
    classifier = encoder.clone()
    keys, bias = (array.numpy().astype(np.float32) for array in head.folded())
    queries = None if head.queries is None else head.queries.numpy()
    scope_keys, offsets = (
        (head.scope_keys.numpy(), head.scope_offsets.numpy()) if isinstance(head, PriorHead) else (None, None)
    )
    label_attention.apply(classifier, label_attention.HeadArrays(keys, bias, queries, scope_keys, offsets))
    return classifier


def graph_facts(
    encoder: ir.Model, head: LabelAttentionHead, variant: Variant, runtime: RuntimeTarget, hidden_size: int
) -> GraphFacts:
    """Return section ``graph`` of the manifest for an encoder with a head."""
    return GraphFacts(
        inputs=tuple(str(value.name) for value in encoder.graph.inputs),
        outputs=("probs", "text_vector", "scope") if isinstance(head, PriorHead) else ("probs", "text_vector"),
        precision=variant.precision,
        opset=runtime.opset,
        ir_version=runtime.ir_version,
        min_onnxruntime=runtime.min_onnxruntime,
        disabled_optimizers=variant.disabled_optimizers,
        text_vector_size=head.feature_count(hidden_size),
    )


def serialize(model: ir.Model) -> bytes:
    """Serialize a model with all constants in ``raw_data``, the only form that a bundle allows."""
    proto = ir.serde.serialize_model(model)
    attributes = (attribute for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t"))
    for tensor in (*proto.graph.initializer, *(attribute.t for attribute in attributes)):
        if not tensor.HasField("raw_data"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    return bytes(proto.SerializeToString(deterministic=True))
