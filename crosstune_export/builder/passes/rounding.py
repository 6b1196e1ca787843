"""Rounds weight matrices to int8 without overflow of products, and so that the errors in a column cancel.

Shapes: K inputs, N outputs, S samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

Floats = npt.NDArray[np.float64]
Int8s = npt.NDArray[np.int8]

LARGEST = 127
#: Processors without VNNI add two neighbouring products u8 · s8 in 16 bits, where 255 · 128 is the most that fits. Two neighbours
#: of the same sign must therefore not exceed 128 together, which costs less precision than the usual 7-bit weights.
PAIR_LIMIT = 128
#: Added to the diagonal of the second moments, relative to its mean (GPTQ uses 0.01); larger by hand, because there are few samples.
DAMPING = 0.2
_BLOCK = 32


def column_scales(weights: Floats) -> Floats:
    """Return the finest step of each column, float64 (N,), that keeps weights (K, N) within both limits."""
    first, second = _neighbours(weights)
    pairs = np.maximum(
        np.maximum(first, 0) + np.maximum(second, 0), np.maximum(-first, 0) + np.maximum(-second, 0)
    ).max(0)
    scales = np.maximum(np.abs(weights).max(0) / LARGEST, pairs / (PAIR_LIMIT - 1))
    steps: npt.NDArray[np.float32] = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    return steps.astype(np.float64)


def round_nearest(weights: Floats, scales: Floats) -> Int8s:
    """Round each weight to its nearest step: int8 (K, N)."""
    return _within_limits(np.rint(weights / scales))


def round_compensated(weights: Floats, scales: Floats, samples: Floats) -> Int8s:
    """Round row by row, and compensate the error of each row in the rows not yet rounded (GPTQ, Frantar et al. 2023).

    Args:
        weights: Weights (K, N).
        scales: Step of each column (N,).
        samples: Inputs of the product (S, K), on which the error of the product is minimized.

    Returns:
        int8 (K, N).
    """
    size = len(weights)
    inputs = samples.astype(np.float32)
    moments = (inputs.T @ inputs).astype(np.float64) / max(1, len(samples))
    diagonal = np.einsum("ii->i", moments)
    diagonal += max(DAMPING * float(diagonal.mean()), 1e-12)
    order = np.argsort(-diagonal, kind="stable")  # large inputs first, while many rows are left to compensate
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
    in_order = np.empty_like(rounded)
    in_order[order] = rounded
    return _within_limits(in_order)


def _root_of_inverse(matrix: Floats) -> Floats:
    """Return the upper triangular U with Uᵀ U = matrix⁻¹, without computing the inverse."""
    lower = np.linalg.cholesky(matrix[::-1, ::-1])
    inverse, _ = lapack.dtrtri(lower, lower=1)
    return np.ascontiguousarray(inverse[::-1, ::-1])


def _within_limits(steps: Floats) -> Int8s:
    """Clip steps to -127 .. 127, and reduce the larger of two neighbours that exceed the pair limit."""
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
