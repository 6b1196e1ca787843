"""Build, verify and edit CrossTune bundles, and classify text with them.

Everything loads on first use. Only ``build`` needs torch; classifying needs numpy, onnxruntime and tokenizers.

Examples:
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
    from crosstune_export.builder.config import BuildConfig
    from crosstune_export.builder.pipeline import BuildResult, build
    from crosstune_export.bundle.inspection import inspect_bundle
    from crosstune_export.bundle.manifest import BundleManifest
    from crosstune_export.bundle.packing import pack, unpack
    from crosstune_export.bundle.selftest import SelfTestReport
    from crosstune_export.edit.labels import add_label, describe_label, remove_label, rename_label
    from crosstune_export.evaluation import evaluate_bundle
    from crosstune_export.hub.pull import PulledBundle, pull
    from crosstune_export.hub.push import push
    from crosstune_export.release.signing import sign
    from crosstune_export.runtime.classifier import Classifier
    from crosstune_export.runtime.explanation import Explanation, WordEvidence
    from crosstune_export.runtime.prediction import Prediction
    from crosstune_export.verification import Verification, verify

__version__ = "0.2.0"

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
    "crosstune_export.builder.config": ("BuildConfig",),
    "crosstune_export.builder.pipeline": ("BuildResult", "build"),
    "crosstune_export.bundle.inspection": ("inspect_bundle",),
    "crosstune_export.bundle.manifest": ("BundleManifest",),
    "crosstune_export.bundle.packing": ("pack", "unpack"),
    "crosstune_export.bundle.selftest": ("SelfTestReport",),
    "crosstune_export.edit.labels": ("add_label", "describe_label", "remove_label", "rename_label"),
    "crosstune_export.evaluation": ("evaluate_bundle",),
    "crosstune_export.hub.pull": ("PulledBundle", "pull"),
    "crosstune_export.hub.push": ("push",),
    "crosstune_export.release.signing": ("sign",),
    "crosstune_export.runtime.classifier": ("Classifier",),
    "crosstune_export.runtime.explanation": ("Explanation", "WordEvidence"),
    "crosstune_export.runtime.prediction": ("Prediction",),
    "crosstune_export.verification": ("Verification", "verify"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BuildConfig",
    "BuildResult",
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
    "PulledBundle",
    "ResourceError",
    "SelfTestError",
    "SelfTestReport",
    "SignatureError",
    "Verification",
    "WordEvidence",
    "__version__",
    "add_label",
    "build",
    "describe_label",
    "evaluate_bundle",
    "inspect_bundle",
    "pack",
    "pull",
    "push",
    "remove_label",
    "rename_label",
    "sign",
    "unpack",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'crosstune_export' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("crosstune", "crosstune_export"):
            raise
        from crosstune.core.errors import MissingExtraError

        extra = "export,cpu" if _HOME_OF[name].startswith("crosstune_export.builder") else "cpu"
        raise MissingExtraError(
            f"{error.name}: not installed, expected for {name}. Run: pip install 'crosstune-export[{extra}]'"
        ) from error
