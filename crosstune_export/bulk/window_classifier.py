"""The one function of a window: decode, classify, encode. Every engine runs just this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from crosstune.core.errors import DataError
from crosstune.core.token_layout import Text
from crosstune_export.bulk.decode import BadRow, Columns, Decoded, decode
from crosstune_export.bulk.encode import Answers, Encoder
from crosstune_export.bulk.windows import Window
from crosstune_export.bundle.files import BundleFiles
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction


@dataclass(frozen=True)
class WindowResult:
    """What became of a window.

    Attributes:
        encoded: Bytes to append to the output.
        rows: How many rows they hold.
        bad: The rows that are not among them.
        labels: How often each label was given; None counts the texts without one.
        prob_sums: The sum of ``prob`` for each of these.
        truncated: How many texts were longer than the backbone reads.
        digest: That of the window.
        read_bytes: As in the window.
    """

    encoded: bytes
    rows: int
    bad: tuple[BadRow, ...]
    labels: dict[str | None, int]
    prob_sums: dict[str | None, float]
    truncated: int
    digest: bytes
    read_bytes: int


@dataclass(frozen=True)
class WindowJob:
    """Everything that turns windows into results; goes to other processes as it is.

    Attributes:
        files: The bundle, already checked.
        columns: Which columns mean what.
        encoder: How to write answers.
        threshold: Probability below which no label is given; the bundle's own rule when None.
        batch_size: Texts in one run of the graph.
        threads: Threads of a session.
        providers: Execution providers, in order of preference.
        allow_fallback: Whether another provider will do.
        explain: Whether to say which words speak for which label: a run of the graph for each word.
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

    def load(self) -> WindowClassifier:
        """Build the session, in the process that is to run it."""
        classifier = Classifier(
            self.files, threads=self.threads, providers=self.providers, allow_fallback=self.allow_fallback
        )
        return WindowClassifier(self, classifier)


class WindowClassifier:
    """Classifies one window after another."""

    def __init__(self, job: WindowJob, classifier: Classifier) -> None:
        self._job, self._classifier = job, classifier

    def __call__(self, window: Window) -> WindowResult:
        """Everything that becomes of a window.

        Raises:
            DataError: A value does not fit into a Parquet output.
        """
        decoded, found = self._answered(window, decode(window, self._job.columns))
        answers = [item.prediction if isinstance(item, Explanation) else item for item in found]
        labels: Counter[str | None] = Counter(answer.label for answer in answers)
        sums = dict.fromkeys(labels, 0.0)
        for answer in answers:
            sums[answer.label] += answer.prob
        try:
            encoded = self._job.encoder.encode(decoded, found)
        except DataError as error:
            raise DataError(f"{window.source.name}: {error}") from error
        return WindowResult(
            encoded=encoded,
            rows=len(answers),
            bad=decoded.bad,
            labels=dict(labels),
            prob_sums=sums,
            truncated=sum(answer.truncated for answer in answers),
            digest=window.digest(),
            read_bytes=window.read_bytes,
        )

    def _answered(self, window: Window, decoded: Decoded) -> tuple[Decoded, Answers]:
        """Answers to all texts together; where that fails, one by one, to find the text that it fails for."""
        if not decoded.texts:
            return decoded, []
        try:
            return decoded, self._classify(decoded.texts)
        except DataError:
            answers: list[Prediction | Explanation] = []
            good: list[int] = []
            bad: list[BadRow] = []
            for index, text in enumerate(decoded.texts):
                try:
                    answers += self._classify([text])
                    good.append(index)
                except DataError as error:
                    reason = str(error).partition(": ")[2]  # without "texts[0]"
                    bad.append(BadRow(window.source.name, decoded.rows[index], reason))
            return decoded.take(good, bad), answers

    def _classify(self, texts: Sequence[Text]) -> Answers:
        job = self._job
        if job.explain:
            return [
                self._classifier.explain(text, batch_size=job.batch_size, threshold=job.threshold) for text in texts
            ]
        return self._classifier.classify(texts, batch_size=job.batch_size, threshold=job.threshold)
