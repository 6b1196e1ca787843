"""Classify text with a CrossTune bundle: numpy, onnxruntime and tokenizers, no torch.

Example:
    >>> from crosstune_export import Classifier
    >>> classifier = Classifier.load("support.bundle")
    >>> classifier.classify(["where is my parcel?"])[0].label
    'shipping'
"""

from __future__ import annotations

import os

from crosstune_export.bundle.manifest import BundleManifest
from crosstune_export.bundle.selftest import SelfTestReport
from crosstune_export.errors import (
    BundleContentError,
    BundleError,
    BundleIntegrityError,
    BundleVersionError,
    ExportError,
    GateError,
    InputError,
    MissingExtraError,
    OutputExistsError,
    ProviderError,
    ResourceError,
    SelfTestError,
    SignatureError,
    UsageError,
)
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.explanation import Explanation, WordEvidence
from crosstune_export.runtime.prediction import Prediction

__version__ = "0.1.0"

# onnxruntime tells its makers how it is used unless this stands in the environment when it is first imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "BundleContentError",
    "BundleError",
    "BundleIntegrityError",
    "BundleManifest",
    "BundleVersionError",
    "Classifier",
    "Explanation",
    "ExportError",
    "GateError",
    "InputError",
    "MissingExtraError",
    "OutputExistsError",
    "Prediction",
    "ProviderError",
    "ResourceError",
    "SelfTestError",
    "SelfTestReport",
    "SignatureError",
    "UsageError",
    "WordEvidence",
    "__version__",
]
