"""Latency of bundles, text in to label out: all variants interleaved, so that a noisy moment hits each alike."""

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
#: Measured calls of a variant in a row, after one that warms the caches.
BURST = 5
PERCENTILES = (50, 90, 95, 99, 99.9)


@dataclass(frozen=True)
class LatencyRow:
    """Figures of one bundle at one setting; milliseconds a call unless the name says otherwise.

    Attributes:
        bundle: Its folder's name.
        length_tokens: Tokens of each text.
        batch_size: Texts a call.
        threads: Threads of the session.
        p50_ms: And the other percentiles, interpolated; one beyond 100 - 100 / calls lies between the two slowest calls.
        mean_ms: Mean over the calls.
        texts_per_s: Texts a second at that mean.
        peak_rss_bytes: Largest memory of the bundle's processes in the whole run.
        p95_ms: See ``p50_ms``.
        p99_9_ms: See ``p50_ms``.
        cpu_ms_per_text: Processor time of all threads, mean.
        calls: How many were measured.
        cold_start_ms: From the start of a process to its first answer, median of some fresh ones, with this number of threads.
        cold_rss_bytes: Largest memory of such a process.
        size_bytes: Of all files of the bundle.
        precision: As its manifest says.
        cv_accuracy: On held-out folds of the training examples, as its manifest says; None where it does not.
        samples_ms: The calls, in the order in which they were made; not in the JSON.
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
    cv_accuracy: float | None
    samples_ms: tuple[float, ...] = field(repr=False)

    def to_json(self) -> dict[str, Json]:
        """The row as ``bench --json`` writes it."""
        return {name: value for name, value in asdict(self).items() if name != "samples_ms"}


@dataclass
class _Variant:
    """A bundle at a setting, and what its calls took."""

    bundle: str
    threads: int
    length: int
    texts: list[Text]
    passed: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)


def measure(
    bundles: Sequence[str],
    *,
    lengths: Sequence[int] = (16, 32, 64, 128),
    batch_sizes: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 100,
    seed: int = 13,
    progress: Progress = no_progress,
) -> list[LatencyRow]:
    """Time every combination: bursts in turn, each bundle in a process of its own.

    Args:
        bundles: Folders.
        lengths: Tokens of a text, special ones included; at most what the bundle reads.
        batch_sizes: Texts a call.
        threads: Threads of a session.
        rounds: Timed calls of each combination.
        seed: Decides the order of the combinations, another one in every round.
        progress: Hears the stage, what is done and its number.

    Raises:
        ConfigError: A number is below 1, there are too many threads, or a length does not fit the bundle.
        BundleError: A bundle is refused.
        ResourceError: A process that was measured came to an end.
    """
    for name, values in (
        ("lengths", lengths),
        ("batch_sizes", batch_sizes),
        ("threads", threads),
        ("rounds", (rounds,)),
    ):
        if not values or min(values) < 1:
            raise ConfigError(f"{name}: found {', '.join(map(str, values)) or 'none'}, expected numbers of at least 1.")
    check_threads("threads", max(threads))
    variants, facts = [], {}
    for path in dict.fromkeys(bundles):
        classifier = Classifier.load(path)  # refuses what must be refused, and makes the texts
        facts[path] = classifier.manifest
        of_length = {length: _text_of(classifier, length) for length in lengths}
        variants += [
            _Variant(path, count, length, [of_length[length]] * size)
            for count, length, size in itertools.product(threads, lengths, batch_sizes)
        ]
    first_texts = {variant.bundle: variant.texts[0] for variant in reversed(variants)}
    cold = cold_starts(first_texts, threads, progress)
    peaks: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        workers = {path: stack.enter_context(bundle_process(path)) for path in facts}
        for (path, ask), count in itertools.product(workers.items(), threads):
            ask({"load": path, "threads": count, "text": first_texts[path]})
        order, dice = list(variants), random.Random(seed)
        for done in range(0, rounds, BURST):
            progress("measure", done, rounds)
            dice.shuffle(order)
            for variant in order:
                calls = min(BURST, rounds - done)
                found = workers[variant.bundle]({"threads": variant.threads, "texts": variant.texts, "calls": calls})
                variant.passed += found["passed_s"]
                variant.busy += found["busy_s"]
                peaks[variant.bundle] = found["peak_rss_bytes"]
        progress("measure", rounds, rounds)
    names = _names(list(facts))
    return [
        _row(
            variant,
            names[variant.bundle],
            facts[variant.bundle],
            cold[variant.bundle, variant.threads],
            peaks[variant.bundle],
        )
        for variant in variants
    ]


def _row(variant: _Variant, name: str, manifest: BundleManifest, cold: ColdStart, peak_rss_bytes: int) -> LatencyRow:
    accuracy = manifest.training_facts.cv_accuracy
    milliseconds, size = 1e3 * np.array(variant.passed), len(variant.texts)
    p50, p90, p95, p99, p99_9 = (float(value) for value in np.percentile(milliseconds, PERCENTILES))
    mean = float(milliseconds.mean())
    return LatencyRow(
        bundle=name,
        length_tokens=variant.length,
        batch_size=size,
        threads=variant.threads,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        texts_per_s=size / mean * 1e3,
        peak_rss_bytes=max(peak_rss_bytes, cold.peak_rss_bytes),
        p95_ms=p95,
        p99_9_ms=p99_9,
        cpu_ms_per_text=1e3 * float(np.mean(variant.busy)) / size,
        calls=len(milliseconds),
        cold_start_ms=1e3 * cold.passed_s,
        cold_rss_bytes=cold.peak_rss_bytes,
        size_bytes=sum(entry.size_bytes for entry in manifest.files.values()) + len(manifest_bytes(manifest)),
        precision=manifest.graph.precision,
        cv_accuracy=accuracy if isinstance(accuracy, float) else None,
        samples_ms=tuple(milliseconds.tolist()),
    )


def _names(paths: Sequence[str]) -> dict[str, str]:
    """What to call each bundle: its folder's name, or the whole path where two share one."""
    names = [replace_surrogates(Path(path).name) for path in paths]
    return {
        path: name if names.count(name) == 1 else replace_surrogates(path)
        for path, name in zip(paths, names, strict=True)
    }


def _text_of(classifier: Classifier, length: int) -> Text:
    """Plain words that make just so many tokens, or as near above as words allow."""
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
    raise ConfigError(f"lengths: {length} tokens is more than this benchmark's text. Use at most {len(_WORDS)}.")
