"""Verifies a bundle: hashes, signature, self-test, and a comparison with the checkpoint it was built from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import ConfigError, GateError
from crosstune.core.progress import Progress, no_progress
from crosstune.rows.options import ReadOptions
from crosstune_export.builder.parity import FP32_TOLERANCE, allowed_label_changes
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.selftest import SelfTestReport
from crosstune_export.bundle.signature import require_trusted
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.session import CPU_PROVIDERS

#: Default for the percent of labels that may differ from the checkpoint's; chosen by hand, above the 2% that a build allows.
MAX_LABEL_CHANGES_PERCENT = 5.0


@dataclass(frozen=True)
class Verification:
    """Results of a verification; ``check`` raises if one is not acceptable.

    Attributes:
        bundle: Path of the bundle.
        digest: Its digest (64 hex digits).
        precision: ``fp32``, ``fp16`` or ``int8``.
        files: Number of its files, with the manifest.
        kernels: The kernels that ran, as ``Classifier.kernels`` names them.
        signature: A line that names the key of the signature; None if no signature was required.
        selftest: The self-test, one text per call.
        padded_selftest: The self-test in padded batches; None if not requested.
        checkpoint: Path of the checkpoint; None without a comparison.
        comparison: Comparison with the checkpoint; None if not requested, or if the self-test failed.
        max_label_changes_percent: Percent of labels that may differ from the checkpoint's.
    """

    bundle: str
    digest: str
    precision: str
    files: int
    kernels: str
    signature: str | None
    selftest: SelfTestReport
    padded_selftest: SelfTestReport | None = None
    checkpoint: str | None = None
    comparison: PredictionDifference | None = None
    max_label_changes_percent: float = MAX_LABEL_CHANGES_PERCENT

    def check(self) -> None:
        """Raise an error if the self-test or the comparison failed.

        Raises:
            SelfTestError: The self-test failed.
            GateError: Labels or probabilities differ too much from the checkpoint's.
        """
        self.selftest.check(self.bundle)
        if self.padded_selftest is not None:
            self.padded_selftest.check(f"{self.bundle}: in padded batches")
        compared = self.comparison
        if compared is None:
            return
        if self.precision == "fp32" and not compared.max_difference <= FP32_TOLERANCE:
            raise GateError(
                f"{self.bundle}: differs from {self.checkpoint} by {compared.max_difference:.1e}, expected at most 1e-4. "
                "Build it again."
            )
        allowed = allowed_label_changes(compared.texts, self.max_label_changes_percent)
        if compared.label_changes > allowed:
            raise GateError(
                f"{self.bundle}: {compared.label_changes} of {compared.texts} labels differ from those of {self.checkpoint}, "
                f"expected at most {allowed}. Give the checkpoint that the bundle was built from, or build it again."
            )


def verify(
    bundle: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    reading: ReadOptions | None = None,
    max_label_changes_percent: float = MAX_LABEL_CHANGES_PERCENT,
    padded_batches: bool = False,
    require_signature: str | os.PathLike[str] | None = None,
    signature: str | os.PathLike[str] | None = None,
    min_release: int = 0,
    providers: Sequence[str] = CPU_PROVIDERS,
    allow_fallback: bool = False,
    progress: Progress = no_progress,
) -> Verification:
    """Check every hash and run the self-test; optionally check the signature and compare with the checkpoint.

    Args:
        bundle: Bundle folder or packed bundle.
        data: With ``checkpoint``: a file of examples to compare the labels on.
        checkpoint: With ``data``: the checkpoint that the bundle was built from; needs torch.
        reading: How to read ``data``; recognised when None.
        max_label_changes_percent: Percent of labels, from 0 to 100, that may differ from the checkpoint's.
        padded_batches: Also run the self-test's texts together, in padded batches.
        require_signature: Public key (PEM) that must have signed the bundle.
        signature: File of the signature; None for ``NAME.sig`` next to the bundle.
        min_release: Smallest release number to accept.
        providers: Execution providers of onnxruntime, in order of preference.
        allow_fallback: Run on the CPU if a provider is not available.
        progress: Called with the stage, the steps done and their total.

    Returns:
        The results; call ``check`` to raise on a failed self-test or comparison.

    Examples:
        >>> from crosstune_export import verify
        >>> result = verify("support.bundle")
        >>> result.check()
        >>> result.selftest.passed
        True

    Raises:
        BundleError: The bundle is invalid.
        SignatureError: The signature is missing or wrong, or the release number is too small.
        ConfigError: Only one of ``data`` and ``checkpoint`` is given, ``signature`` is given without ``require_signature``, or
            the checkpoint has other labels.
        CheckpointError: The checkpoint is invalid.
        DataError: The examples cannot be read.
        MissingExtraError: A package is not installed: onnxruntime, model-signing or torch.
        ProviderError: A provider is not available and ``allow_fallback`` is off.
    """
    if (data is None) != (checkpoint is None):
        raise ConfigError(
            "verify: found one of --data and --checkpoint, expected both or neither. Give the other one too."
        )
    if signature is not None and require_signature is None:
        raise ConfigError(
            "verify: found --signature without --require-signature, expected both. Give the public key too."
        )
    files = read_bundle(bundle)  # once, so that what is checked is what is loaded
    signed = require_trusted(files, [] if require_signature is None else [require_signature], signature, min_release)
    classifier = Classifier(files, threads=1, providers=tuple(providers), allow_fallback=allow_fallback)
    selftest = classifier.selftest()
    padded = classifier.selftest(together=True) if padded_batches and selftest.passed else None
    passed = selftest.passed and (padded is None or padded.passed)
    comparison = None
    if data is not None and checkpoint is not None and passed:
        comparison = _compare(classifier, bundle, checkpoint, data, reading, progress)
    return Verification(
        bundle=str(bundle),
        digest=classifier.manifest.digest,
        precision=classifier.manifest.graph.precision,
        files=len(classifier.manifest.files) + 1,
        kernels=classifier.kernels,
        signature=signed,
        selftest=selftest,
        padded_selftest=padded,
        checkpoint=None if checkpoint is None else str(checkpoint),
        comparison=comparison,
        max_label_changes_percent=max_label_changes_percent,
    )


def _compare(
    classifier: Classifier,
    bundle: str | os.PathLike[str],
    checkpoint: str | os.PathLike[str],
    data: str | os.PathLike[str],
    reading: ReadOptions | None,
    progress: Progress,
) -> PredictionDifference:
    from crosstune import load_checkpoint  # which names the missing extra
    from crosstune.checkpoint import predict_proba
    from crosstune.data.readers import read_rows

    trained = load_checkpoint(checkpoint)
    text_pair = classifier.manifest.text_pair
    if (trained.labels.names, trained.text_pair) != (classifier.labels, text_pair):
        raise ConfigError(
            f"verify: {bundle} labels {_described(classifier.labels, text_pair)}, {checkpoint} "
            f"{_described(trained.labels.names, trained.text_pair)}, expected the same. "
            "Give the checkpoint that the bundle was built from; a bundle with edited labels cannot be compared."
        )
    texts = [example.content for example in read_rows(data, reading)]
    expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts, progress=progress)
    return _difference(classifier.predict_proba(texts), expected)


def _difference(probs: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> PredictionDifference:
    return PredictionDifference(
        texts=len(expected),
        batch_sizes=(1,),
        max_difference=float(np.abs(probs - expected).max()),
        label_changes=int((probs.argmax(1) != expected.argmax(1)).sum()),
    )


def _described(labels: tuple[str, ...], text_pair: bool) -> str:
    return f"{'pairs' if text_pair else 'texts'} as {', '.join(labels)}"
