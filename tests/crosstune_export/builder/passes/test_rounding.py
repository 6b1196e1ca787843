from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune_export.builder.passes.rounding import (
    LARGEST,
    PAIR_LIMIT,
    column_scales,
    round_compensated,
    round_nearest,
)


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    seed, spread = draw(st.integers(0, 1000)), draw(st.sampled_from([0.0, 1.0, 4.0]))
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, columns)) * np.exp(spread * random.normal(size=(rows, 1)))


def no_product_overflows(steps: np.ndarray) -> bool:
    """As a processor without VNNI adds them: pairs of u8 · s8 in 16 bits, for the worst activations."""
    steps = np.pad(steps.astype(np.int64), ((0, len(steps) % 2), (0, 0)))
    first, second = steps[0::2], steps[1::2]
    most = 255 * (np.maximum(first, 0) + np.maximum(second, 0))
    least = 255 * (np.minimum(first, 0) + np.minimum(second, 0))
    return most.max() <= 32767 and least.min() >= -32768


@given(matrices())
def test_nearest(weights):
    scales = column_scales(weights)
    steps = round_nearest(weights, scales)
    assert steps.dtype == np.int8 and steps.shape == weights.shape
    assert np.abs(steps.astype(int)).max() <= LARGEST
    assert no_product_overflows(steps)
    # off by half a step, and by one more where the larger of two neighbours had to give way
    assert (np.abs(steps * scales - weights) <= 1.5 * scales * (1 + 1e-6)).all()


@given(matrices())
def test_scales_are_as_fine_as_the_limits_allow(weights):
    scales = column_scales(weights)
    assert np.array_equal(scales, scales.astype(np.float32))
    pairs = np.pad(weights, ((0, len(weights) % 2), (0, 0)))
    together = np.maximum(
        np.maximum(pairs[0::2], 0) + np.maximum(pairs[1::2], 0),
        np.maximum(-pairs[0::2], 0) + np.maximum(-pairs[1::2], 0),
    ).max(0)
    finest = np.maximum(np.abs(weights).max(0) / LARGEST, together / (PAIR_LIMIT - 1))
    assert scales == pytest.approx(np.maximum(finest, np.finfo(np.float32).tiny), rel=1e-6)


@given(st.integers(0, 1000))
def test_compensation_lowers_the_error_on_alike_inputs(seed):
    random = np.random.default_rng(seed)
    samples = random.normal(size=(64, 4)) @ random.normal(size=(4, 24)) + 0.1 * random.normal(size=(64, 24))
    weights = random.normal(size=(24, 8))
    scales = column_scales(weights)
    steps = round_compensated(weights, scales, samples)
    assert steps.dtype == np.int8 and no_product_overflows(steps)

    def error(chosen):
        return float(np.square(samples @ (chosen * scales - weights)).mean())

    assert error(steps) < error(round_nearest(weights, scales))


def test_compensation_is_the_same_every_time():
    random = np.random.default_rng(13)
    samples, weights = random.normal(size=(40, 12)), random.normal(size=(12, 5))
    scales = column_scales(weights)
    first, second = (round_compensated(weights, scales, samples.copy()) for _ in range(2))
    assert np.array_equal(first, second)


def test_inputs_that_are_all_zero():
    weights = np.random.default_rng(13).normal(size=(6, 3))
    scales = column_scales(weights)
    assert np.array_equal(round_compensated(weights, scales, np.zeros((10, 6))), round_nearest(weights, scales))
