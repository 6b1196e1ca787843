"""The classifier that users load from a bundle."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import BundleContentError, DataError
from crosstune.core.token_layout import Text, TokenRow
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.manifest import SELFTEST_NAME, TOKENIZER_NAME, BundleManifest
from crosstune_export.bundle.selftest import SelfTestReport, read_selftest, run_selftest
from crosstune_export.runtime.explanation import Explanation, word_evidence
from crosstune_export.runtime.prediction import Prediction, check_threshold, decide, require_finite
from crosstune_export.runtime.session import CPU_PROVIDERS, GraphSession, check_providers, check_threads, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Samples of the self-test that are padded together.
_SELFTEST_BATCH = 32


class Classifier:
    """Labels texts with a bundle. Safe to share between threads, and usable after a fork; a pickle of it holds the bundle.

    Example:
        >>> from crosstune_export import Classifier
        >>> classifier = Classifier.load("support.bundle")
        >>> [answer.label for answer in classifier.classify(["where is my parcel?"])]
        ['shipping']
    """

    def __init__(self, files: BundleFiles, *, threads: int, providers: Sequence[str], allow_fallback: bool) -> None:
        self._files = files
        self._threads, self._wanted, self._allow_fallback = threads, check_providers(providers), allow_fallback
        self._tokenizer = TextTokenizer(
            files.tokenizer, files.manifest.tokens, files.manifest.text_pair, str(files.path / TOKENIZER_NAME)
        )
        self._lock = threading.Lock()
        self._session = self._open()
        self._session_pid = os.getpid()
        if self._session.label_count not in (None, len(self.labels)):
            raise BundleContentError(
                f"{files.path}: probs has {self._session.label_count} columns, expected {len(self.labels)}, one per label. "
                "Build the bundle again."
            )
        if self._tokenizer.largest_id >= self._session.vocabulary_size:
            raise BundleContentError(
                f"{files.path / TOKENIZER_NAME}: has the id {self._tokenizer.largest_id}, expected ids below "
                f"{self._session.vocabulary_size}. Build the bundle again."
            )

    def __reduce__(self) -> tuple[object, ...]:
        return _from_files, (type(self), self._files, self._threads, self._wanted, self._allow_fallback)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU_PROVIDERS,
        allow_fallback: bool = False,
    ) -> Classifier:
        """Read a bundle, check every byte of it, and make it ready.

        Args:
            path: The bundle: a folder, or the one file that ``crosstune-export pack`` makes of it.
            threads: Threads inside one run of the graph; 1 is fastest for single short texts.
            providers: onnxruntime execution providers; the first must be the one that runs.
            allow_fallback: Run on another provider when the first one is not to be had.

        Raises:
            BundleError: The bundle is refused; the message says which file and why.
            MissingExtraError: onnxruntime is not installed.
            ProviderError: A provider asked for is not there.
            ConfigError: ``threads`` is not from 1 to 256, or no provider is asked for.
        """
        return cls(
            read_bundle(path),
            threads=check_threads("threads", threads),
            providers=providers,
            allow_fallback=allow_fallback,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the column order of probabilities."""
        return self._files.manifest.label_names

    @property
    def manifest(self) -> BundleManifest:
        """Everything the bundle says of itself."""
        return self._files.manifest

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that the session really runs on."""
        return self._session.providers

    def classify(
        self, texts: Sequence[Text], *, batch_size: int = 32, threshold: float | None = None
    ) -> list[Prediction]:
        """Label texts.

        Args:
            texts: N strings, or N pairs of strings where the bundle classifies pairs.
            batch_size: Texts in one run of the graph, at least 1.
            threshold: Probability below which no label is given; the bundle's own rule when None.

        Returns:
            N answers, in the order of the texts.

        Raises:
            DataError: An item is not a text, or ``batch_size`` or ``threshold`` is out of range.
        """
        rule = check_threshold(self._files.manifest.threshold if threshold is None else threshold)
        rows = self._rows(texts, batch_size)
        probs, _, scope = self._predict(rows, batch_size)
        limit = self._files.manifest.scope_threshold
        return decide(probs, [row.truncated for row in rows], self.labels, rule, scope, limit)

    def predict_proba(self, texts: Sequence[Text], *, batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Probabilities, float32 of shape (N, L), columns in the order of ``labels``.

        Raises:
            DataError: An item is not a text, ``batch_size`` is out of range, or a row is not finite.
        """
        probs = self._predict(self._rows(texts, batch_size), batch_size)[0]
        require_finite(probs)
        return probs

    def text_vectors(self, texts: Sequence[Text], *, batch_size: int = 32) -> npt.NDArray[np.float32]:
        """The features that meet the label keys, float32 of shape (N, F).

        Raises:
            DataError: An item is not a text, or ``batch_size`` is out of range.
        """
        return self._predict(self._rows(texts, batch_size), batch_size)[1]

    def explain(self, text: Text, *, batch_size: int = 32, threshold: float | None = None) -> Explanation:
        """Label one text and say which of its words speak for which label.

        Each word is left out once, so a text of W words costs W + 1 runs of the graph.

        Args:
            text: A string, or a pair of strings where the bundle classifies pairs.
            batch_size: As for ``classify``.
            threshold: As for ``classify``.

        Raises:
            DataError: The input is not a text, or ``batch_size`` or ``threshold`` is out of range.
        """
        answer = self.classify([text], batch_size=batch_size, threshold=threshold)[0]
        row = self._tokenizer.rows([text])[0]
        words = self._tokenizer.words(text)
        found = word_evidence(row, words, answer.probs, lambda rows: self._predict(rows, batch_size)[0])
        return Explanation(answer, found, self.manifest.text_pair)

    def token_ids(self, texts: Sequence[Text]) -> list[tuple[int, ...]]:
        """The ids that the graph sees for each text, special ids included, not padded.

        Raises:
            DataError: An item is not a text.
        """
        return [row.ids for row in self._rows(texts, 1)]

    def selftest(self, *, together: bool = False) -> SelfTestReport:
        """Run the bundle's own samples on this machine, each alone or, ``together``, in padded batches as other runtimes may."""
        tolerance, samples = read_selftest(self._files.selftest, str(self._files.path / SELFTEST_NAME))
        answers: dict[TokenRow, npt.NDArray[np.float32]] = {}
        if together:
            rows = self._tokenizer.rows([sample.text for sample in samples])
            for start in range(0, len(rows), _SELFTEST_BATCH):
                chunk = rows[start : start + _SELFTEST_BATCH]
                answers.update(
                    zip(chunk, self._own_session().run(self._tokenizer.batch(chunk).feeds())[0], strict=True)
                )
        return run_selftest(
            tolerance,
            samples,
            lambda text: self._tokenizer.rows([text])[0],
            answers.__getitem__ if together else lambda row: self._predict([row], 1)[0][0],
        )

    def _open(self) -> GraphSession:
        return open_session(
            self._files.model,
            self._files.manifest.graph,
            str(self._files.path),
            threads=self._threads,
            providers=self._wanted,
            allow_fallback=self._allow_fallback,
        )

    def _own_session(self) -> GraphSession:
        """The session of this process: one inherited across a fork would crash, so it is made anew."""
        if self._session_pid != os.getpid():
            with self._lock:
                if self._session_pid != os.getpid():
                    self._inherited = self._session  # never destroyed in the child: that is what crashes
                    self._session = self._open()
                    self._session_pid = os.getpid()
        return self._session

    def _rows(self, texts: Sequence[Text], batch_size: int) -> list[TokenRow]:
        if isinstance(texts, str):
            raise DataError("texts: found a string, expected a list of strings.")
        if batch_size < 1:
            raise DataError(f"batch_size: found {batch_size}, expected at least 1.")
        return self._tokenizer.rows(texts)

    def _predict(
        self, rows: Sequence[TokenRow], batch_size: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        manifest = self._files.manifest
        probs = np.empty((len(rows), len(manifest.labels)), np.float32)
        vectors = np.empty((len(rows), manifest.graph.text_vector_size), np.float32)
        scope = np.empty(len(rows), np.float32) if "scope" in manifest.graph.outputs else None
        session = self._own_session()
        for chunk in _of_equal_length(rows, batch_size):
            batch = self._tokenizer.batch([rows[i] for i in chunk])
            found, features, near = session.run(batch.feeds())
            if found.shape != (len(chunk), len(self.labels)) or features.shape != (len(chunk), vectors.shape[1]):
                raise BundleContentError(
                    f"{self._files.path}: the graph gives {found.shape} probs and {features.shape} text_vector, expected "
                    f"{(len(chunk), len(self.labels))} and {(len(chunk), vectors.shape[1])}. Build the bundle again."
                )
            probs[chunk], vectors[chunk] = found, features
            if scope is not None:
                scope[chunk] = near
        return probs, vectors, scope


def _from_files(
    kind: type[Classifier], files: BundleFiles, threads: int, providers: Sequence[str], allow_fallback: bool
) -> Classifier:
    return kind(files, threads=threads, providers=providers, allow_fallback=allow_fallback)


def _of_equal_length(rows: Sequence[TokenRow], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of one length each: nothing is spent on padding, and no text's answer depends on it."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row.ids), []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
