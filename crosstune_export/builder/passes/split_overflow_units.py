"""Lets Gelu units overflow into spare units, so that 8 bits need not stretch to the largest activation there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxscript import ir

#: Units of a layer to one spare unit: two percent more work for a range three to six times narrower.
UNITS_TO_A_SPARE = 48
#: How far beyond the peaks seen the spare units still carry.
MARGIN = 1.1
#: Steepest a spare unit may be.
MOST_GAIN = 8.0


def apply(model: ir.Model, peaks: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, float]:
    """Give units whose peak is above a bound R further units that carry what is above R.

    A few units of a trained encoder reach 25 where nearly all stay below 4. With every unit cut off at R, a unit x and its n
    spares add up to it: the spares are ``Gelu(k (x - R) - j R) / k`` for j = 0 .. n - 1, with k as large as their n ranges
    allow. That is exact where the sum is well below or above a bend, and off by at most 0.17 / k beside one.

    Requires: ``MatMul → BiasGelu → MatMul`` with constant weights; a later pass that cuts the Gelu's output off at R, which
    quantization with the range 0 .. R does for nothing.
    Ensures: with that, the same function up to the above. The smallest R is taken that the spare units can serve.

    Args:
        model: Changed in place.
        peaks: By the name of a Gelu's output, the largest activation of each unit.

    Returns:
        R by the name of each Gelu's output.
    """
    bounds = {}
    for node in model.graph:
        if node.op_type != "BiasGelu" or node.outputs[0].name not in peaks:
            continue
        before, after = node.inputs[0].producer(), _only_user(node.outputs[0])
        if before is None or after is None or {before.op_type, after.op_type} != {"MatMul"}:
            continue
        first, bias, second = before.inputs[1], node.inputs[1], after.inputs[1]
        if not all(value.is_initializer() and len(value.uses()) == 1 for value in (first, bias, second)):
            continue
        name = str(node.outputs[0].name)
        spares = plan_spares(peaks[name])
        widen, lower, lengthen = (_array(value) for value in (first, bias, second))
        unused = len(lower) // UNITS_TO_A_SPARE - len(spares.units)
        more = widen[:, spares.units] * spares.gain, lower[spares.units] * spares.gain - spares.offset
        fewer = lengthen[spares.units] / spares.gain[:, None]
        _replace(first, np.pad(np.concatenate([widen, more[0]], 1), ((0, 0), (0, unused))))
        _replace(bias, np.pad(np.concatenate([lower, more[1]]), (0, unused)))
        _replace(second, np.pad(np.concatenate([lengthen, fewer]), ((0, unused), (0, 0))))
        for value in (node.inputs[0], node.outputs[0]):
            value.shape = (
                None
                if value.shape is None
                else ir.Shape([*value.shape[:-1], len(lower) + len(lower) // UNITS_TO_A_SPARE])
            )
        bounds[name] = spares.bound
    return bounds


def carried(activations: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The activations (S, K) that the widened layer will have, cut off at the bound: (S, K + spare)."""
    spares = plan_spares(activations.max(0))
    over = np.clip(activations[:, spares.units] * spares.gain - spares.offset, 0, spares.bound)
    unused = activations.shape[1] // UNITS_TO_A_SPARE - len(spares.units)
    return np.pad(np.concatenate([np.minimum(activations, spares.bound), over], 1), ((0, 0), (0, unused)))


@dataclass(frozen=True)
class Spares:
    """What the spare units of a layer do.

    Attributes:
        bound: R.
        units: int64 (n,), the unit that each spare stands in for.
        gain: float32 (n,), k.
        offset: float32 (n,): a spare is ``Gelu(gain · x - offset)``.
    """

    bound: float
    units: npt.NDArray[np.int64]
    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]


def plan_spares(peaks: npt.NDArray[np.float32]) -> Spares:
    """Spend one spare unit to ``UNITS_TO_A_SPARE`` on units with these peaks (K,)."""
    peaks = peaks * MARGIN
    bound, copies = staircase(peaks, len(peaks) // UNITS_TO_A_SPARE)
    units = np.repeat(np.arange(len(copies)), copies)
    steps = np.concatenate([np.arange(count) for count in copies])
    gain = np.minimum(copies[units] * bound / np.maximum(peaks[units] - bound, 1e-6), MOST_GAIN)
    offset = (gain + steps) * bound
    return Spares(bound, units, gain.astype(np.float32), offset.astype(np.float32))


def staircase(peaks: npt.NDArray[np.float32], spare: int) -> tuple[float, npt.NDArray[np.int64]]:
    """The smallest bound R that ``spare`` further units can serve, and how many each unit gets: ceil(peak / R) - 1."""
    top = max(float(peaks.max()), 1e-3)
    best = top, np.zeros(len(peaks), np.int64)
    for bound in np.geomspace(top, top / 64, 256):
        copies = np.maximum(np.ceil(peaks / bound) - 1, 0).astype(np.int64)
        if copies.sum() > spare:
            break
        best = float(bound), copies
    return best


def _only_user(value: ir.Value) -> ir.Node | None:
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def _array(value: ir.Value) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = value.const_value.numpy()
    return array


def _replace(value: ir.Value, array: npt.NDArray[np.float32]) -> None:
    tensor = ir.tensor(np.ascontiguousarray(array), name=value.name)
    value.const_value, value.shape = tensor, tensor.shape
