"""The graphs that a build may ship: what each is made of, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from onnxscript import ir

from crosstune_export.builder.calibrate import Activations
from crosstune_export.builder.passes import (
    centre_output,
    drop_positions,
    fold_constants,
    fuse_encoder,
    half_precision,
    mean_by_product,
    padding_mask,
    split_skip_layer_norm,
    tanh_gelu,
)
from crosstune_export.builder.quantize import QuantizePlan, quantize_layers, quantize_tables


@dataclass(frozen=True)
class Candidate:
    """A way to build the graph.

    Attributes:
        name: For people; unique.
        precision: As the manifest names it.
        plan: How to quantize, None for a float graph.
        split_norms: Whether residual sums and layer normalization are separate nodes.
        tanh: Whether Gelu is computed by its tanh formula.
        half: Whether the encoder is in float16.
    """

    name: str
    precision: str
    plan: QuantizePlan | None = None
    split_norms: bool = True
    tanh: bool = False
    half: bool = False

    @property
    def disabled_optimizers(self) -> tuple[str, ...]:
        """What a runtime must not do to the graph."""
        return (split_skip_layer_norm.DISABLED_OPTIMIZER,) if self.split_norms else ()


FP32 = Candidate("fp32", "fp32")
INT8 = Candidate("int8", "int8", QuantizePlan())
#: For CUDA, which has fused kernels of its own for normalization.
FP16 = Candidate("fp16", "fp16", split_norms=False, half=True)
TANH = Candidate("int8, tanh Gelu", "int8", QuantizePlan(), tanh=True)
#: What a budget of megabytes adds, one after the other until one fits.
SMALLER = tuple(
    Candidate(f"int8, word table in codes of {group}", "int8", QuantizePlan(codes=group), tanh=True)
    for group in (2, 3, 4)
)
#: What a search tries: the two that are built without a search first, then each with one thing changed.
SEARCHED = (
    FP32,
    INT8,
    Candidate("fp32, fused norms", "fp32", split_norms=False),
    TANH,
    Candidate("int8, fused norms", "int8", QuantizePlan(), split_norms=False),
    Candidate("int8, no spare units", "int8", QuantizePlan(carry=False)),
    Candidate("int8, nearest rounding", "int8", QuantizePlan(compensate=False)),
)


@dataclass
class Workshop:
    """Makes candidates from one traced model; what several of them share is made once.

    Attributes:
        traced: As torch exported it, never changed.
        heads: Attention heads of the backbone.
        hidden_size: Of the backbone.
        max_length_tokens: The longest text.
        activations: Asked for what goes into a graph's products and comes out of it, see ``calibrate.collect``.
    """

    traced: ir.Model
    heads: int
    hidden_size: int
    max_length_tokens: int
    activations: Callable[[ir.Model], Activations]
    _floats: dict[bool, tuple[ir.Model, dict[str, int]]] = field(default_factory=dict)
    _quantized: dict[tuple[bool, QuantizePlan], tuple[ir.Model, Mapping[str, int]]] = field(default_factory=dict)
    _samples: Activations | None = None

    def make(self, candidate: Candidate) -> tuple[ir.Model, Mapping[str, int]]:
        """The encoder as the candidate wants it, without the head, and how often each pass fired."""
        base, counts = self._float(candidate.split_norms)
        model, counts = copy_model(base), dict(counts)
        if candidate.plan is not None:
            model, more = self._int8(candidate.split_norms, candidate.plan)
            counts |= {**more, **quantize_tables(model, candidate.plan)}
            samples = self._calibrated()
            name = str(model.graph.outputs[0].name)
            error = (self.activations(model)[name] - samples[name]).mean(0, dtype=np.float64)
            counts["centre_output"] = centre_output.apply(model, error.astype(np.float32))
        if candidate.tanh:
            counts["tanh_gelu"] = tanh_gelu.apply(model)
        if candidate.half:
            counts["half_precision"] = half_precision.apply(model)
        return model, counts

    def _int8(self, split_norms: bool, plan: QuantizePlan) -> tuple[ir.Model, Mapping[str, int]]:
        """Products in int8, tables still float; made once for all plans that differ in the tables alone."""
        key = split_norms, replace(plan, codes=None)
        if key not in self._quantized:
            self._quantized[key] = quantize_layers(self._float(split_norms)[0], self._calibrated(), plan)
        model, counts = self._quantized[key]
        return copy_model(model), counts

    def _calibrated(self) -> Activations:
        if self._samples is None:
            self._samples = self.activations(self._float(True)[0])
        return self._samples

    def _float(self, split_norms: bool) -> tuple[ir.Model, dict[str, int]]:
        if split_norms not in self._floats:
            model = copy_model(self.traced)
            counts = {"fuse_encoder": fuse_encoder.apply(model, self.heads, self.hidden_size)}
            counts["padding_mask"] = padding_mask.apply(model)
            if split_norms:
                counts["split_skip_layer_norm"] = split_skip_layer_norm.apply(model)
            counts["fold_constants"] = fold_constants.apply(model)
            counts["drop_positions"] = drop_positions.apply(model, self.max_length_tokens)
            counts["mean_by_product"] = mean_by_product.apply(model)
            self._floats[split_norms] = model, counts
        return self._floats[split_norms]


def copy_model(model: ir.Model) -> ir.Model:
    """A model of its own with the same content."""
    return ir.serde.deserialize_model(ir.serde.serialize_model(model))
