"""Latency of bundles, text in to label out: all variants interleaved, so that a noisy moment hits each alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crosstune_export.errors import UsageError
from crosstune_export.manifest import Json
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.tokenization import Text

_WORDS = ("the parcel came late and the box was open so please tell me what to do with it now " * 40).split()


@dataclass(frozen=True)
class LatencyRow:
    """Figures of one bundle at one setting; milliseconds a call unless the name says otherwise."""

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

    def to_json(self) -> dict[str, Json]:
        """The row as ``bench --json`` writes it."""
        return asdict(self)


def measure(
    bundles: Sequence[str],
    *,
    lengths: Sequence[int] = (16, 32, 64, 128),
    batch_sizes: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    rounds: int = 50,
    warmup: int = 5,
    report: Callable[[int, int], None] | None = None,
) -> list[LatencyRow]:
    """Time every combination, ``rounds`` times, in turn.

    Args:
        bundles: Folders.
        lengths: Tokens of a text, special ones included; at most what the bundle reads.
        batch_sizes: Texts a call.
        threads: Threads of a session.
        rounds: Timed calls of each combination.
        warmup: Calls before them.
        report: Hears rounds done and their number.

    Raises:
        UsageError: A number is below 1, or a length does not fit the bundle.
        BundleError: A bundle is refused.
    """
    for name, values in (
        ("lengths", lengths),
        ("batch_sizes", batch_sizes),
        ("threads", threads),
        ("rounds", (rounds,)),
    ):
        if not values or min(values) < 1:
            raise UsageError(f"{name}: found {', '.join(map(str, values)) or 'none'}, expected numbers of at least 1.")
    cases: list[tuple[tuple[str, int, int, int], Classifier, list[Text]]] = []
    for path in bundles:
        for count in threads:
            classifier = Classifier.load(path, threads=count)
            for length in lengths:
                text = _text_of(classifier, length)
                for batch_size in batch_sizes:
                    cases.append(((Path(path).name, length, batch_size, count), classifier, [text] * batch_size))
    times: list[list[float]] = [[] for _ in cases]
    for turn in range(-warmup, rounds):
        for (_, classifier, texts), sink in zip(cases, times, strict=True):
            started = time.perf_counter()
            classifier.classify(texts, batch_size=len(texts))
            elapsed = time.perf_counter() - started
            if turn >= 0:
                sink.append(elapsed)
        if turn >= 0 and report is not None:
            report(turn + 1, rounds)
    rss = peak_rss_bytes()
    rows = []
    for (key, _, texts), sink in zip(cases, times, strict=True):
        milliseconds = np.array(sink) * 1e3
        p50, p90, p99 = (float(value) for value in np.percentile(milliseconds, (50, 90, 99)))
        mean = float(milliseconds.mean())
        rows.append(LatencyRow(*key, p50, p90, p99, mean, len(texts) / mean * 1e3, rss))
    return rows


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _text_of(classifier: Classifier, length: int) -> Text:
    """Plain words that make just so many tokens, or as near above as words allow."""
    manifest = classifier.manifest
    if not 3 <= length <= manifest.tokens.max_length_tokens:
        raise UsageError(
            f"lengths: found {length}, expected 3 to {manifest.tokens.max_length_tokens} tokens for this bundle."
        )
    for count in range(1, len(_WORDS)):
        words = " ".join(_WORDS[:count])
        text: Text = (words, "yes") if manifest.text_pair else words
        if len(classifier.token_ids([text])[0]) >= length:
            return text
    raise UsageError(f"lengths: {length} tokens is more than this benchmark's text. Use at most {len(_WORDS)}.")
