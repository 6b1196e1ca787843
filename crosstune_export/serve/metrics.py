"""What ``/metrics`` shows, in a registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from crosstune_export.bundle.manifest import BundleManifest
from crosstune_export.serve.capacity import Admission

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server. Nothing a client sends becomes the value of a label."""

    def __init__(self, pending: Admission) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "crosstune_requests", "Requests that were answered.", ["endpoint", "status"], registry=registry
        )
        self._seconds = Histogram(
            "crosstune_request_seconds", "From the head of a request to the end of its answer.", ["endpoint"],
            registry=registry, buckets=_SECONDS,
        )  # fmt: skip
        self._texts = Counter("crosstune_texts", "Texts that were classified.", registry=registry)
        self._truncated = Counter(
            "crosstune_truncated_texts", "Of these, longer than the bundle reads.", registry=registry
        )
        self._no_label = Counter("crosstune_texts_without_label", "Of these, without a label.", registry=registry)
        Gauge("crosstune_pending_texts", "Texts that are accepted and not answered.", registry=registry).set_function(
            lambda: pending.pending
        )
        self._closed = Counter(
            "crosstune_closed_connections", "Connections cut off, by reason: full, receive, send.", ["reason"],
            registry=registry,
        )  # fmt: skip
        self._reloads = Counter("crosstune_reloads", "Reloads of the bundle.", ["outcome"], registry=registry)
        self._bundle = Info("crosstune_bundle", "The bundle that answers.", registry=registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """One request is done."""
        self._requests.labels(endpoint, status).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def classified(self, texts: int, truncated: int, without_label: int) -> None:
        """So many texts got an answer."""
        self._texts.inc(texts)
        self._truncated.inc(truncated)
        self._no_label.inc(without_label)

    def closed(self, reason: str) -> None:
        """A connection was cut off."""
        self._closed.labels(reason).inc()

    def reloaded(self, outcome: str) -> None:
        """A reload ended: "taken" or "refused"."""
        self._reloads.labels(outcome).inc()

    def bundle(self, manifest: BundleManifest) -> None:
        """This bundle answers from now on."""
        self._bundle.info({"digest": manifest.digest, "precision": manifest.graph.precision})

    def page(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self.registry)
