"""The variants of the graph that a build tries, and how each is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from onnxscript import ir

from crosstune_export.builder.calibrate import Activations
from crosstune_export.builder.passes import (
    centre_output,
    distance_bias,
    drop_positions,
    fold_constants,
    fuse_encoder,
    half_precision,
    join_biases,
    mean_by_product,
    padding_mask,
    share_constants,
    split_biased_attention,
    split_skip_layer_norm,
    tanh_gelu,
)
from crosstune_export.builder.quantize import QuantizePlan, quantize_layers, quantize_tables
from crosstune_export.bundle.facts import FAILED


@dataclass(frozen=True)
class Variant:
    """One way to build the graph.

    Attributes:
        name: Human-readable and unique.
        precision: ``fp32``, ``fp16`` or ``int8``.
        plan: How to quantize; None for a float graph.
        split_norms: Whether residual sums and layer normalization are separate nodes.
        tanh: Whether Gelu is computed by its tanh formula.
        half: Whether the encoder runs in float16.
    """

    name: str
    precision: str
    plan: QuantizePlan | None = None
    split_norms: bool = True
    tanh: bool = False
    half: bool = False

    @property
    def disabled_optimizers(self) -> tuple[str, ...]:
        """Optimizers of onnxruntime that would undo a rewrite of the graph."""
        return (split_skip_layer_norm.DISABLED_OPTIMIZER,) if self.split_norms else ()


FP32 = Variant("fp32", "fp32")
INT8 = Variant("int8", "int8", QuantizePlan())
#: For CUDA, which has fused kernels for normalization.
FP16 = Variant("fp16", "fp16", split_norms=False, half=True)
TANH = Variant("int8, tanh Gelu", "int8", QuantizePlan(), tanh=True)
#: Variants for a size budget, tried in order until one fits.
SMALLER = tuple(
    Variant(f"int8, embeddings in groups of {group}", "int8", QuantizePlan(embedding_group=group), tanh=True)
    for group in (2, 3, 4)
)
#: Variants of a search: fp32 and int8, and each of them with one change.
SEARCHED = (
    FP32,
    INT8,
    Variant("fp32, fused norms", "fp32", split_norms=False),
    TANH,
    Variant("int8, fused norms", "int8", QuantizePlan(), split_norms=False),
    Variant("int8, no split of overflowing units", "int8", QuantizePlan(split_units=False)),
    Variant("int8, nearest rounding", "int8", QuantizePlan(compensate=False)),
)


@dataclass
class VariantMaker:
    """Builds variants from one exported model; intermediate models that several variants share are built once.

    Attributes:
        exported: The float graph as exported, never changed.
        heads: Attention heads per layer of the backbone.
        hidden_size: Hidden size D of the backbone.
        max_length_tokens: Maximum tokens per text.
        activations: Records the activations of a graph, see ``calibrate.collect``.
    """

    exported: ir.Model
    heads: int
    hidden_size: int
    max_length_tokens: int
    activations: Callable[[ir.Model], Activations]
    _floats: dict[bool, tuple[ir.Model, dict[str, int]]] = field(default_factory=dict)
    _quantized: dict[tuple[bool, QuantizePlan], tuple[ir.Model, Mapping[str, int]]] = field(default_factory=dict)
    _samples: Activations | None = None

    def make(self, variant: Variant) -> tuple[ir.Model, Mapping[str, int]]:
        """Return the encoder of a variant, without the head, and how often each pass was applied."""
        base, counts = self._float(variant.split_norms)
        model, counts = base.clone(), dict(counts)
        if variant.plan is not None:
            model, int8_counts = self._int8(variant.split_norms, variant.plan)
            counts |= {**int8_counts, **quantize_tables(model, variant.plan)}
            samples = self._calibrated()
            name = str(model.graph.outputs[0].name)
            error = (self.activations(model)[name] - samples[name]).mean(0, dtype=np.float64)
            counts["share_constants"] = share_constants.apply(model)
            counts["centre_output"] = centre_output.apply(model, error.astype(np.float32))
        if variant.tanh:
            counts["tanh_gelu"] = tanh_gelu.apply(model)
        if variant.half:
            counts["half_precision"] = half_precision.apply(model)
        return model, counts

    def _int8(self, split_norms: bool, plan: QuantizePlan) -> tuple[ir.Model, Mapping[str, int]]:
        """Return a model with int8 products and float tables, which plans that differ only in the tables share."""
        key = split_norms, replace(plan, embedding_group=None)
        if key not in self._quantized:
            self._quantized[key] = quantize_layers(self._float(split_norms)[0], self._calibrated(), plan)
        model, counts = self._quantized[key]
        return model.clone(), counts

    def _calibrated(self) -> Activations:
        if self._samples is None:
            self._samples = self.activations(self._float(True)[0])
        return self._samples

    def _float(self, split_norms: bool) -> tuple[ir.Model, dict[str, int]]:
        if split_norms not in self._floats:
            passes: dict[str, Callable[[ir.Model], int]] = {
                "join_biases": join_biases.apply,
                "fuse_encoder": lambda model: fuse_encoder.apply(model, self.heads, self.hidden_size),
                "padding_mask": lambda model: padding_mask.apply(model, self.max_length_tokens),
                "distance_bias": lambda model: distance_bias.apply(model, self.max_length_tokens),
                "split_biased_attention": split_biased_attention.apply,
                **({"split_skip_layer_norm": split_skip_layer_norm.apply} if split_norms else {}),
                "fold_constants": fold_constants.apply,
                "drop_positions": lambda model: drop_positions.apply(model, self.max_length_tokens),
                "mean_by_product": mean_by_product.apply,
                "share_constants": share_constants.apply,
            }
            model, counts = self.exported.clone(), {}
            for name, apply in passes.items():
                model, counts[name] = try_pass(model, apply)
            self._floats[split_norms] = model, counts
        return self._floats[split_norms]


def try_pass(model: ir.Model, apply: Callable[[ir.Model], int]) -> tuple[ir.Model, int]:
    """Apply an optional pass to a copy of a model.

    Returns:
        The changed model and how often the pass was applied, or the model as it was and ``FAILED`` if the pass raised an error.
    """
    changed = model.clone()
    try:
        return changed, apply(changed)
    except Exception:  # passes run rules of other libraries, which raise errors of any kind
        return model, FAILED
