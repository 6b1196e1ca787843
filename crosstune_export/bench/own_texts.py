"""Measure bundles on texts of the user, one at a time: the only way to see what early exits save."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import ConfigError
from crosstune.core.progress import Progress, no_progress
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text
from crosstune_export.bench.latency import bundle_names
from crosstune_export.bench.processes import bundle_process
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer

#: Timed calls of each text, after an untimed one; their median counts. Chosen by hand: the fewest that have a median.
CALLS = 3


@dataclass(frozen=True)
class OwnTextsRow:
    """Measurements of one bundle on N texts, one text per call, one thread.

    Attributes:
        bundle: Name of the bundle folder.
        texts: N.
        mean_ms: Mean latency of a text.
        p50_ms: Median latency.
        p99_ms: 99th percentile.
        worst_ms: Latency of the slowest text.
        exit_layers: Layers after which texts may leave early, ascending; empty without early exits.
        exit_shares: Share of the texts, from 0 to 1, that leaves at each of them, and last of those that run all layers.
        kernels: Kernels that ran: ``portable``, or the name of the fast ones.
        kernels_reason: Why the fast kernels did not run; empty if they did.
    """

    bundle: str
    texts: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    exit_layers: tuple[int, ...]
    exit_shares: tuple[float, ...]
    kernels: str
    kernels_reason: str

    def to_json(self) -> dict[str, Json]:
        """Return the row as ``bench --json`` writes it."""
        return asdict(self) | {"exit_layers": list(self.exit_layers), "exit_shares": list(self.exit_shares)}

    @property
    def exits(self) -> str:
        """Where the texts leave, in words."""
        places = ["after the word vectors" if layer == 0 else f"after layer {layer}" for layer in self.exit_layers]
        shares = zip(self.exit_shares, [*places, "all layers"], strict=True)
        return ", ".join(f"{100 * share:.0f}% {place}" for share, place in shares)


def measure_own_texts(
    bundles: Sequence[str], texts: Sequence[Text], *, progress: Progress = no_progress
) -> list[OwnTextsRow]:
    """Time each text with each bundle in turn, in one process per bundle.

    Args:
        bundles: Bundle folders.
        texts: N texts, at least one.
        progress: Called with the stage, the steps done and their total.

    Raises:
        ConfigError: There are no texts.
        DataError: An item is not a text that the bundle classifies.
        BundleError: A bundle is invalid.
        ResourceError: A measured process ended early.
    """
    if not texts:
        raise ConfigError("texts: found none, expected at least one. Give a file with texts.")
    paths = list(dict.fromkeys(bundles))
    shares = {path: exit_shares(read_bundle(path), texts) for path in paths}
    classifiers = {path: Classifier.load(path) for path in paths}
    times = np.empty((len(paths), len(texts)))
    with contextlib.ExitStack() as stack:
        workers = {path: stack.enter_context(bundle_process(path)) for path in paths}
        for path, ask in workers.items():
            ask({"load": path, "threads": 1, "text": texts[0]})
        for column, text in enumerate(texts):
            progress("measure texts", column, len(texts))
            for row, ask in enumerate(workers.values()):
                answer = ask({"threads": 1, "texts": [text], "calls": CALLS})
                times[row, column] = 1e3 * float(np.median(answer["wall_s"]))
        progress("measure texts", len(texts), len(texts))
    names = bundle_names(paths)
    return [
        OwnTextsRow(
            bundle=names[path],
            texts=len(texts),
            mean_ms=float(row.mean()),
            p50_ms=float(np.percentile(row, 50)),
            p99_ms=float(np.percentile(row, 99)),
            worst_ms=float(row.max()),
            exit_layers=shares[path][0],
            exit_shares=shares[path][1],
            kernels=classifiers[path].kernels,
            kernels_reason=classifiers[path].kernels_reason,
        )
        for path, row in zip(paths, times, strict=True)
    ]


def exit_shares(files: BundleFiles, texts: Sequence[Text]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the layers of the E early exits, and the share of texts that leaves at each and at none, E + 1 numbers.

    A text that leaves has a text vector of zeros. So the share of an exit is how many more leave than with it closed.
    """
    manifest = files.manifest
    if manifest.exits is None:
        return (), (1.0,)
    tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, str(files.path))
    feeds = [tokenizer.batch([row]).feeds() for row in tokenizer.rows(texts)]
    leaving: list[npt.NDArray[np.bool_]] = [np.zeros(len(texts), np.bool_)]
    for kept in range(1, len(manifest.exits.layers) + 1):
        model = without_exits(files.model, kept)
        session = open_session(model, manifest.graph, str(files.path), longest=manifest.tokens.max_length_tokens)
        leaving.append(np.array([not session.run(feed)[1].any() for feed in feeds]))
    counts = [after.mean() - before.mean() for before, after in itertools.pairwise(leaving)]
    return manifest.exits.layers, (*map(float, counts), float(1 - leaving[-1].mean()))
