"""Chooses when to give no label: thresholds on a text's similarity to the shots and on its top probability.

The keys are called ``scope_keys``, as in checkpoints and bundles.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: How similarity depends on length before shots are seen, estimated on shots of thirteen tasks (docs/head.md): the slope by the logarithm
#: of the number of tokens, in standard deviations of what length does not explain, and the relative change of that deviation.
#: Each is the mean over the tasks and its standard deviation.
USUAL_SLOPE, USUAL_SPREAD = (1.0, 0.7), (-0.1, 0.25)
#: Fewer shots say too little of a deviation. Texts so many times shorter than the shortest shot are still told apart by length. Both were
#: chosen by cross-validation on shots of these tasks.
LEAST_SHOTS, SHORTER = 8, 1.5
#: Most that a log may add to short texts, in standard deviations, and the step in which it is searched; chosen by hand.
MOST_RISE, RISE_STEP = 4.0, 0.05
#: Standard deviation of the absolute value of a normal variable, by its mean.
_NORMAL_SPREAD = (math.pi / 2 - 1) ** 0.5


def scope_keys(features: Tensor, targets: Tensor, label_features: Tensor, atoms: int) -> Tensor:
    """One key for each label: the mean of its shots, or its description if it has no shots.

    ``similarity(x) = max_y x · key_y`` is the cosine similarity of a text to the nearest key.

    Args:
        features: float32 (N, S), mean states of the shots: ``atoms`` concatenated vectors of length 1.
        targets: int64 (N,), class indices.
        label_features: float32 (L, S), the same of the descriptions.
        atoms: Number of concatenated vectors, at least 1.

    Returns:
        float32 (L, S).
    """
    sums = torch.zeros_like(label_features).index_add_(0, targets, features)
    has_shots = torch.bincount(targets, minlength=len(label_features)) > 0
    means = torch.where(has_shots.unsqueeze(1), sums, label_features)
    keys: Tensor = torch.nn.functional.normalize(means, dim=1) / float(atoms**0.5)
    return keys


def held_out_similarity(
    features: Tensor, targets: Tensor, label_features: Tensor, atoms: int
) -> npt.NDArray[np.float64]:
    """Similarity of each shot, float64 (N,), without the shot itself in the key of its label; arguments as in ``scope_keys``."""
    scores = features @ scope_keys(features, targets, label_features, atoms).t()  # (N, L)
    sums = torch.zeros_like(label_features).index_add_(0, targets, features)
    counts = torch.bincount(targets, minlength=len(label_features))
    without = sums[targets] - features  # (N, S)
    by_others = (features * torch.nn.functional.normalize(without, dim=1)).sum(1) / atoms**0.5
    by_description = (features * torch.nn.functional.normalize(label_features[targets], dim=1)).sum(1) / atoms**0.5
    scores[torch.arange(len(targets)), targets] = torch.where(counts[targets] > 1, by_others, by_description)
    return np.asarray(scores.max(1).values.double().cpu())


def coverage_threshold(
    scores: npt.NDArray[np.float64], coverage: float, weights: npt.NDArray[np.float32] | None = None
) -> float:
    """The largest threshold that at least a given share of N scores reaches.

    Examples:
        >>> coverage_threshold(np.array([0.9, 0.2, 0.6, 0.7]), 0.75)
        0.6

    Args:
        scores: float64 (N,), N at least 1.
        coverage: The share, in (0, 1].
        weights: float32 (N,), how much each text counts, of mean 1; all alike when None.
    """
    order = np.argsort(scores)[::-1]
    counted = np.cumsum(_weights(weights, len(scores))[order])
    shares = counted / counted[-1]  # a product, coverage * N, could round to above a whole number
    return float(scores[order[np.searchsorted(shares, coverage)]])


def length_offsets(
    scores: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.int64],
    longest: int,
    coverage: float,
    weights: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """What to add to the similarity of a text, by its number of tokens, so that short texts reach it as often as long ones.

    A mean over few tokens is noisier, and further from the labels. The similarity of a text of n tokens is taken to have the mean
    ``a + b · x`` with ``x = ln(n / median)`` and a deviation in proportion to ``exp(c · x)``. Both b, at least 0, and c, at most 0, are
    estimates on the shots, drawn towards what is usual (``USUAL_SLOPE``, ``USUAL_SPREAD``) the more the fewer shots there are. With q
    the deviation that ``coverage`` of the shots reach, a text gets ``−b · x − q · (exp(c · x) − 1)``: at a median length, nothing.
    Texts below two thirds of the length of the shortest shot are treated alike, and so are those above the longest.

    Examples:
        >>> scores, lengths = np.concatenate([np.linspace(0.3, 0.5, 20), np.linspace(0.7, 0.9, 20)]), np.repeat([3, 30], 20)
        >>> offsets = length_offsets(scores, lengths, longest=40, coverage=0.75)
        >>> [round(float(offsets[tokens]), 2) for tokens in (1, 2, 3, 30, 40)]
        [0.36, 0.36, 0.29, -0.1, -0.1]
        >>> round(coverage_threshold(scores, 0.75), 2), round(coverage_threshold(scores + offsets[lengths], 0.75), 2)
        (0.41, 0.64)

    Args:
        scores: float64 (N,), similarities of held-out shots.
        lengths: int64 (N,), tokens of each, 1 to ``longest``.
        longest: Most tokens of a text.
        coverage: The share of texts, in (0, 1], that is to be as large for short texts as for long ones.
        weights: float32 (N,), how much each text counts for that share, of mean 1; all alike when None.

    Returns:
        float32 (longest + 1,), or (0,) if the shots have one length, or are fewer than 8, or length does not count.
    """
    none = np.empty(0, np.float32)
    if len(scores) < LEAST_SHOTS or lengths.min() == lengths.max():
        return none
    median = float(np.median(lengths))
    logs = np.log(lengths / median)
    varied = logs - logs.mean()
    spread = float((varied**2).sum()) ** 0.5
    found = float((varied * scores).sum()) / spread**2
    rest = float(((scores - scores.mean() - found * varied) ** 2).sum() / (len(scores) - 2)) ** 0.5
    slope = max(0.0, _drawn(found, rest / spread, USUAL_SLOPE[0] * rest, USUAL_SLOPE[1] * rest))
    deviations = scores - slope * logs
    deviations -= deviations.mean()
    size = np.abs(deviations)
    if size.max() == 0:
        return none
    narrowing = min(
        0.0,
        _drawn(float((varied * size).sum()) / spread**2 / float(size.mean()), _NORMAL_SPREAD / spread, *USUAL_SPREAD),
    )
    if slope == 0 and narrowing == 0:
        return none
    reached = coverage_threshold(deviations / np.exp(narrowing * logs), coverage, weights)
    tokens = np.clip(np.arange(longest + 1), lengths.min() / SHORTER, lengths.max()) / median
    return np.asarray(-slope * np.log(tokens) - reached * (tokens**narrowing - 1), np.float32)


def offsets_of_log(
    scores: npt.NDArray[np.float64], lengths: npt.NDArray[np.int64], longest: int, coverage: float
) -> npt.NDArray[np.float32]:
    """As ``length_offsets``, from texts of a log, of which there are enough to keep the promise for the shortest tenth too.

    Texts below the median length get up to ``MOST_RISE`` standard deviations for each unit of ``ln(median / n)`` in addition: the
    smallest multiple of ``RISE_STEP`` with which the shortest tenth reaches the threshold as often as all texts.

    Examples:
        >>> scores, lengths = np.concatenate([np.linspace(0.3, 0.5, 40), np.linspace(0.7, 0.9, 160)]), np.repeat([3, 30], [40, 160])
        >>> offsets = offsets_of_log(scores, lengths, longest=40, coverage=0.9)
        >>> raised = scores + offsets[lengths]
        >>> [float((part >= coverage_threshold(raised, 0.9)).mean().round(2)) for part in (raised, raised[:40])]
        [0.9, 0.9]

    Args:
        scores: float64 (N,), similarities of the texts of the log.
        lengths: int64 (N,), tokens of each, 1 to ``longest``.
        longest: Most tokens of a text.
        coverage: The share of texts, in (0, 1], that is to be as large for short texts as for long ones.

    Returns:
        float32 (longest + 1,), or (0,) if length does not count.
    """
    found = length_offsets(scores, lengths, longest, coverage)
    offsets = found if len(found) else np.zeros(longest + 1, np.float32)
    tokens = np.maximum(np.arange(longest + 1), lengths.min() / SHORTER)
    ramp = float(scores.std()) * np.maximum(0, np.log(float(np.median(lengths)) / tokens))
    short = lengths <= np.quantile(lengths, 0.1)
    for rise in np.arange(0, MOST_RISE, RISE_STEP):
        raised = np.asarray(offsets + rise * ramp, np.float32)
        reached = scores + raised[lengths]
        if (reached[short] >= coverage_threshold(reached, coverage)).mean() >= coverage:
            break
    return raised if raised.any() else found


def _drawn(found: float, error: float, usual: float, deviation: float) -> float:
    """An estimate with a standard error, drawn towards a usual value: the mean of the normal posterior."""
    if error == 0:
        return found
    return (found / error**2 + usual / deviation**2) / (1 / error**2 + 1 / deviation**2)


def precision_threshold(
    probs: npt.NDArray[np.float32],
    gold: npt.NDArray[np.int64],
    precision: float,
    weights: npt.NDArray[np.float32] | None = None,
) -> float:
    """The lowest threshold on the top probability at which enough of the given labels are correct.

    Examples:
        >>> probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.25, 0.75], [0.45, 0.55]], np.float32)
        >>> precision_threshold(probs, np.array([0, 1, 1, 1]), 1.0)
        0.75

    Args:
        probs: float32 (N, L), probabilities of texts that the head was not fitted to, N at least 1.
        gold: int64 (N,), their classes.
        precision: Share of given labels that must be correct, in (0, 1]. If no threshold reaches it, the threshold is the
            largest top probability, so that only the most certain text gets a label.
        weights: float32 (N,), how much each text counts; all alike when None.

    Returns:
        A probability in [0, 1].
    """
    top = probs.max(1).astype(np.float64)
    order = np.argsort(-top, kind="stable")
    counted = _weights(weights, len(top))[order]
    right = (probs.argmax(1) == gold)[order]
    shares = np.cumsum(right * counted) / np.cumsum(counted)
    last = np.append(top[order][1:] < top[order][:-1], True)  # equal probabilities are answered together
    good = np.flatnonzero((shares >= precision) & last)
    return float(top[order[good[-1]]]) if len(good) else float(top[order[0]])


def _weights(weights: npt.NDArray[np.float32] | None, count: int) -> npt.NDArray[np.float64]:
    return np.ones(count) if weights is None else weights.astype(np.float64)
