"""What outlives a bundle: limits, threads, counters, and which bundle answers now."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.types import ASGIApp

from crosstune_export import Classifier, CrossTuneError
from crosstune_export.bundle.files import read_manifest
from crosstune_export.serve.capacity import Admission
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.metrics import Metrics
from crosstune_export.serve.protocol import Doorway
from crosstune_export.serve.schema import RefusedBundle


class Desk:
    """The state of one server. All of it belongs to the event loop but ``load``, which may run in a thread."""

    def __init__(self, limits: ServeLimits, threads: int) -> None:
        self.limits = limits
        self.texts = Admission(limits.max_pending_texts, "texts")
        self.body_bytes = Admission(limits.max_buffered_bytes, "bytes of bodies")
        self.metrics = Metrics(self.texts)
        self.doorway = Doorway(limits, self.metrics.closed)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="classify")
        self.refused: RefusedBundle | None = None
        self.app: ASGIApp
        self.digest: str

    def take(self, classifier: Classifier, app: ASGIApp) -> None:
        """Let a bundle answer from now on; requests that are under way keep theirs."""
        self.app, self.digest, self.refused = app, classifier.manifest.digest, None
        self.metrics.bundle(classifier.manifest)

    def refuse(self, path: Path, error: Exception) -> None:
        """Keep the bundle that answers, and remember the one that does not."""
        self.refused = RefusedBundle(digest=_claimed_digest(path), error=type(error).__name__)


def load_checked(path: str | os.PathLike[str]) -> Classifier:
    """Load a bundle and run its self-test.

    Raises:
        BundleError: The bundle is refused.
        SelfTestError: Its samples do not come out as promised on this machine.
    """
    classifier = Classifier.load(path)
    classifier.selftest().check(str(path))
    return classifier


def _claimed_digest(path: Path) -> str | None:
    try:
        return read_manifest(path).digest
    except (OSError, CrossTuneError):
        return None
