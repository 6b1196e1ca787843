"""Splits Gelu units with large activations over spare units, so that 8 bits cover a narrower range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.biases import only_user

#: Units per spare unit: 2% more work for a range that is three to six times narrower (docs/build.md); chosen by hand.
UNITS_PER_SPARE = 48
#: Factor by which activations may exceed the peaks of the calibration texts; chosen by hand.
MARGIN = 1.1
#: Maximum gain k of a spare unit; chosen by hand.
MAX_GAIN = 8.0


def apply(model: ir.Model, peaks: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, float]:
    """Add spare units for the part of an activation above a bound R.

    A few units of a trained encoder reach 25, while nearly all stay below 4. If all units are clipped at R, a unit with input x
    is the sum of its clipped value and n spare units ``Gelu(k (x - R) - j R) / k``, clipped too, for j = 0 .. n - 1, with the
    largest k that their n ranges allow. The error is at most 0.17 / k, near the bends of the spare units.

    Requires: ``MatMul → BiasGelu → MatMul`` with constant weights, and a later pass that clips the output of Gelu at R, as
    quantization with the range 0 .. R does.
    Ensures: after that pass, the same function up to the error above. R is as small as the number of spare units allows.

    Args:
        model: Changed in place.
        peaks: Largest activation of each unit, by the name of a Gelu's output.

    Returns:
        R by the name of each rewritten Gelu's output.
    """
    bounds = {}
    for node in model.graph:
        if node.op_type != "BiasGelu" or node.outputs[0].name not in peaks:
            continue
        before, after = node.inputs[0].producer(), only_user(node.outputs[0])
        if before is None or after is None or {before.op_type, after.op_type} != {"MatMul"}:
            continue
        first, bias, second = before.inputs[1], node.inputs[1], after.inputs[1]
        if not all(value.is_initializer() and len(value.uses()) == 1 for value in (first, bias, second)):
            continue
        name = str(node.outputs[0].name)
        spares = plan_spares(peaks[name])
        w_in, b_in, w_out = (_array(value) for value in (first, bias, second))
        unused = len(b_in) // UNITS_PER_SPARE - len(spares.units)
        spare_w_in = w_in[:, spares.units] * spares.gain
        spare_b_in = b_in[spares.units] * spares.gain - spares.offset
        spare_w_out = w_out[spares.units] / spares.gain[:, None]
        _replace(first, np.pad(np.concatenate([w_in, spare_w_in], 1), ((0, 0), (0, unused))))
        _replace(bias, np.pad(np.concatenate([b_in, spare_b_in]), (0, unused)))
        _replace(second, np.pad(np.concatenate([w_out, spare_w_out]), ((0, unused), (0, 0))))
        for value in (node.inputs[0], node.outputs[0]):
            value.shape = (
                None if value.shape is None else ir.Shape([*value.shape[:-1], len(b_in) + len(b_in) // UNITS_PER_SPARE])
            )
        bounds[name] = spares.bound
    return bounds


def split_activations(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the clipped activations (S, K + spare units) of the rewritten layer for original activations (S, K)."""
    spares = plan_spares(activations.max(0))
    over = np.clip(activations[:, spares.units] * spares.gain - spares.offset, 0, spares.bound)
    unused = activations.shape[1] // UNITS_PER_SPARE - len(spares.units)
    return np.pad(np.concatenate([np.minimum(activations, spares.bound), over], 1), ((0, 0), (0, unused)))


@dataclass(frozen=True)
class Spares:
    """The spare units of a layer.

    Attributes:
        bound: The bound R.
        units: int64 (n,), the original unit of each spare unit.
        gain: float32 (n,), the gain k.
        offset: float32 (n,); a spare unit is ``Gelu(gain · x - offset)``.
    """

    bound: float
    units: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]


def plan_spares(peaks: npt.NDArray[np.float32]) -> Spares:
    """Assign one spare unit per ``UNITS_PER_SPARE`` units to the units with the largest of these peaks (K,)."""
    peaks = peaks * MARGIN
    bound, copies = fit_bound(peaks, len(peaks) // UNITS_PER_SPARE)
    units = np.repeat(np.arange(len(copies)), copies)
    steps = np.concatenate([np.arange(count) for count in copies])
    gain = np.minimum(copies[units] * bound / np.maximum(peaks[units] - bound, 1e-6), MAX_GAIN)
    offset = (gain + steps) * bound
    return Spares(bound, units, gain.astype(np.float32), offset.astype(np.float32))


def fit_bound(peaks: npt.NDArray[np.float32], spare: int) -> tuple[float, npt.NDArray[np.int64]]:
    """Return the smallest bound R for which ``spare`` units suffice, and the number per unit (K,), ceil(peak / R) - 1."""
    top = max(float(peaks.max()), 1e-3)
    best = top, np.zeros(len(peaks), np.int64)
    for bound in np.geomspace(top, top / 64, 256):
        copies = np.maximum(np.ceil(peaks / bound) - 1, 0).astype(np.int64)
        if copies.sum() > spare:
            break
        best = float(bound), copies
    return best


def _array(value: ir.Value) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = value.const_value.numpy()
    return array


def _replace(value: ir.Value, array: npt.NDArray[np.float32]) -> None:
    tensor = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.const_value, value.shape = tensor, tensor.shape
