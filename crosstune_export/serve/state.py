"""The state of one server: limits, worker threads, counters, and the bundle that is served."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from crosstune.core.errors import CrossTuneError
from crosstune_export.bundle.files import read_manifest
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.serve.capacity import Capacity
from crosstune_export.serve.fair_pool import FairPool
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.metrics import Metrics
from crosstune_export.serve.schema import RefusedBundle


@dataclass(frozen=True)
class Trust:
    """Whose bundles are served.

    Attributes:
        keys: Public keys (PEM), one of which must have signed the bundle; none requires no signature.
        signature: File of the signature; None for ``NAME.sig`` next to the bundle.
    """

    keys: tuple[Path, ...] = ()
    signature: Path | None = None


@dataclass(frozen=True)
class ServedBundle:
    """A bundle that answers requests.

    Attributes:
        app: Its routes.
        digest: Its digest.
        refused: The last reload, if it was refused.
    """

    app: ASGIApp
    digest: str
    refused: RefusedBundle | None = None


class ServerState:
    """The state of one server. A reload replaces ``served``, in one assignment, so it may run in a thread of its own.

    Attributes:
        limits: Limits and timeouts.
        cors: Origins of pages that may call the server from a browser; ``*`` is every one.
        min_similarity: Similarity below which a text gets no label; None for the one in the bundle.
        pending_texts: Texts queued or running.
        buffered_bytes: Bytes of bodies that are being received.
        metrics: What ``/metrics`` shows.
        pool: The threads that classify, which clients use in turn.
        pending_explain_tokens: Tokens that explanations will run.
        explain_pool: The one thread that explains, so that explanations never keep classification waiting.
        hosts: Names in the Host header that are answered; None for any. On loopback, another name is a web page that was
            opened in a browser on this machine and whose name was made to point here.
        overrun: Called when a request ran longer than ``run_timeout_s``.
        open_requests: Requests that are not answered yet.
        draining: Whether the server is shutting down.
        served: The bundle that answers.
    """

    served: ServedBundle

    def __init__(
        self, limits: ServeLimits, threads: int, min_similarity: float | None = None, cors: Sequence[str] = ()
    ) -> None:
        self.limits = limits
        self.min_similarity = min_similarity
        self.cors = tuple(cors)
        self.pending_texts = Capacity(limits.max_pending_texts, "texts")
        self.buffered_bytes = Capacity(limits.max_buffered_bytes, "bytes of bodies")
        self.metrics = Metrics(self.pending_texts)
        self.pool = FairPool(threads, "classify", limits.run_timeout_s)
        self.pending_explain_tokens = Capacity(limits.max_pending_explain_tokens, "tokens of explanations")
        self.explain_pool = FairPool(1, "explain", limits.run_timeout_s)
        self.overrun: Callable[[], None] = lambda: None
        self.hosts: frozenset[str] | None = None
        self.open_requests = 0
        self.draining = False

    def set_bundle(self, classifier: Classifier, app: ASGIApp) -> None:
        """Serve a bundle from now on; requests in flight keep the one that they started with."""
        if self.cors:
            app = CORSMiddleware(
                app,
                allow_origins=self.cors,
                allow_methods=("GET", "POST"),
                allow_headers=("content-type", "x-request-id"),
                expose_headers=("x-request-id", "retry-after"),
            )
        self.served = ServedBundle(app, classifier.manifest.digest)
        self.metrics.set_bundle(classifier.manifest)

    def refuse_bundle(self, path: Path, error: Exception) -> None:
        """Keep the bundle that is served, and remember which one was refused."""
        refused = RefusedBundle(digest=_declared_digest(path), error=type(error).__name__)
        self.served = dataclasses.replace(self.served, refused=refused)


def load_checked(path: str | os.PathLike[str], trust: Trust) -> Classifier:
    """Load a bundle, with the signature that is required, and run its self-test.

    Raises:
        BundleError: The bundle is refused.
        SelfTestError: Its samples give other results on this machine.
    """
    classifier = Classifier.load(path, trusted=trust.keys, signature=trust.signature)
    classifier.selftest().check(str(path))
    return classifier


def _declared_digest(path: Path) -> str | None:
    try:
        return read_manifest(path).digest
    except (OSError, CrossTuneError):
        return None
