"""Quantizes a float graph: int8 weights, int8 activations with constant scales, and int8 embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.calibrate import Activations
from crosstune_export.builder.passes import (
    centre_states,
    product_quantize_embeddings,
    quantize_embeddings,
    quantize_products,
    split_overflow_units,
)


@dataclass(frozen=True)
class QuantizePlan:
    """How to quantize.

    Attributes:
        split_units: Split overflowing Gelu units, see ``split_overflow_units``.
        compensate: Round weights so that their errors cancel, see ``rounding.round_compensated``.
        embedding_group: Numbers of the word embeddings that share a byte; None for one byte each.
    """

    split_units: bool = True
    compensate: bool = True
    embedding_group: int | None = None


def quantize_layers(
    model: ir.Model, activations: Activations, plan: QuantizePlan
) -> tuple[ir.Model, Mapping[str, int]]:
    """Quantize the matrix products of the encoder; embeddings and head stay float.

    Args:
        model: Float graph, with fused attention if the backbone allows it; not changed.
        activations: Inputs of its products, see ``calibrate.collect``.
        plan: How to quantize.

    Returns:
        A new model with the same inputs and outputs, and how often each pass was applied.
    """
    quantized = model.clone()
    samples: dict[str, npt.NDArray[np.float32]] = dict(activations)
    middles = centre_states.apply(quantized, samples)
    samples |= {name: samples[name] - middle for name, middle in middles.items()}
    bounds: dict[str, float] = {}
    if plan.split_units:
        bounds = split_overflow_units.apply(quantized, {name: array.max(0) for name, array in samples.items()})
        samples |= {name: split_overflow_units.split_activations(samples[name]) for name in bounds}
    products = quantize_products.apply(quantized, samples, bounds, compensate=plan.compensate)
    counts = {"centre_states": len(middles), "split_overflow_units": len(bounds)}
    return quantized, {**counts, "quantize_products": products}


def quantize_tables(model: ir.Model, plan: QuantizePlan) -> Mapping[str, int]:
    """Quantize the embedding tables in place, and return how often each pass was applied."""
    grouped = (
        {}
        if plan.embedding_group is None
        else {"product_quantize_embeddings": product_quantize_embeddings.apply(model, plan.embedding_group)}
    )
    return {**grouped, "quantize_embeddings": quantize_embeddings.apply(model)}
