"""The metrics of one server, in a Prometheus registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from crosstune_export.bundle.manifest import BundleManifest
from crosstune_export.serve.capacity import Capacity

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one server. Nothing that a client sends becomes the value of a metric label."""

    def __init__(self, pending_texts: Capacity) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "crosstune_requests", "Requests by endpoint and status.", ["endpoint", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "crosstune_request_seconds", "From the head of a request to the end of its response.", ["endpoint"],
            registry=registry, buckets=_BUCKETS_S,
        )  # fmt: skip
        self._texts = Counter("crosstune_texts", "Texts that were classified.", registry=registry)
        self._truncated = Counter(
            "crosstune_truncated_texts", "Classified texts that were truncated.", registry=registry
        )
        self._abstained = Counter(
            "crosstune_texts_without_label", "Classified texts that got no label.", registry=registry
        )
        Gauge("crosstune_pending_texts", "Texts queued or running.", registry=registry).set_function(
            lambda: pending_texts.pending
        )
        self._reloads = Counter("crosstune_reloads", "Reloads of the bundle.", ["outcome"], registry=registry)
        self._bundle = Info("crosstune_bundle", "The bundle that is served.", registry=registry)

    def count_request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request that is done."""
        self._requests.labels(endpoint, status).inc()
        self._request_seconds.labels(endpoint).observe(seconds)

    def count_texts(self, texts: int, truncated: int, abstained: int) -> None:
        """Count classified texts."""
        self._texts.inc(texts)
        self._truncated.inc(truncated)
        self._abstained.inc(abstained)

    def count_reload(self, outcome: str) -> None:
        """Count a reload: "taken" or "refused"."""
        self._reloads.labels(outcome).inc()

    def set_bundle(self, manifest: BundleManifest) -> None:
        """Show this bundle as the one that is served."""
        self._bundle.info({"digest": manifest.digest, "precision": manifest.graph.precision})

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
