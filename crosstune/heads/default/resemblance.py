"""Which shot a generated text resembles most: an LLM paraphrases the shots of its prompt, and a paraphrase knows its shot's answer."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_shots(features: Tensor, targets: Tensor, shots: int) -> Tensor:
    """For each generated text the shot of its label that it resembles most, by cosine; any shot where its label has none.

    A generated text is held out together with this shot. Otherwise paraphrases would make held-out shots look easy.

    Examples:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1], [0.1, 0.9]])
        >>> nearest_shots(features, torch.tensor([0, 0, 0, 0]), 2).tolist()
        [0, 1]
        >>> nearest_shots(features, torch.tensor([0, 1, 1, 2]), 2).tolist()
        [1, 1]

    Args:
        features: float32 (N, F), shots first.
        targets: int64 (N,), class indices.
        shots: How many of the texts are shots, at least 1.

    Returns:
        int64 (N − shots,), rows of shots.
    """
    unit = torch.nn.functional.normalize(features - features[:shots].mean(0), dim=1)
    cosines = unit[shots:] @ unit[:shots].t()
    of_label = targets[shots:].unsqueeze(1) == targets[:shots]
    return (cosines + 3 * of_label).argmax(1)  # cosines differ by at most 2
