"""Quantizes products with constant weights to int8, with constant scales of the activations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.calibrate import Activations
from crosstune_export.builder.passes.biases import bias_of_product
from crosstune_export.builder.passes.initializers import add_initializer
from crosstune_export.builder.passes.rounding import column_scales, round_compensated, round_nearest
from crosstune_export.builder.passes.smoothing import Step, best_step, channel_factors

#: Activations are smoothed, at the cost of a multiplication, if the largest channel exceeds this many times the median. By hand.
SMOOTH_ABOVE = 3.0


@dataclass(frozen=True)
class _Product:
    """A product to be rewritten: weights (K, N), samples of its input (S, K), and smoothing factors (K,) or None."""

    node: ir.Node
    weights: npt.NDArray[np.float64]
    samples: npt.NDArray[np.float64]
    smooth: npt.NDArray[np.float64] | None


def apply(
    model: ir.Model,
    activations: Activations,
    bounds: Mapping[str, float],
    *,
    compensate: bool = True,
) -> int:
    """Write ``x · W + b`` as ``MatMulIntegerToFloat(quantize(x / s), W · s) + b`` and attention as ``QAttention``.

    Every scale is a constant, so that the result of a row depends only on the row. Weights have one scale per column. The mean
    error over the samples is subtracted from the bias.

    Requires: samples of the input of each product to rewrite.
    Ensures: the same function up to rounding, for inputs in the range of the samples (or up to ``bounds``); values beyond
    saturate. A bias after a product becomes part of it; ``BiasGelu`` becomes ``Gelu``.

    Args:
        model: Changed in place.
        activations: Samples by the name of a product's input; products without samples stay float.
        bounds: Upper end of the range by the name of an input; the others use the range of their samples.
        compensate: Round weights so that their errors cancel on the samples, instead of each to the nearest step.

    Returns:
        Number of rewritten products.
    """
    graph = model.graph
    samples = _of_shared_weights(graph, activations)
    done = 0
    for node in list(graph):
        product = _product(node, samples, bounds)
        if product is None:
            continue
        _rewrite(graph, product, bounds.get(str(node.inputs[0].name)), compensate)
        done += 1
    _drop_unused_initializers(graph)
    return done


def _of_shared_weights(graph: ir.Graph, activations: Activations) -> Activations:
    """Return the samples with those of layers that share their weights put together, so that these get the same int8 weights."""
    sources: dict[str, dict[str, None]] = {}
    for node in graph:
        if node.op_type in ("MatMul", "Attention") and len(node.inputs) > 1:
            source, weights = node.inputs[0], node.inputs[1]
            if source is not None and weights is not None and weights.is_initializer() and source.name in activations:
                sources.setdefault(str(weights.name), {})[str(source.name)] = None
    samples = dict(activations)
    for names in sources.values():
        if len(names) > 1:
            together = np.concatenate([activations[name][:: len(names)] for name in names])
            samples |= dict.fromkeys(names, together)
    return samples


def _product(node: ir.Node, activations: Activations, bounds: Mapping[str, float]) -> _Product | None:
    if node.op_type not in ("MatMul", "Attention") or len(node.inputs) < 2:
        return None
    source, weights = node.inputs[0], node.inputs[1]
    if source is None or weights is None or not weights.is_initializer() or source.name not in activations:
        return None
    if node.op_type == "Attention" and any(value is not None for value in node.inputs[4:]):
        return None  # QAttention takes no bias for pairs of tokens
    matrix = weights.const_value.numpy()
    if matrix.ndim != 2 or matrix.dtype != np.float32:
        return None
    samples = activations[str(source.name)].astype(np.float64)
    smooth = None
    peaks = np.abs(samples).max(0)
    if source.name not in bounds and peaks.max() > SMOOTH_ABOVE * np.median(peaks):
        smooth = channel_factors(samples, matrix.astype(np.float64))
    return _Product(node, matrix.astype(np.float64), samples, smooth)


def _rewrite(graph: ir.Graph, product: _Product, bound: float | None, compensate: bool) -> None:
    node, weights, samples = product.node, product.weights, product.samples
    source = node.inputs[0]
    name = str(node.outputs[0].name)
    before: list[ir.Node] = []
    exact = samples @ weights
    if product.smooth is not None:
        samples, weights = samples / product.smooth, weights * product.smooth[:, None]
        factors = add_initializer(graph, f"{name}_smooth", (1 / product.smooth).astype(np.float32))
        before.append(ir.node("Mul", [source, factors], name=f"{name}_smoothed"))
        source = before[-1].outputs[0]
        source.name = f"{name}_smoothed"
    step = best_step(samples, weights)[0] if bound is None else Step.of(min(float(samples.min()), 0.0), bound)
    quantized_samples = step.rounded(samples)
    scales = column_scales(weights)
    steps = round_compensated(weights, scales, quantized_samples) if compensate else round_nearest(weights, scales)
    error = (quantized_samples @ (steps * scales) - exact).mean(0)

    columns = len(scales)
    x_scale, x_zero = (
        add_initializer(graph, f"{name}_step", step.size),
        add_initializer(graph, f"{name}_zero", step.zero),
    )
    w_int8 = add_initializer(graph, f"{name}_int8", steps)
    w_scale = add_initializer(graph, f"{name}_scale", scales.astype(np.float32))
    w_zero = add_initializer(graph, f"{name}_weight_zero", np.zeros(columns, np.int8))
    quantized = ir.node("QuantizeLinear", [source, x_scale, x_zero], name=f"{name}_quantize")
    quantized.outputs[0].name = f"{name}_quantized"
    before.append(quantized)
    x_int8 = quantized.outputs[0]

    if node.op_type == "Attention":
        bias = _bias(graph, name, node.inputs[2], error)
        mask = node.inputs[3] if len(node.inputs) > 3 else None
        inputs = [x_int8, w_int8, bias, x_scale, w_scale, mask, x_zero, w_zero]
        attributes = {key: value for key, value in node.attributes.items() if key != "qkv_hidden_sizes"}
        new = ir.Node("com.microsoft", "QAttention", inputs, attributes.values(), name=f"{name}_product")
        _replace(graph, node, node.outputs[0], [*before, new], new.outputs[0])
        return
    added = bias_of_product(node)
    user = None if added is None else added.node
    bias = _bias(graph, name, None if added is None else added.value, error)
    inputs = [x_int8, w_int8, x_scale, w_scale, x_zero, w_zero, bias]
    new = ir.node("MatMulIntegerToFloat", inputs, domain="com.microsoft", name=f"{name}_product")
    if user is not None and user.op_type == "BiasGelu":
        gelu = ir.node("Gelu", [new.outputs[0]], domain="com.microsoft", name=f"{user.outputs[0].name}_gelu")
        new.outputs[0].name = f"{name}_product"
        _replace(graph, user, user.outputs[0], [*before, new, gelu], gelu.outputs[0])
    elif user is not None:
        _replace(graph, user, user.outputs[0], [*before, new], new.outputs[0])
    else:
        _replace(graph, node, node.outputs[0], [*before, new], new.outputs[0])
        return
    graph.remove(node, safe=True)


def _bias(graph: ir.Graph, name: str, bias: ir.Value | None, error: npt.NDArray[np.float64]) -> ir.Value:
    start = 0.0 if bias is None else bias.const_value.numpy().astype(np.float64)
    return add_initializer(graph, f"{name}_bias", (start - error).astype(np.float32))


def _replace(graph: ir.Graph, node: ir.Node, old: ir.Value, new: list[ir.Node], result: ir.Value) -> None:
    result.dtype, result.shape = ir.DataType.FLOAT, old.shape
    graph.insert_before(node, new)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name = old.name
    graph.remove(node, safe=True)


def _drop_unused_initializers(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
