"""Measure the latency of bundles from text to label, interleaved, so that noise affects all combinations alike."""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from crosstune.core.errors import ConfigError
from crosstune.core.progress import Progress, no_progress
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text, replace_surrogates
from crosstune_export.bench.processes import ColdStart, bundle_process, cold_starts
from crosstune_export.bundle.manifest import BundleManifest, manifest_bytes
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.session import check_threads

_WORDS = ("the parcel came late and the box was open so please tell me what to do with it now " * 40).split()
#: Timed calls per burst, after one untimed call that warms the caches. Chosen by hand: short enough to interleave.
BURST = 5
#: Tokens of the texts, as far as a bundle takes them.
USUAL_LENGTHS = (16, 32, 64, 128)
PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True)
class LatencyRow:
    """Measurements of one bundle at one combination of length, batch size and threads.

    Attributes:
        bundle: Name of the bundle folder.
        length_tokens: Tokens per text.
        batch_size: Texts per call.
        threads: Threads per session.
        p50_ms: Median latency of a call. Percentiles are interpolated; above 100 - 100 / calls they lie between the two
            slowest calls.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        mean_ms: Mean latency of a call.
        texts_per_s: Throughput at the mean latency.
        peak_rss_bytes: Largest resident memory of the bundle's processes.
        p95_ms: 95th percentile.
        p99_9_ms: 99.9th percentile.
        cpu_ms_per_text: Mean CPU time of all threads per text.
        calls: Number of timed calls.
        cold_start_ms: Median time from the start of a process to its first prediction, with this number of threads.
        cold_rss_bytes: Largest resident memory of these processes.
        size_bytes: Total size of the bundle's files.
        precision: Precision in the manifest.
        kernels: Kernels that ran: ``portable``, or the name of the fast ones.
        cv_accuracy: Accuracy on held-out folds in the manifest, from 0 to 1; None if not measured.
        samples_ms: Latency of each call in order; not in the JSON.
    """

    bundle: str
    length_tokens: int
    batch_size: int
    threads: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    texts_per_s: float
    peak_rss_bytes: int
    p95_ms: float
    p99_9_ms: float
    cpu_ms_per_text: float
    calls: int
    cold_start_ms: float
    cold_rss_bytes: int
    size_bytes: int
    precision: str
    kernels: str
    cv_accuracy: float | None
    samples_ms: tuple[float, ...] = field(repr=False)

    def to_json(self) -> dict[str, Json]:
        """Return the row as ``bench --json`` writes it."""
        return {name: value for name, value in asdict(self).items() if name != "samples_ms"}


