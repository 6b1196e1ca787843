"""Classify all rows of the sources and write them to an output, with either engine."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from itertools import chain, islice
from typing import Protocol

from crosstune.core.errors import ConfigError, DataError
from crosstune.rows.options import DEFAULT_READING, ReadOptions
from crosstune.rows.sources import Source
from crosstune.rows.window import Window
from crosstune.rows.windows import read_windows
from crosstune_export.bulk.decode import Columns, decode, output_name
from crosstune_export.bulk.encode import TABLE_DIGITS, TABLES, make_encoder
from crosstune_export.bulk.local_engine import classify_windows
from crosstune_export.bulk.partial_output import PartialOutput, next_digest
from crosstune_export.bulk.result_columns import ResultColumns
from crosstune_export.bulk.tally import Tally
from crosstune_export.bulk.window_classifier import WindowJob, WindowResult
from crosstune_export.bundle.files import BundleFiles
from crosstune_export.runtime.session import CPU_PROVIDERS, check_threads

#: Called with the rows classified, the bytes read, and the bytes of all sources (0 if unknown).
BulkProgress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class BulkOptions:
    """How to classify files.

    Attributes:
        file_format: Output format, one of ``encode.OUTPUT_FORMATS``.
        reading: How to read the files; only its columns matter here, because each source has its own.
        id_column: Column that identifies a row; None for none.
        on_error: Treatment of bad rows, ``fail``, ``skip`` or ``record``.
        top_k: Number of labels in ``probs``, at least 1; None for all.
        threshold: Probability (0 to 1) below which a text gets no label; None for the threshold in the bundle.
        min_similarity: Similarity (-1 to 1) below which a text gets no label; None for the one in the bundle.
        batch_size: Texts per run of the graph, at least 1.
        threads: Threads per session, at least 1.
        workers: Number of processes, each with a session, at least 1.
        providers: Execution providers, in order of preference.
        allow_fallback: Run on the CPU if a provider is not available.
        explain: Add the evidence of each word for each label; JSON Lines only.
        spreadsheet_safe: Put an apostrophe before text that a spreadsheet would run as a formula.
        probs: Form of the probabilities, one of ``result_columns.PROBS``.
        output_encoding: One of ``encode.OUTPUT_ENCODINGS``; for tables.
        engine: ``local`` or ``ray``.
        ray_address: Ray cluster to join; None starts one on this machine.
    """

    file_format: str = "jsonl"
    reading: ReadOptions = DEFAULT_READING
    id_column: str | None = None
    on_error: str = "fail"
    top_k: int | None = None
    threshold: float | None = None
    min_similarity: float | None = None
    batch_size: int = 8
    threads: int = 1
    workers: int = 1
    providers: tuple[str, ...] = CPU_PROVIDERS
    allow_fallback: bool = False
    explain: bool = False
    spreadsheet_safe: bool = False
    probs: str = "json"
    output_encoding: str = "utf-8"
    engine: str = "local"
    ray_address: str | None = None

    def settings(self, files: BundleFiles, sources: Sequence[Source]) -> dict[str, object]:
        """Return everything that the bytes of the output depend on."""
        without_effect = (
            "engine",
            "ray_address",
            "workers",
            "allow_fallback",
        )  # they change only where the work is done
        return {
            "version": metadata.version("crosstune-export"),
            "bundle": files.manifest.digest,
            "input": [(source.path, source.file_format) for source in sources],
            **{name: value for name, value in vars(self).items() if name not in without_effect},
            "reading": asdict(self.reading),
        }


class Output(Protocol):
    """Destination of the results."""

    def begin(self, header: bytes) -> None:
        """Write the header."""

    def append(self, result: WindowResult) -> None:
        """Write the results of a window."""

    def finish(self) -> Tally:
        """Complete the output and return the counts of the run."""


def classify_files(
    files: BundleFiles, sources: Sequence[Source], options: BulkOptions, output: Output, progress: BulkProgress
) -> Tally:
    """Classify every row of the sources, in order.

    Args:
        files: The bundle.
        sources: Files to read.
        options: How to read, classify and write.
        output: Destination; a resumed ``PartialOutput`` continues after its last window.
        progress: Called with the rows classified, the bytes read and the bytes of all sources.

    Returns:
        Counts of the run, including the part before an interruption.

    Raises:
        DataError: A source cannot be read, or a row is bad and ``on_error`` is ``fail``.
        ConfigError: The input differs from that of the interrupted run, or there are too many threads or workers.
        MissingExtraError: pyarrow or Ray is needed and not installed.
        ResourceError: The disk or the memory is full, or a worker process died.
    """
    check_threads("threads", options.threads)
    check_threads("workers", options.workers)
    if isinstance(output, PartialOutput):  # windows must end at the same places when it is resumed
        sources = [replace(source, live=False) for source in sources]
    reading = options.reading
    columns = Columns(reading.text_column, reading.pair_column if files.manifest.text_pair else None, options.id_column)
    windows = _all_windows(sources, columns.needed)
    leading = _up_to_first_rows(windows)
    first = leading[-1] if leading and not leading[-1].empty else next(iter(leading), None)
    names = () if first is None else first.header or (reading.text_column,)
    encoder = make_encoder(
        options.file_format,
        ResultColumns(
            files.manifest.label_names,
            options.top_k,
            options.probs,
            TABLE_DIGITS if options.file_format in TABLES else None,
        ),
        [] if first is None else decode(first, columns).carried,
        [output_name(name) for name in sorted(names, key=lambda name: name != options.id_column)],
        spreadsheet_safe=options.spreadsheet_safe,
        encoding=options.output_encoding,
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
        options.min_similarity,
    )
    output.begin(encoder.header())
    remaining = chain(leading, windows)
    done = _skip(remaining, output.journal.windows, output.journal.digest) if isinstance(output, PartialOutput) else {}
    rows = output.journal.tally.rows if isinstance(output, PartialOutput) else 0
    total = sum(source.size_bytes for source in sources)
    results: Generator[WindowResult, None, None]
    if options.engine == "ray":
        from crosstune_export.bulk.ray_engine import classify_with_ray

        results = classify_with_ray(sources, done, job, options.workers, options.ray_address)
    else:
        results = classify_windows(remaining, job, options.workers)
    with closing(results):  # end the worker processes at once, also after an error
        for result in results:
            if result.bad and options.on_error == "fail":
                raise DataError(str(result.bad[0]))
            output.append(result)
            rows += result.rows
            progress(rows, result.read_bytes, total)
    return output.finish()


def _all_windows(sources: Sequence[Source], needed: Sequence[str]) -> Iterator[Window]:
    before_bytes = 0
    for source in sources:
        yield from read_windows(source, needed, before_bytes)
        before_bytes += source.size_bytes


def _up_to_first_rows(windows: Iterator[Window]) -> list[Window]:
    """Read the windows up to the first that has rows; a table without rows yields one empty window."""
    leading = []
    for window in windows:
        leading.append(window)
        if not window.empty:
            break
    return leading


def _skip(windows: Iterator[Window], count: int, digest: str) -> dict[Source, int]:
    """Skip the windows that an interrupted run classified, check that they are unchanged, and count them per source."""
    done: dict[Source, int] = {}
    skipped_digest = ""
    for window in islice(windows, count):
        skipped_digest = next_digest(skipped_digest, window.digest())
        done[window.source] = done.get(window.source, 0) + 1
    if skipped_digest != digest:
        raise ConfigError(
            "--resume: the input differs from that of the interrupted run. Give the same input, or start again with --force, "
            "without --resume."
        )
    return done
