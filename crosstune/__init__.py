"""Train a label cross-attention head on a frozen backbone from a few labelled texts.

The heavy parts (torch, transformers) load on first use, so that ``import crosstune`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosstune.augmentation.augment import AugmentConfig, AugmentResult
    from crosstune.augmentation.job import augment
    from crosstune.backbone.frozen import Backbone
    from crosstune.checkpoint import Checkpoint, load_checkpoint
    from crosstune.config import TrainConfig, load_config
    from crosstune.core.errors import (
        AnswerCacheError,
        BackboneError,
        CheckpointError,
        ConfigError,
        CrossTuneError,
        CrossTuneWarning,
        DataError,
        GenerationError,
        MissingExtraError,
        OutputExistsError,
        RefusedLabelError,
        ResourceError,
        TrainingError,
    )
    from crosstune.core.labels import Label, LabelSet
    from crosstune.data.examples import Example
    from crosstune.data.labels import read_labels
    from crosstune.data.readers import read_examples
    from crosstune.data.sampling import draw_shots
    from crosstune.estimator import CrossTuneClassifier
    from crosstune.evaluation.metrics import Evaluation, evaluate
    from crosstune.filter.noise_filter import filter_generated
    from crosstune.filter.result import FilterResult
    from crosstune.labelling.check import LabelCheck, check_examples
    from crosstune.labelling.suggest import RoundGain, Suggestion, measure_round, suggest_texts
    from crosstune.rows.options import ReadOptions
    from crosstune.training import train

__version__ = "0.2.0"

#: Where each public name is defined.
_HOMES = {
    "crosstune.augmentation.augment": ("AugmentConfig", "AugmentResult"),
    "crosstune.augmentation.job": ("augment",),
    "crosstune.backbone.frozen": ("Backbone",),
    "crosstune.checkpoint": ("Checkpoint", "load_checkpoint"),
    "crosstune.config": ("TrainConfig", "load_config"),
    "crosstune.core.errors": (
        "AnswerCacheError",
        "BackboneError",
        "CheckpointError",
        "ConfigError",
        "CrossTuneError",
        "CrossTuneWarning",
        "DataError",
        "GenerationError",
        "MissingExtraError",
        "OutputExistsError",
        "RefusedLabelError",
        "ResourceError",
        "TrainingError",
    ),
    "crosstune.core.labels": ("Label", "LabelSet"),
    "crosstune.data.examples": ("Example",),
    "crosstune.data.labels": ("read_labels",),
    "crosstune.data.readers": ("read_examples",),
    "crosstune.data.sampling": ("draw_shots",),
    "crosstune.estimator": ("CrossTuneClassifier",),
    "crosstune.evaluation.metrics": ("Evaluation", "evaluate"),
    "crosstune.filter.noise_filter": ("filter_generated",),
    "crosstune.filter.result": ("FilterResult",),
    "crosstune.labelling.check": ("LabelCheck", "check_examples"),
    "crosstune.labelling.suggest": ("RoundGain", "Suggestion", "measure_round", "suggest_texts"),
    "crosstune.rows.options": ("ReadOptions",),
    "crosstune.training": ("train",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AnswerCacheError",
    "AugmentConfig",
    "AugmentResult",
    "Backbone",
    "BackboneError",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "CrossTuneClassifier",
    "CrossTuneError",
    "CrossTuneWarning",
    "DataError",
    "Evaluation",
    "Example",
    "FilterResult",
    "GenerationError",
    "Label",
    "LabelCheck",
    "LabelSet",
    "MissingExtraError",
    "OutputExistsError",
    "ReadOptions",
    "RefusedLabelError",
    "ResourceError",
    "RoundGain",
    "Suggestion",
    "TrainConfig",
    "TrainingError",
    "__version__",
    "augment",
    "check_examples",
    "draw_shots",
    "evaluate",
    "filter_generated",
    "load_checkpoint",
    "load_config",
    "measure_round",
    "read_examples",
    "read_labels",
    "suggest_texts",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crosstune' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "crosstune":
            raise
        from crosstune.core.errors import MissingExtraError

        raise MissingExtraError(
            f"{error.name}: not installed, expected for training. Run: pip install 'crosstune-export[train]'"
        ) from error
