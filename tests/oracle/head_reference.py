"""The heads in plain numpy, one text and one label at a time: slow on purpose, the oracle for every other implementation.

Nothing here is shared with the torch code, so that a mistake there is not repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def reference_features(
    states: Sequence[npt.NDArray[np.float32]],
    length: int,
    atoms: Sequence[tuple[str, int]],
    merge: str,
    first: int,
    mask_from_end: int,
) -> Array:
    """Features of one text.

    Args:
        states: One array (T, D) a layer, padding included.
        length: Tokens that are not padding.
        atoms: (pool, layer) pairs.
        merge: ``concat`` or ``max``.
        first: Index of the text's first token.
        mask_from_end: Distance of the template's mask from the end, 1 being the last token.

    Returns:
        float64 (F,).
    """
    vectors = []
    for pool, layer in atoms:
        tokens = np.asarray(states[layer][:length], np.float64)
        if pool == "mean":
            vector = np.zeros(tokens.shape[1])
            for token in tokens:
                vector = vector + token / length
        elif pool == "max":
            vector = np.array([max(tokens[t, i] for t in range(length)) for i in range(tokens.shape[1])])
        else:
            vector = tokens[{"first": first, "mask": length - mask_from_end, "cls": 0, "last": length - 1}[pool]]
        vectors.append(vector)
    if merge == "concat":
        return np.concatenate([vector / np.sqrt((vector**2).sum()) for vector in vectors])
    largest = np.array([max(vector[i] for vector in vectors) for i in range(len(vectors[0]))])
    return np.asarray(largest / np.sqrt((largest**2).sum()))


def reference_attention(
    states: Sequence[npt.NDArray[np.float32]], length: int, layers: Sequence[int], queries: Array, sharpness: float
) -> Array:
    """What label queries find in one text: ``Σ_t softmax_t(sharpness · cos(s_t, q)) · cos(s_t, q)``.

    Args:
        states: One array (T, D) a layer, padding included.
        length: Tokens that are not padding.
        layers: The K attention layers.
        queries: (K, Q, D).
        sharpness: Multiplies the cosines inside the softmax.

    Returns:
        float64 (K·Q,).
    """
    found = []
    for layer, asked in zip(layers, queries, strict=True):
        tokens = np.asarray(states[layer][:length], np.float64)
        for query in asked:
            cosines = [float(token @ query) / np.sqrt((token**2).sum() * (query**2).sum()) for token in tokens]
            attention = _softmax([sharpness * cosine for cosine in cosines])
            found.append(sum(a * c for a, c in zip(attention, cosines, strict=True)))
    return np.array(found)


def reference_prior_probs(features: Array, label_keys: Array, label_bias: Array) -> Array:
    """``softmax(x · keysᵀ + bias)`` for one text: features (F,), keys (L, F), bias (L,) to (L,)."""
    return _softmax([float(features @ key) + float(bias) for key, bias in zip(label_keys, label_bias, strict=True)])


def reference_paper_probs(features: Array, query: Array, key: Array, label_vectors: Array) -> Array:
    """``(1/H) Σ_k softmax_y((W_k^Q h_x)·(W_k^K h_y)/√d)`` for one text.

    Args:
        features: (F,).
        query: W^Q (H, d, F).
        key: W^K (H, d, F).
        label_vectors: (L, F).

    Returns:
        (L,).
    """
    heads, size, _ = query.shape
    total = np.zeros(len(label_vectors))
    for k in range(heads):
        asked = query[k] @ features
        total += _softmax([float(asked @ (key[k] @ label)) / np.sqrt(size) for label in label_vectors])
    return np.asarray(total / heads)


def _softmax(logits: Sequence[float]) -> Array:
    powers = [np.exp(logit - max(logits)) for logit in logits]
    return np.asarray(np.array(powers) / sum(powers))