@dataclass
class _Timing:
    """A combination of bundle, threads, length and batch size, with the wall and CPU seconds of its calls."""

    bundle: str
    threads: int
    length: int
    texts: list[Text]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def measure(
    bundles: Sequence[str],
    *,
    lengths: Sequence[int] | None = None,
    batch_sizes: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 100,
    seed: int = 13,
    progress: Progress = no_progress,
) -> list[LatencyRow]:
    """Time every combination of bundle, threads, length and batch size, in interleaved bursts and one process per bundle.

    Args:
        bundles: Bundle folders.
        lengths: Tokens per text with special tokens, from 3 to the maximum length of the bundle; when None, those of 16, 32, 64 and
            128 that every bundle takes.
        batch_sizes: Texts per call, at least 1.
        threads: Threads per session, 1 to 256.
        rounds: Timed calls of each combination, at least 1.
        seed: Random seed for the order of the combinations, which changes with every burst.
        progress: Called with the stage, the steps done and their total.

    Raises:
        ConfigError: A number is out of range.
        BundleError: A bundle is invalid.
        ResourceError: A measured process ended early.
    """
    for name, values in (
        ("lengths", USUAL_LENGTHS if lengths is None else lengths),
        ("batch_sizes", batch_sizes),
        ("threads", threads),
        ("rounds", (rounds,)),
    ):
        if not values or min(values) < 1:
            raise ConfigError(f"{name}: found {', '.join(map(str, values)) or 'none'}, expected numbers of at least 1.")
    check_threads("threads", max(threads))
    timings, manifests, kernels = [], {}, {}
    classifiers = {
        path: Classifier.load(path) for path in dict.fromkeys(bundles)
    }  # checks the bundles, and counts tokens
    if lengths is None:
        longest = min(classifier.manifest.tokens.max_length_tokens for classifier in classifiers.values())
        lengths = [length for length in USUAL_LENGTHS if length <= longest] or [longest]
    for path, classifier in classifiers.items():
        manifests[path], kernels[path] = classifier.manifest, classifier.kernels
        texts = {length: _text_of(classifier, length) for length in lengths}
        timings += [
            _Timing(path, count, length, [texts[length]] * size)
            for count, length, size in itertools.product(threads, lengths, batch_sizes)
        ]
    first_texts = {timing.bundle: timing.texts[0] for timing in reversed(timings)}
    cold = cold_starts(first_texts, threads, progress)
    peaks: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        workers = {path: stack.enter_context(bundle_process(path)) for path in manifests}
        for (path, ask), count in itertools.product(workers.items(), threads):
            ask({"load": path, "threads": count, "text": first_texts[path]})
        order, generator = list(timings), random.Random(seed)
        for done in range(0, rounds, BURST):
            progress("measure", done, rounds)
            generator.shuffle(order)
            for timing in order:
                calls = min(BURST, rounds - done)
                answer = workers[timing.bundle]({"threads": timing.threads, "texts": timing.texts, "calls": calls})
                timing.wall_s += answer["wall_s"]
                timing.cpu_s += answer["cpu_s"]
                peaks[timing.bundle] = answer["peak_rss_bytes"]
        progress("measure", rounds, rounds)
    names = bundle_names(list(manifests))
    return [
        _row(
            timing,
            names[timing.bundle],
            manifests[timing.bundle],
            kernels[timing.bundle],
            cold[timing.bundle, timing.threads],
            peaks[timing.bundle],
        )
        for timing in timings
    ]


def _row(
    timing: _Timing, name: str, manifest: BundleManifest, kernels: str, cold: ColdStart, peak_rss_bytes: int
) -> LatencyRow:
    accuracy = manifest.training_facts.cv_accuracy
    milliseconds, size = 1e3 * np.array(timing.wall_s), len(timing.texts)
    p50, p90, p95, p99, p99_9 = (float(value) for value in np.percentile(milliseconds, PERCENTILES))
    mean = float(milliseconds.mean())
    return LatencyRow(
        bundle=name,
        length_tokens=timing.length,
        batch_size=size,
        threads=timing.threads,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        texts_per_s=size / mean * 1e3,
        peak_rss_bytes=max(peak_rss_bytes, cold.peak_rss_bytes),
        p95_ms=p95,
        p99_9_ms=p99_9,
        cpu_ms_per_text=1e3 * float(np.mean(timing.cpu_s)) / size,
        calls=len(milliseconds),
        cold_start_ms=1e3 * cold.wall_s,
        cold_rss_bytes=cold.peak_rss_bytes,
        size_bytes=sum(entry.size_bytes for entry in manifest.files.values()) + len(manifest_bytes(manifest)),
        precision=manifest.graph.precision,
        kernels=kernels,
        cv_accuracy=accuracy if isinstance(accuracy, float) else None,
        samples_ms=tuple(milliseconds.tolist()),
    )


def bundle_names(paths: Sequence[str]) -> dict[str, str]:
    """Return a name for each bundle: the name of its folder, or its path if two folders have the same name."""
    names = [replace_surrogates(Path(path).name) for path in paths]
    return {
        path: name if names.count(name) == 1 else replace_surrogates(path)
        for path, name in zip(paths, names, strict=True)
    }


def _text_of(classifier: Classifier, length: int) -> Text:
    """Return the shortest text of English words with at least ``length`` tokens."""
    manifest = classifier.manifest
    if not 3 <= length <= manifest.tokens.max_length_tokens:
        raise ConfigError(
            f"lengths: found {length}, expected 3 to {manifest.tokens.max_length_tokens} tokens for this bundle."
        )
    for count in range(1, len(_WORDS)):
        words = " ".join(_WORDS[:count])
        text: Text = (words, "yes") if manifest.text_pair else words
        if len(classifier.token_ids([text])[0]) >= length:
            return text
    raise ConfigError(f"lengths: found {length}, expected at most {len(_WORDS)}, the words of the benchmark's text.")
