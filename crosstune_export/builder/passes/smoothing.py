"""Chooses how activations are quantized: their step, and a factor for each channel.

Shapes: S samples, K channels, N outputs of the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crosstune_export.builder.passes.rounding import Floats, column_scales, round_nearest

#: Shares of the difference between activation channels that may be moved into the weights (alpha of SmoothQuant, Xiao et al. 2023);
#: the one with the least error on the samples is chosen. With 0.9 and 1, each channel of other texts reaches beyond its range.
MOVED = (0.5, 0.6, 0.7, 0.8)
#: Shares of the samples' range to try: clipping rare values makes the steps for all others finer.
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
#: Part of the squared error of nearest rounding that compensated rounding leaves; by hand, from products of MiniLM and MPNet.
LEFT_BY_COMPENSATION = 0.6
#: Samples by which factors are compared, to save time; by hand.
_COMPARED = 1024
_LEVELS = 255


@dataclass(frozen=True)
class Step:
    """Step and zero point of uint8 activations."""

    size: np.float32
    zero: np.uint8

    @classmethod
    def of(cls, low: float, high: float) -> Step:
        """Return the step of a range that contains 0."""
        size = np.float32((high - low) / _LEVELS)
        return cls(size, np.uint8(np.clip(np.rint(-low / size), 0, _LEVELS)))

    def rounded(self, samples: Floats) -> Floats:
        """Return samples after quantization and dequantization."""
        zero = float(self.zero)
        steps: Floats = np.clip(np.rint(samples / self.size) + zero, 0, _LEVELS) - zero
        return steps * float(self.size)


def best_step(samples: Floats, weights: Floats) -> tuple[Step, float]:
    """Return the step with the least error of the product ``samples · weights``, and this error: squared, summed over outputs."""
    low, high = min(float(samples.min()), 0.0), max(float(samples.max()), 1e-6)
    importance = np.square(weights).sum(1)  # weight of each channel's error in the error of the product
    options = [Step.of(low * share, high * share) for share in SHARES]
    errors = [float(np.square(step.rounded(samples) - samples).mean(0) @ importance) for step in options]
    best = int(np.argmin(errors))
    return options[best], errors[best]


def channel_factors(samples: Floats, weights: Floats) -> Floats:
    """Return factors s, float64 (K,), for which ``(samples / s) · (s · weights)`` has the least error in int8.

    Args:
        samples: (S, K).
        weights: (K, N).
    """
    peaks = np.maximum(np.abs(samples).max(0), 1e-6)
    samples = samples[:: max(1, len(samples) // _COMPARED)]
    reach = np.maximum(np.abs(weights).max(1), 1e-6)
    options = [peaks**share / reach ** (1 - share) for share in MOVED]
    options = [factors / np.exp(np.log(factors).mean()) for factors in options]
    return min(options, key=lambda factors: _error(samples / factors, weights * factors[:, None]))


def _error(samples: Floats, weights: Floats) -> float:
    """Estimate the squared error of an int8 product, as if the errors of activations and weights were independent."""
    scales = column_scales(weights)
    missed = np.square(round_nearest(weights, scales) * scales - weights).sum(1)
    return best_step(samples, weights)[1] + LEFT_BY_COMPENSATION * float(np.square(samples).mean(0) @ missed)
