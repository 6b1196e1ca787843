"""Loads the backbone that a configuration names."""

from __future__ import annotations

from crosstune.backbone.frozen import Backbone
from crosstune.config import TrainConfig


def load_backbone(config: TrainConfig, device: str = "auto") -> Backbone:
    """Load the backbone of a configuration, with its maximum length and prefix.

    Args:
        config: Settings of a training.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        BackboneError: It cannot be loaded.
        ConfigError: The device, the length or the prefix cannot be used.
    """
    return Backbone.load(
        config.backbone, device=device, max_length_tokens=config.max_length_tokens, prefix=config.prefix
    )
