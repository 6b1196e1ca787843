"""Centres the range of each channel of normalized states on zero, so that 8 bits cover a narrower range."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.biases import Bias, bias_of_product

_NORMS = {"LayerNormalization": 2, "SkipLayerNormalization": 3}  # place of the bias among the inputs


def apply(model: ir.Model, activations: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    """Subtract the middle z of each channel's range from ``y = norm(x)``, and add to later biases what is then missing.

    ``y W + b = (y - z) W + (b + z W)``, and ``y + (p + b) = (y - z) + (p + b + z)``. This is the shift of Outlier Suppression+
    (Wei et al. 2023).

    Requires: each reader of y is a product with constant weights and a bias, or the sum with such a product.
    Ensures: the same function up to rounding. Other normalized states stay as they are.

    Args:
        model: Changed in place.
        activations: Samples (S, K) by the name of a product's input.

    Returns:
        z, float32 (K,), by the name of each centred state.
    """
    middles = {}
    for node in model.graph:
        state = node.outputs[0]
        beta = Bias.at(node, _NORMS[node.op_type]) if node.op_type in _NORMS else None
        if beta is None or state.name not in activations or state.is_graph_output():
            continue
        readers = [_reader(use.node, state) for use in state.uses()]
        samples = activations[state.name]
        middle = (samples.max(0) + samples.min(0)) / 2
        if any(reader is None for reader in readers):
            continue
        for reader in readers:
            if reader is not None:
                bias, weights = reader
                bias.add(model.graph, middle if weights is None else middle.astype(np.float64) @ weights)
        beta.add(model.graph, -middle)
        middles[state.name] = middle
    return middles


def _reader(node: ir.Node, state: ir.Value) -> tuple[Bias, npt.NDArray[np.float32] | None] | None:
    """Return the bias that can take up a shift of the state, and the weights by which it is to be multiplied; None if there is none."""
    if node.op_type in ("MatMul", "Attention"):
        weights, bias = node.inputs[1], bias_of_product(node)
        if node.inputs[0] is not state or bias is None or weights is None or not weights.is_initializer():
            return None
        return bias, weights.const_value.numpy()
    if node.op_type not in ("Add", "SkipLayerNormalization") or node.inputs[0] is node.inputs[1]:
        return None
    other = node.inputs[1] if node.inputs[0] is state else node.inputs[0]
    producer = None if other is None or len(other.uses()) != 1 or other.is_graph_output() else other.producer()
    if producer is None or producer.op_type != "Add":
        return None
    bias = Bias.at(producer, 1) or Bias.at(producer, 0)
    return None if bias is None else (bias, None)
