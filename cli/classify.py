"""``crosstune-export classify``: labels for any number of texts, without torch."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import row_progress
from crosstune_cli.options import AllowFallback, BundleFolder, MinSimilarity, Provider, reads_rows

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosstune.rows.sources import Source
    from crosstune_export.bulk.run import BulkOptions
    from crosstune_export.bulk.tally import Tally
    from crosstune_export.bundle.files import BundleFiles


@reads_rows(labelled=False)
def classify(
    bundle: BundleFolder,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files of texts: .jsonl, .json, .csv, .tsv, .parquet, .xlsx, or .txt with one text per line; also gzipped (.gz). "
            "Folders are searched recursively; quoted glob patterns are expanded; - is standard input."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="File to write; default: standard output.")] = None,
    file_format: Annotated[
        str,
        typer.Option("--format", help="Output format: auto (by the ending of --output), jsonl, csv, tsv or parquet."),
    ] = "auto",
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", help="Column that identifies a row; it must be in every row and is written first."),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Write only the N most probable labels in probs; default: all.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            help="Give no label below this probability; default: the threshold in the bundle.",
        ),
    ] = None,
    min_similarity: MinSimilarity = None,
    on_error: Annotated[
        str,
        typer.Option("--on-error", help="What to do with a bad row: fail, skip, or record it in --bad-rows."),
    ] = "fail",
    bad_rows: Annotated[
        Path | None,
        typer.Option("--bad-rows", help="JSON Lines file of bad rows; default: OUTPUT.bad.jsonl."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run with the same options.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Number of processes, each with its own session; default: one per core."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads per process.")] = 1,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts per run of the graph.")] = 8,
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    engine: Annotated[
        str, typer.Option("--engine", help="Where the processes run: local, or ray (a Ray cluster).")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Ray cluster to join; default: start one on this machine.")
    ] = None,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe",
            help="For CSV and TSV: put an apostrophe before text that a spreadsheet would run as a formula.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Add the evidence of each word for each label; runs the graph once per word."),
    ] = False,
    pretty: Annotated[
        bool, typer.Option("--pretty", help="Print a table with the time of each text instead of JSON Lines.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing output files.")] = False,
    *,
    reading: ReadOptions,
) -> None:
    """Label any number of texts, in input order; every column of the input is kept in the output."""
    from crosstune.core.outputs import check_output
    from crosstune.rows.sources import find_sources
    from crosstune_export.bulk.run import BulkOptions
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.runtime.session import default_threads, providers_of

    options = BulkOptions(
        file_format=_output_format(file_format, output),
        reading=reading,
        id_column=id_column,
        on_error=on_error,
        top_k=top_k,
        threshold=threshold,
        min_similarity=min_similarity,
        batch_size=batch_size,
        threads=threads,
        workers=workers or (max(1, default_threads() // threads) if provider == "cpu" else 1),
        providers=providers_of(provider),
        allow_fallback=allow_fallback,
        explain=explain,
        spreadsheet_safe=spreadsheet_safe,
        engine=engine,
        ray_address=ray_address,
    )
    _check(options, output, bad_rows, resume, pretty)
    for path in (output, bad_rows):
        if path is not None:
            check_output(
                path, force=True, what="output file"
            )  # --resume may continue an existing one, so --force is checked later
    if on_error == "record" and bad_rows is None and output is not None:
        bad_rows = output.with_name(f"{output.name}.bad.jsonl")
    sources = find_sources(files or ["-"], reading)
    _check_places(bundle, sources, output, bad_rows)
    if pretty:
        _show(read_bundle(bundle), sources, options)
    elif output is None:
        _to_standard_output(read_bundle(bundle), sources, options, bad_rows, force=force)
    else:
        _to_file(read_bundle(bundle), sources, options, output, bad_rows, resume=resume, force=force)


def _output_format(file_format: str, output: Path | None) -> str:
    from crosstune_export import ConfigError
    from crosstune_export.bulk.encode import OUTPUT_FORMATS

    if file_format not in ("auto", *OUTPUT_FORMATS):
        raise ConfigError(f"format: found {file_format!r}, expected one of auto, {', '.join(OUTPUT_FORMATS)}.")
    if output is not None and output.suffix.lower() == ".gz":
        raise ConfigError(f"{output}: a compressed output, expected a plain one. Compress it afterwards.")
    if file_format != "auto":
        return file_format
    ending = "" if output is None else output.suffix.lower().removeprefix(".")
    return ending if ending in OUTPUT_FORMATS else "jsonl"


def _check(options: BulkOptions, output: Path | None, bad_rows: Path | None, resume: bool, pretty: bool) -> None:
    from crosstune_export import ConfigError
    from crosstune_export.bulk.run import ENGINES, ON_ERROR, BulkOptions

    for name, value, known in (("on-error", options.on_error, ON_ERROR), ("engine", options.engine, ENGINES)):
        if value not in known:
            raise ConfigError(f"{name}: found {value!r}, expected one of {', '.join(known)}.")
    if output is None and resume:
        raise ConfigError("--resume: found standard output, expected a file. Give --output.")
    if output is None and options.file_format == "parquet":
        raise ConfigError("format: found parquet on standard output, expected a file. Give --output.")
    if options.on_error == "record" and output is None and bad_rows is None:
        raise ConfigError("--on-error record: found neither --output nor --bad-rows, expected one. Give --bad-rows.")
    if bad_rows is not None and options.on_error != "record":
        raise ConfigError(f"--bad-rows: found --on-error {options.on_error}, expected record. Give --on-error record.")
    if options.threshold is not None and math.isnan(options.threshold):
        raise ConfigError("threshold: found nan, expected a probability from 0 to 1.")
    if options.spreadsheet_safe and options.file_format not in ("csv", "tsv"):
        raise ConfigError(
            f"--spreadsheet-safe: found format {options.file_format}, expected csv or tsv. Give --format csv."
        )
    if pretty:
        plain = BulkOptions()
        changed = {
            "--output": output is not None,
            "--format": options.file_format != plain.file_format,
            "--on-error": options.on_error != plain.on_error,
            "--top-k": options.top_k is not None,
            "--id-column": options.id_column is not None,
            "--engine": options.engine != plain.engine,
        }
        for name in (name for name, is_changed in changed.items() if is_changed):
            raise ConfigError(f"--pretty: cannot be combined with {name}. Remove one of the two options.")
    if options.explain and options.file_format != "jsonl":
        raise ConfigError(f"--explain: found format {options.file_format}, expected jsonl. Give --format jsonl.")
    if options.ray_address is not None and options.engine != "ray":
        raise ConfigError(f"--ray-address: found engine {options.engine}, expected ray. Give --engine ray.")


def _check_places(bundle: Path, sources: Sequence[Source], output: Path | None, bad_rows: Path | None) -> None:
    from crosstune.core.outputs import check_places
    from crosstune_export.bulk.partial_output import partial_files
    from crosstune_export.bundle.files import require_outside

    for path in (output, bad_rows):
        if path is not None:
            require_outside(path, bundle, "output file")
    inputs = [Path(source.path) for source in sources if source.path != "-"]
    partial = {} if output is None else partial_files(output, bad_rows)
    check_places({"--output": output, "--bad-rows": bad_rows, **partial}, inputs)


def _to_standard_output(
    bundle: BundleFiles, sources: Sequence[Source], options: BulkOptions, bad_rows: Path | None, *, force: bool
) -> None:
    from crosstune.core.outputs import check_output, new_file
    from crosstune_export.bulk.output import StandardOutput
    from crosstune_export.bulk.run import classify_files

    if bad_rows is not None:
        check_output(bad_rows, force=force, what="output file")
    with row_progress() as progress, contextlib.ExitStack() as stack:
        bad_sink = None if bad_rows is None else stack.enter_context(new_file(bad_rows))
        tally = classify_files(bundle, sources, options, StandardOutput(bad_sink), progress)
    if tally.bad:
        typer.echo(tally.lines()[0], err=True)
    elif tally.unlike:
        typer.echo(tally.lines()[-1], err=True)


def _to_file(
    bundle: BundleFiles,
    sources: Sequence[Source],
    options: BulkOptions,
    output: Path,
    bad_rows: Path | None,
    *,
    resume: bool,
    force: bool,
) -> None:
    from crosstune_export.bulk.partial_output import PartialOutput
    from crosstune_export.bulk.run import classify_files

    started = time.monotonic()
    parquet = options.file_format == "parquet"
    settings = options.settings(bundle, sources)
    partial = PartialOutput(output, bad_rows, settings, resume=resume, force=force, parquet=parquet)
    earlier_rows = partial.journal.tally.rows
    if partial.journal.finished:
        tally = partial.publish()
    else:
        with partial, row_progress() as progress:
            tally = classify_files(bundle, sources, options, partial, progress)
    _print_summary(tally, tally.rows - earlier_rows, time.monotonic() - started, bad_rows)


def _print_summary(tally: Tally, rows: int, elapsed_s: float, bad_rows: Path | None) -> None:
    first, *rest = tally.lines()
    where = f", recorded in {bad_rows}" if bad_rows is not None and tally.bad else ""
    typer.echo(f"{first}{where}, {rows / max(elapsed_s, 1e-9):.0f} rows/s", err=True)
    for line in rest:
        typer.echo(line, err=True)


def _show(bundle: BundleFiles, sources: Sequence[Source], options: BulkOptions) -> None:
    from crosstune_cli.answer_tables import show_answers, show_reasons

    from crosstune_export import Classifier
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.texts import read_texts

    classifier = Classifier(
        bundle, threads=options.threads, providers=options.providers, allow_fallback=options.allow_fallback
    )
    reading = options.reading
    columns = Columns(reading.text_column, reading.pair_column if bundle.manifest.text_pair else None)
    texts = read_texts(sources, columns)
    (show_reasons if options.explain else show_answers)(
        classifier, texts, {"threshold": options.threshold, "min_similarity": options.min_similarity}
    )
