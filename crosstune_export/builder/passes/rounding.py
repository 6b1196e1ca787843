"""Rounds weight matrices to int8: no product can overflow, and the errors of a column's weights make up for each other.

Shapes: K inputs, N outputs, S samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

Floats = npt.NDArray[np.float64]
Int8s = npt.NDArray[np.int8]

LARGEST = 127
#: Processors without VNNI add two neighbouring products u8 · s8 in 16 bits: 255 · 128 is the most that fits. So two
#: neighbours of the same sign may not exceed 128 together; that costs less than halving every weight, the usual way.
PAIR_LIMIT = 128
#: Added to the diagonal of the inputs' second moments, as a share of its mean: few samples must not be trusted blindly.
DAMPING = 0.05
_BLOCK = 32


def column_scales(weights: Floats) -> Floats:
    """The step of each column, float64 (N,), for weights (K, N): the finest that neither limit forbids."""
    first, second = _neighbours(weights)
    together = np.maximum(
        np.maximum(first, 0) + np.maximum(second, 0), np.maximum(-first, 0) + np.maximum(-second, 0)
    ).max(0)
    scales = np.maximum(np.abs(weights).max(0) / LARGEST, together / (PAIR_LIMIT - 1))
    steps: npt.NDArray[np.float32] = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    return steps.astype(np.float64)


def round_nearest(weights: Floats, scales: Floats) -> Int8s:
    """Each weight to its nearest step: int8 (K, N)."""
    return _within_limits(np.rint(weights / scales))


def round_compensated(weights: Floats, scales: Floats, samples: Floats) -> Int8s:
    """Round row after row, moving the error of each row onto the rows not yet rounded (GPTQ, Frantar et al. 2023).

    Args:
        weights: (K, N).
        scales: (N,).
        samples: Inputs of the product, (S, K): errors are made small where the inputs are large and alike.

    Returns:
        int8 (K, N).
    """
    size = len(weights)
    few = samples.astype(np.float32)
    moments = (few.T @ few).astype(np.float64) / max(1, len(samples))
    diagonal = np.einsum("ii->i", moments)
    diagonal += max(DAMPING * float(diagonal.mean()), 1e-12)
    order = np.argsort(-diagonal, kind="stable")  # large inputs first, while there is most to compensate with
    upper = _root_of_inverse(moments[np.ix_(order, order)])
    rest = (weights / scales)[order]
    rounded = np.empty_like(rest)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.empty((stop - start, rest.shape[1]))
        for row in range(start, stop):
            rounded[row] = np.clip(np.rint(rest[row]), -LARGEST, LARGEST)
            errors[row - start] = (rest[row] - rounded[row]) / upper[row, row]
            rest[row + 1 : stop] -= np.outer(upper[row, row + 1 : stop], errors[row - start])
        rest[stop:] -= upper[start:stop, stop:].T @ errors
    back = np.empty_like(rounded)
    back[order] = rounded
    return _within_limits(back)


def _root_of_inverse(matrix: Floats) -> Floats:
    """Upper triangular U with Uᵀ U = matrix⁻¹, without ever forming the inverse."""
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    inverse, _ = lapack.dtrtri(lower, lower=1)
    return np.ascontiguousarray(inverse[::-1, ::-1])


def _within_limits(steps: Floats) -> Int8s:
    """Steps in -127 .. 127 of which no two neighbours exceed the pair limit; the larger of two gives way."""
    steps = np.clip(steps, -LARGEST, LARGEST)
    even = steps[: len(steps) // 2 * 2]
    first, second = even[0::2], even[1::2]
    over = np.where(first * second > 0, np.maximum(np.abs(first + second) - PAIR_LIMIT, 0), 0)
    larger = np.abs(first) >= np.abs(second)
    first -= np.sign(first) * np.where(larger, over, 0)
    second -= np.sign(second) * np.where(larger, 0, over)
    return steps.astype(np.int8)


def _neighbours(weights: Floats) -> tuple[Floats, Floats]:
    if len(weights) % 2:
        weights = np.concatenate([weights, np.zeros((1, weights.shape[1]))])
    return weights[0::2], weights[1::2]
