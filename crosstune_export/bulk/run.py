"""From sources to an output: the whole run, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain, islice
from typing import Protocol

from crosstune.core.errors import ConfigError, DataError
from crosstune_export.bulk.decode import Columns, decode, output_name
from crosstune_export.bulk.encode import make_encoder
from crosstune_export.bulk.local_engine import classify_windows
from crosstune_export.bulk.partial_output import PartialOutput, next_digest
from crosstune_export.bulk.sources import Source
from crosstune_export.bulk.tally import Tally
from crosstune_export.bulk.window_classifier import WindowJob, WindowResult
from crosstune_export.bulk.windows import Window, read_windows
from crosstune_export.bundle.files import BundleFiles
from crosstune_export.runtime.session import CPU_PROVIDERS, check_threads

ON_ERROR = ("fail", "skip", "record")
ENGINES = ("local", "ray")
#: Called with rows done, bytes read, and bytes there are (0 where nobody knows).
#: Called with the rows classified, the bytes read, and the bytes of all sources (0 where that is unknown).
BulkProgress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class BulkOptions:
    """How to classify files.

    Attributes:
        file_format: Of the output, out of ``encode.OUTPUT_FORMATS``.
        text_column: Column of the text.
        id_column: Column that names a row, None where none does.
        on_error: What to do with a bad row, out of ``ON_ERROR``.
        top_k: How many labels ``probs`` names; None for all.
        threshold: Probability below which no label is given; the bundle's own rule when None.
        batch_size: Texts in one run of the graph, at least 1.
        threads: Threads of a session, at least 1.
        workers: Processes with a session each, at least 1.
        providers: Execution providers, in order of preference.
        allow_fallback: Whether another provider will do.
        explain: Say which words speak for which label; JSON Lines only.
        spreadsheet_safe: Put an apostrophe before what a spreadsheet would take for a formula.
        engine: Out of ``ENGINES``.
        ray_address: A cluster to join; None starts one on this machine.
    """

    file_format: str = "jsonl"
    text_column: str = "text"
    id_column: str | None = None
    on_error: str = "fail"
    top_k: int | None = None
    threshold: float | None = None
    batch_size: int = 32
    threads: int = 1
    workers: int = 1
    providers: tuple[str, ...] = CPU_PROVIDERS
    allow_fallback: bool = False
    explain: bool = False
    spreadsheet_safe: bool = False
    engine: str = "local"
    ray_address: str | None = None

    def settings(self, files: BundleFiles, sources: Sequence[Source]) -> dict[str, object]:
        """Everything that the bytes of the output depend on."""
        who = ("engine", "ray_address", "workers", "allow_fallback")  # changes who does the work, not what comes out
        return {
            "version": metadata.version("crosstune-export"),
            "bundle": files.manifest.digest,
            "input": [(source.path, source.file_format) for source in sources],
            **{name: value for name, value in vars(self).items() if name not in who},
        }


class Output(Protocol):
    """Where results go."""

    def begin(self, header: bytes) -> None:
        """Write what stands before the first row."""

    def append(self, result: WindowResult) -> None:
        """Add a window."""

    def finish(self) -> Tally:
        """Put everything in its place."""


def classify_files(
    files: BundleFiles, sources: Sequence[Source], options: BulkOptions, output: Output, progress: BulkProgress
) -> Tally:
    """Classify every row of the sources, in order.

    Args:
        files: The bundle.
        sources: What to read.
        options: How.
        output: Where to; one that was interrupted goes on after the windows that it has.
        progress: Called with the rows classified, the bytes read and the bytes of all sources.

    Returns:
        The counts of the whole run, earlier parts included.

    Raises:
        DataError: A source cannot be read, or a row is bad and ``on_error`` is ``fail``.
        ConfigError: The input is not that of the interrupted run, or there are to be too many threads or processes.
        ResourceError: Disk or memory.
    """
    check_threads("threads", options.threads)
    check_threads("workers", options.workers)
    columns = Columns(options.text_column, files.manifest.text_pair, options.id_column)
    windows = _all_windows(sources, options.text_column)
    begun = _to_the_first_rows(windows)
    first = begun[-1] if begun and not begun[-1].empty else next(iter(begun), None)
    names = () if first is None else first.header or (options.text_column,)
    encoder = make_encoder(
        options.file_format,
        files.manifest.label_names,
        [] if first is None else decode(first, columns).carried,
        [output_name(name) for name in sorted(names, key=lambda name: name != options.id_column)],
        top_k=options.top_k,
        spreadsheet_safe=options.spreadsheet_safe,
    )
    if options.file_format != "jsonl":
        columns = replace(columns, known=frozenset(encoder.columns))
    job = WindowJob(
        files,
        columns,
        encoder,
        options.threshold,
        options.batch_size,
        options.threads,
        options.providers,
        options.allow_fallback,
        options.explain,
    )
    output.begin(encoder.header())
    remaining = chain(begun, windows)
    done = _skip(remaining, output.journal.windows, output.journal.digest) if isinstance(output, PartialOutput) else {}
    rows = output.journal.tally.rows if isinstance(output, PartialOutput) else 0
    total = sum(source.size_bytes for source in sources)
    results: Generator[WindowResult, None, None]
    if options.engine == "ray":
        from crosstune_export.bulk.ray_engine import classify_with_ray

        results = classify_with_ray(sources, done, job, options.workers, options.ray_address)
    else:
        results = classify_windows(remaining, job, options.workers)
    with closing(results):  # at a bad row too, and not when the error is forgotten: processes wait for it
        for result in results:
            if result.bad and options.on_error == "fail":
                raise DataError(str(result.bad[0]))
            output.append(result)
            rows += result.rows
            progress(rows, result.read_bytes, total)
    return output.finish()


def _all_windows(sources: Sequence[Source], text_column: str) -> Iterator[Window]:
    before = 0
    for source in sources:
        yield from read_windows(source, text_column, before)
        before += source.size_bytes


def _to_the_first_rows(windows: Iterator[Window]) -> list[Window]:
    """The windows up to the first that has rows: tables without rows have one that has none."""
    begun = []
    for window in windows:
        begun.append(window)
        if not window.empty:
            break
    return begun


def _skip(windows: Iterator[Window], count: int, digest: str) -> dict[Source, int]:
    """Read over the windows that are done, make sure that they are the same, and count them for each source."""
    done: dict[Source, int] = {}
    found = ""
    for window in islice(windows, count):
        found = next_digest(found, window.digest())
        done[window.source] = done.get(window.source, 0) + 1
    if found != digest:
        raise ConfigError(
            "--resume: the rows that are done are not those of this input. Give the same input, or start again with --force, "
            "without --resume."
        )
    return done
