"""Classify text with a CrossTune bundle: numpy, onnxruntime and tokenizers, no torch.

Everything loads on first use, so that ``import crosstune_export`` is quick.

Example:
    >>> from crosstune_export import Classifier
    >>> classifier = Classifier.load("support.bundle")
    >>> classifier.classify(["where is my parcel?"])[0].label
    'shipping'
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosstune.core.errors import (
        BundleContentError,
        BundleError,
        BundleIntegrityError,
        BundleVersionError,
        ConfigError,
        CrossTuneError,
        DataError,
        GateError,
        MissingExtraError,
        OutputExistsError,
        ProviderError,
        ResourceError,
        SelfTestError,
        SignatureError,
    )
    from crosstune_export.bundle.manifest import BundleManifest
    from crosstune_export.bundle.selftest import SelfTestReport
    from crosstune_export.runtime.classifier import Classifier
    from crosstune_export.runtime.explanation import Explanation, WordEvidence
    from crosstune_export.runtime.prediction import Prediction

__version__ = "0.1.0"

# onnxruntime sends usage data to its makers unless this variable is set before it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

#: Where each public name is defined.
_HOMES = {
    "crosstune.core.errors": (
        "BundleContentError",
        "BundleError",
        "BundleIntegrityError",
        "BundleVersionError",
        "ConfigError",
        "CrossTuneError",
        "DataError",
        "GateError",
        "MissingExtraError",
        "OutputExistsError",
        "ProviderError",
        "ResourceError",
        "SelfTestError",
        "SignatureError",
    ),
    "crosstune_export.bundle.manifest": ("BundleManifest",),
    "crosstune_export.bundle.selftest": ("SelfTestReport",),
    "crosstune_export.runtime.classifier": ("Classifier",),
    "crosstune_export.runtime.explanation": ("Explanation", "WordEvidence"),
    "crosstune_export.runtime.prediction": ("Prediction",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BundleContentError",
    "BundleError",
    "BundleIntegrityError",
    "BundleManifest",
    "BundleVersionError",
    "Classifier",
    "ConfigError",
    "CrossTuneError",
    "DataError",
    "Explanation",
    "GateError",
    "MissingExtraError",
    "OutputExistsError",
    "Prediction",
    "ProviderError",
    "ResourceError",
    "SelfTestError",
    "SelfTestReport",
    "SignatureError",
    "WordEvidence",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crosstune_export' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
