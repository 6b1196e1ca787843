"""Decode, classify and encode one window; every engine runs this function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from crosstune.core.errors import DataError
from crosstune.core.token_layout import Text
from crosstune.rows.window import Window
from crosstune_export.bulk.decode import BadRow, Columns, Decoded, decode
from crosstune_export.bulk.encode import Encoder, Predictions
from crosstune_export.bundle.files import BundleFiles
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction


@dataclass(frozen=True)
class WindowResult:
    """Result of a window.

    Attributes:
        encoded: Bytes to append to the output.
        rows: Number of rows in ``encoded``.
        bad: Bad rows, which are not in ``encoded``.
        labels: Number of texts per label; the key None counts texts without a label.
        prob_sums: Sum of ``prob`` over the texts of each key of ``labels``.
        truncated: Number of texts that were truncated to the maximum length.
        unlike: Number of texts that look unlike the training texts; None if the bundle does not say how similar those are.
        digest: SHA-256 of the window.
        read_bytes: See ``Window.read_bytes``.
    """

    encoded: bytes
    rows: int
    bad: tuple[BadRow, ...]
    labels: dict[str | None, int]
    prob_sums: dict[str | None, float]
    truncated: int
    unlike: int | None
    digest: bytes
    read_bytes: int


@dataclass(frozen=True)
class WindowJob:
    """How to classify windows; is pickled for other processes.

    Attributes:
        files: The checked bundle.
        columns: Roles of the columns.
        encoder: Writes the results.
        threshold: Probability (0 to 1) below which a text gets no label; None for the threshold in the bundle.
        batch_size: Texts per run of the graph.
        threads: Threads per session.
        providers: Execution providers, in order of preference.
        allow_fallback: Run on the CPU if a provider is not available.
        explain: Add the evidence of each word for each label; runs the graph once per word.
        min_similarity: Similarity (-1 to 1) below which a text gets no label; None for the one in the bundle.
    """

    files: BundleFiles = field(repr=False)
    columns: Columns
    encoder: Encoder
    threshold: float | None
    batch_size: int
    threads: int
    providers: tuple[str, ...]
    allow_fallback: bool
    explain: bool = False
    min_similarity: float | None = None

    @property
    def usual_similarity(self) -> float | None:
        """Similarity below which a text looks unlike the training texts; None if nothing says it."""
        manifest = self.files.manifest
        chosen = manifest.min_similarity if self.min_similarity is None else self.min_similarity
        return manifest.training_facts.usual_similarity if chosen is None else chosen

    def load(self) -> WindowClassifier:
        """Load the bundle in the process that will classify.

        Raises:
            BundleError: The bundle is damaged.
            ConfigError: A provider is not available and ``allow_fallback`` is off.
        """
        classifier = Classifier(
            self.files, threads=self.threads, providers=self.providers, allow_fallback=self.allow_fallback
        )
        return WindowClassifier(self, classifier)


class WindowClassifier:
    """Classifies windows with one session."""

    def __init__(self, job: WindowJob, classifier: Classifier) -> None:
        self._job, self._classifier = job, classifier
        self._usual = job.usual_similarity
        self._rule: dict[str, Any] = {
            "batch_size": job.batch_size,
            "threshold": job.threshold,
            "min_similarity": job.min_similarity,
        }

    def __call__(self, window: Window) -> WindowResult:
        """Decode, classify and encode a window.

        Raises:
            DataError: A value does not have the type of its column in a Parquet output.
        """
        decoded, results = self._classify_rows(window, decode(window, self._job.columns))
        predictions = [item.prediction if isinstance(item, Explanation) else item for item in results]
        labels: Counter[str | None] = Counter(prediction.label for prediction in predictions)
        sums = dict.fromkeys(labels, 0.0)
        for prediction in predictions:
            sums[prediction.label] += prediction.prob
        try:
            encoded = self._job.encoder.encode(decoded, results)
        except DataError as error:
            raise DataError(f"{window.source.name}: {error}") from error
        return WindowResult(
            encoded=encoded,
            rows=len(predictions),
            bad=decoded.bad,
            labels=dict(labels),
            prob_sums=sums,
            truncated=sum(prediction.truncated for prediction in predictions),
            unlike=self._unlike(predictions),
            digest=window.digest(),
            read_bytes=window.read_bytes,
        )

    def _unlike(self, predictions: Sequence[Prediction]) -> int | None:
        if self._usual is None:
            return None
        return sum(item.similarity is not None and item.similarity < self._usual for item in predictions)

    def _classify_rows(self, window: Window, decoded: Decoded) -> tuple[Decoded, Predictions]:
        """Classify all texts together; if that fails, classify them one by one to find the bad ones."""
        if not decoded.texts:
            return decoded, []
        try:
            return decoded, self._classify(decoded.texts)
        except DataError:
            results: list[Prediction | Explanation] = []
            good: list[int] = []
            bad: list[BadRow] = []
            for index, text in enumerate(decoded.texts):
                try:
                    results += self._classify([text])
                    good.append(index)
                except DataError as error:
                    reason = str(error).partition(": ")[2]  # without "texts[0]"
                    bad.append(BadRow(window.source.name, decoded.rows[index], reason))
            return decoded.take(good, bad), results

    def _classify(self, texts: Sequence[Text]) -> Predictions:
        if self._job.explain:
            return [self._classifier.explain(text, **self._rule) for text in texts]
        return self._classifier.classify(texts, **self._rule)
