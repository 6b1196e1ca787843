"""The classifier that is loaded from a bundle."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import BundleContentError, DataError
from crosstune.core.texts import as_list, refuse_control_characters
from crosstune.core.token_layout import Text, TokenRow
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.bundle.manifest import SELFTEST_NAME, TOKENIZER_NAME, BundleManifest
from crosstune_export.bundle.selftest import SelfTestReport, read_selftest, run_selftest
from crosstune_export.bundle.signature import require_trusted
from crosstune_export.hub.pull import read_repository
from crosstune_export.runtime.batches import batches_in_order, batches_of_equal_length
from crosstune_export.runtime.explanation import Explanation, word_evidence
from crosstune_export.runtime.kernels import PORTABLE
from crosstune_export.runtime.prediction import (
    Prediction,
    check_min_similarity,
    check_threshold,
    decide,
    require_finite,
)
from crosstune_export.runtime.session import CPU_PROVIDERS, GraphSession, check_providers, check_threads, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Batch size of the padded self-test: the default batch size of ``classify``.
_SELFTEST_BATCH = 32


class Classifier:
    """Labels texts with a bundle. It is thread-safe, works after a fork, and pickles with the whole bundle.

    Examples:
        >>> from crosstune_export import Classifier
        >>> classifier = Classifier.load("support.bundle")
        >>> [prediction.label for prediction in classifier.classify(["where is my parcel?"])]
        ['shipping']
    """

    def __init__(
        self, files: BundleFiles, *, threads: int, providers: Sequence[str], allow_fallback: bool, kernels: str = "auto"
    ) -> None:
        self._files = files
        self._how: dict[str, Any] = {"threads": threads, "allow_fallback": allow_fallback, "kernels": kernels}
        self._how["providers"] = check_providers(providers)
        self._tokenizer = TextTokenizer(
            files.tokenizer, files.manifest.tokens, files.manifest.text_pair, str(files.path / TOKENIZER_NAME)
        )
        self._lock = threading.Lock()
        self._session = self._open()
        self._all_layers: GraphSession | None = None  # without early exits, opened when it is needed
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

    def __repr__(self) -> str:
        manifest = self.manifest
        return f"Classifier({manifest.name!r}, {len(self.labels)} labels, {manifest.graph.precision})"

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(type(self), **self._how), (self._files,)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int = 1,
        providers: Sequence[str] = CPU_PROVIDERS,
        allow_fallback: bool = False,
        kernels: str = "auto",
        trusted: Sequence[str | os.PathLike[str]] = (),
        signature: str | os.PathLike[str] | None = None,
    ) -> Classifier:
        """Read and check a bundle, and create a session.

        Args:
            path: Bundle folder, or a file written by ``crosstune-export pack``.
            threads: Threads per run of the graph, 1 to 256; 1 is fastest for single short texts.
            providers: Execution providers of onnxruntime, in order of preference.
            allow_fallback: Run on another provider if the first one is not available.
            kernels: ``auto`` (the fast kernels of crosstune-kernels where this processor and this bundle have them),
                ``portable`` (onnxruntime's), ``fast`` (an error where the fast ones cannot run) or ``plain`` (a slow reference
                with the bits of the fast ones). The environment variable ``CROSSTUNE_KERNELS`` replaces ``auto``.
            trusted: Public keys (PEM), one of which must have signed the bytes that are loaded; none requires no signature.
            signature: File of the signature; None for ``NAME.sig`` next to the bundle.

        Raises:
            BundleError: The bundle is invalid; the message names the file and the reason.
            SignatureError: None of the ``trusted`` keys has signed the bundle.
            MissingExtraError: onnxruntime is not installed, or kernels that were asked for cannot run.
            ProviderError: The first provider is not available and ``allow_fallback`` is off.
            ConfigError: ``threads`` is out of range, ``providers`` is empty or a string, or there are no such kernels.
            ResourceError: There is too little memory.
        """
        files = read_bundle(path)
        require_trusted(files, trusted, signature)
        return cls(
            files,
            threads=check_threads("threads", threads),
            providers=providers,
            allow_fallback=allow_fallback,
            kernels=kernels,
        )

    @classmethod
    def from_pretrained(
        cls,
        repo: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        digest: str | None = None,
        threads: int = 1,
        providers: Sequence[str] = CPU_PROVIDERS,
        allow_fallback: bool = False,
        kernels: str = "auto",
        trusted: Sequence[str | os.PathLike[str]] = (),
    ) -> Classifier:
        """Download a bundle from a model hub into its cache, check it as ``load`` does, and create a session.

        Args:
            repo: Repository, ``owner/name``, on the hub of ``HF_ENDPOINT``; by default https://huggingface.co.
            revision: Branch, tag or commit; None for ``main``.
            token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``, if any.
            digest: The bundle's digest (64 hex digits), as ``crosstune-export verify`` prints it; None for any.
            threads: As for ``load``, like all that follow.
            providers: As for ``load``.
            allow_fallback: As for ``load``.
            kernels: As for ``load``.
            trusted: As for ``load``; the signature is that of the repository.

        Raises:
            BundleError: There is no valid bundle in the repository, or one with another digest.
            SignatureError: None of the ``trusted`` keys has signed the bundle.
            ConfigError: The repository, the revision or the permission is missing; or as for ``load``.
            ResourceError: The hub cannot be reached, or there is too little memory.
            MissingExtraError: huggingface_hub is not installed; or as for ``load``, like every ProviderError.
        """
        check_threads("threads", threads)
        pulled = read_repository(repo, revision=revision, token=token, digest=digest)
        require_trusted(pulled.files, trusted, pulled.signature if trusted else None)
        return cls(pulled.files, threads=threads, providers=providers, allow_fallback=allow_fallback, kernels=kernels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The L label names, in the column order of probabilities."""
        return self._files.manifest.label_names

    @property
    def manifest(self) -> BundleManifest:
        """The manifest of the bundle."""
        return self._files.manifest

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that the session runs on."""
        return self._session.providers

    @property
    def kernels(self) -> str:
        """Kernels that run: ``portable`` for onnxruntime's, or the name of the fast ones, such as ``avx512``."""
        return self._session.kernels

    @property
    def kernels_reason(self) -> str:
        """Why the fast kernels do not run, such as ``the graph was built without them``; empty if they do."""
        return self.manifest.no_fast_kernels or self._session.kernels_reason

    def classify(
        self,
        texts: Sequence[Text],
        *,
        batch_size: int = 32,
        threshold: float | None = None,
        min_similarity: float | None = None,
    ) -> list[Prediction]:
        """Label texts.

        Args:
            texts: N strings, or N pairs of strings if the bundle classifies pairs; a list, an array (N, 1), or a column.
            batch_size: Texts per run of the graph, at least 1.
            threshold: Probability (0 to 1) below which a text gets no label; None for the threshold in the bundle.
            min_similarity: Similarity (-1 to 1) to the training texts below which a text gets no label; None for the one in
                the bundle.

        Returns:
            N predictions, in the order of the texts.

        Raises:
            DataError: An item is not a text or has a control character, ``texts`` is a mapping or a table of several columns, an
                argument is out of range, or a probability is not finite.
            ConfigError: ``min_similarity`` is given, and the bundle measures no similarity.
            BundleContentError: The graph fails.
        """
        return self._decided(self._rows(texts, batch_size), batch_size, threshold, min_similarity)

    def _decided(
        self,
        rows: Sequence[TokenRow],
        batch_size: int,
        threshold: float | None,
        min_similarity: float | None,
        *,
        all_layers: bool = False,
    ) -> list[Prediction]:
        threshold = check_threshold(self._files.manifest.threshold if threshold is None else threshold)
        has_similarity = "scope" in self.manifest.graph.outputs
        min_similarity = check_min_similarity(
            self.manifest.min_similarity if min_similarity is None else min_similarity, has_similarity
        )
        probs, _, similarity = self._predict(rows, batch_size, all_layers=all_layers)
        return decide(probs, [row.truncated for row in rows], self.labels, threshold, similarity, min_similarity)

    def predict(
        self,
        texts: Sequence[Text],
        *,
        batch_size: int = 32,
        threshold: float | None = None,
        min_similarity: float | None = None,
    ) -> list[str | None]:
        """Return the label of each text, or None for no label; arguments and errors as for ``classify``."""
        predictions = self.classify(texts, batch_size=batch_size, threshold=threshold, min_similarity=min_similarity)
        return [prediction.label for prediction in predictions]

    def predict_proba(self, texts: Sequence[Text], *, batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Return probabilities, float32 (N, L), with columns in the order of ``labels``.

        Raises:
            DataError: An item is not a text, ``batch_size`` is out of range, or a probability is not finite.
            BundleContentError: The graph fails.
        """
        probs = self._predict(self._rows(texts, batch_size), batch_size)[0]
        require_finite(probs)
        return probs

    def text_vectors(self, texts: Sequence[Text], *, batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Return the text vectors that the head compares with the label keys, float32 (N, F); no text leaves early.

        Raises:
            DataError: An item is not a text, or ``batch_size`` is out of range.
            BundleContentError: The graph fails.
        """
        return self._predict(self._rows(texts, batch_size), batch_size, all_layers=True)[1]

    def explain(
        self,
        text: Text,
        *,
        batch_size: int = 32,
        threshold: float | None = None,
        min_similarity: float | None = None,
    ) -> Explanation:
        """Label one text, and compute the evidence of each word for each label.

        The graph runs once without each word, so a text of W words needs W + 1 runs. All of them run all layers.

        Args:
            text: A string, or a pair of strings if the bundle classifies pairs.
            batch_size: As for ``classify``.
            threshold: As for ``classify``.
            min_similarity: As for ``classify``.

        Raises:
            DataError: The input is not a text, an argument is out of range, or a probability is not finite.
            ConfigError: ``min_similarity`` is given, and the bundle measures no similarity.
            BundleContentError: The graph fails.
        """
        rows = self._rows([text], batch_size)
        [prediction] = self._decided(rows, batch_size, threshold, min_similarity, all_layers=True)
        words = self._tokenizer.words(text)
        evidence = word_evidence(
            rows[0], words, prediction.probs, lambda without: self._predict(without, batch_size, all_layers=True)[0]
        )
        return Explanation(prediction, evidence, self.manifest.text_pair)

    def explain_tokens(self, text: Text) -> int:
        """Return how many tokens the graph reads for an explanation: those of the text, once for each word.

        Raises:
            DataError: The input is not a text.
        """
        words = [word for word in self._tokenizer.words(text) if word.tokens]
        return (len(words) + 1) * len(self._tokenizer.rows([text])[0].ids)

    def token_ids(self, texts: Sequence[Text]) -> list[tuple[int, ...]]:
        """Return the token ids of each text, with special ids and without padding.

        Raises:
            DataError: An item is not a text.
        """
        return [row.ids for row in self._tokenizer.rows(as_list(texts))]

    def selftest(self, *, together: bool = False) -> SelfTestReport:
        """Run the self-test of the bundle on this machine.

        Args:
            together: Run the samples in padded batches instead of one by one.

        Raises:
            BundleContentError: The self-test is invalid, or the graph fails.
        """
        tolerance, samples = read_selftest(
            self._files.selftest, str(self._files.path / SELFTEST_NAME), self.manifest.graph.precision
        )
        padded: dict[TokenRow, npt.NDArray[np.float32]] = {}
        if together:
            rows = self._tokenizer.rows([sample.text for sample in samples])
            for start in range(0, len(rows), _SELFTEST_BATCH):
                chunk = rows[start : start + _SELFTEST_BATCH]
                padded.update(
                    zip(chunk, self._current_session().run(self._tokenizer.batch(chunk).feeds())[0], strict=True)
                )
        return run_selftest(
            tolerance,
            samples,
            lambda text: self._tokenizer.rows([text])[0],
            padded.__getitem__ if together else lambda row: self._predict([row], 1)[0][0],
        )

    def _open(self, *, all_layers: bool = False) -> GraphSession:
        return open_session(
            without_exits(self._files.model) if all_layers else self._files.model,
            self._files.manifest.graph,
            str(self._files.path),
            longest=self._files.manifest.tokens.max_length_tokens,
            **self._how,
        )

    def _session_for(self, *, all_layers: bool) -> GraphSession:
        """Return the session, or one whose early exits are closed."""
        session = self._current_session()
        if not all_layers or self.manifest.exits is None:
            return session
        with self._lock:
            if self._all_layers is None:
                self._all_layers = self._open(all_layers=True)
            return self._all_layers

    def _current_session(self) -> GraphSession:
        """Return the session, or a new one after a fork, because an inherited one crashes."""
        if self._session_pid != os.getpid():
            with self._lock:
                if self._session_pid != os.getpid():
                    self._inherited = self._session, self._all_layers  # kept alive, because destroying them crashes too
                    self._session, self._all_layers = self._open(), None
                    self._session_pid = os.getpid()
        return self._session

    def _rows(self, texts: Sequence[Text], batch_size: int) -> list[TokenRow]:
        if batch_size < 1:
            raise DataError(f"batch_size: found {batch_size}, expected at least 1.")
        checked = as_list(texts)
        refuse_control_characters(checked)
        return self._tokenizer.rows(checked)

    def _predict(
        self, rows: Sequence[TokenRow], batch_size: int, *, all_layers: bool = False
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        graph = self.manifest.graph
        probs, vectors = (
            np.empty((len(rows), size), np.float32) for size in (len(self.labels), graph.text_vector_size)
        )
        similarity = np.empty(len(rows), np.float32) if "scope" in graph.outputs else None
        session = self._session_for(all_layers=all_layers)
        batches = batches_of_equal_length if session.kernels == PORTABLE else batches_in_order
        for chunk in batches(rows, batch_size):
            batch = self._tokenizer.batch([rows[i] for i in chunk])
            chunk_probs, features, chunk_similarity = session.run(batch.feeds())
            if chunk_probs.shape != (len(chunk), len(self.labels)) or features.shape != (len(chunk), vectors.shape[1]):
                raise BundleContentError(
                    f"{self._files.path}: the graph gives {chunk_probs.shape} probs and {features.shape} text_vector, expected "
                    f"{(len(chunk), len(self.labels))} and {(len(chunk), vectors.shape[1])}. Build the bundle again."
                )
            probs[chunk], vectors[chunk] = chunk_probs, features
            if similarity is not None:
                similarity[chunk] = chunk_similarity
        return probs, vectors, similarity
