"""``crosstune-export classify``: labels for texts of any number, without torch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosstune_export.bulk.run import BulkOptions, BulkProgress
    from crosstune_export.bulk.sources import Source
    from crosstune_export.bulk.tally import Tally
    from crosstune_export.bundle.files import BundleFiles


def classify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts: .jsonl, .csv, .tsv, .parquet, or one a line; any but Parquet also with .gz. A folder is every such file "
            "below it, a pattern in quotes every file that it fits; - is standard input."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="File to write instead of standard output.")] = None,
    file_format: Annotated[
        str, typer.Option("--format", help="auto (by the ending of the output), jsonl, csv, tsv or parquet.")
    ] = "auto",
    input_format: Annotated[
        str,
        typer.Option(
            "--input-format", help="auto (by each ending; text for standard input), jsonl, csv, tsv, parquet or text."
        ),
    ] = "auto",
    text_column: Annotated[str, typer.Option("--text-column", help="Column of the text.")] = "text",
    id_column: Annotated[
        str | None,
        typer.Option("--id-column", help="Column that names a row: every row must have it, it is written first."),
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Only the most probable labels in probs.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="No label below this probability.")
    ] = None,
    on_error: Annotated[
        str,
        typer.Option("--on-error", help="At a bad row: fail, skip it, or record it in the file of bad rows."),
    ] = "fail",
    bad_rows: Annotated[
        Path | None,
        typer.Option("--bad-rows", help="File of bad rows, JSON Lines; OUTPUT.bad.jsonl when left out."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run with the same options stopped.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes, each with a session; as many as there are cores when left out."
        ),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each session.")] = 1,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts in one run of the graph.")] = 8,
    provider: Annotated[str, typer.Option("--provider", help="Where to run: cpu or cuda.")] = "cpu",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Run on the CPU when the provider is not to be had.")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="local, or ray: the processes of a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Cluster to join; one on this machine when left out.")
    ] = None,
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe", help="CSV and TSV: an apostrophe before what a spreadsheet would run as a formula."
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also which words speak for which label; a run of the graph for each word."),
    ] = False,
    pretty: Annotated[
        bool, typer.Option("--pretty", help="A table for people, with milliseconds, one text a call.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing output files.")] = False,
) -> None:
    """Label texts of any number, in the order of the input; every column of the input is carried through."""
    from crosstune.core.outputs import check_output
    from crosstune_export.bulk.run import BulkOptions
    from crosstune_export.bulk.sources import find_sources
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.runtime.session import default_threads, providers_of

    options = BulkOptions(
        file_format=_output_format(file_format, output),
        text_column=text_column,
        id_column=id_column,
        on_error=on_error,
        top_k=top_k,
        threshold=threshold,
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
            check_output(path, force=True, what="output file")  # whether it may be replaced is asked later
    if on_error == "record" and bad_rows is None and output is not None:
        bad_rows = output.with_name(f"{output.name}.bad.jsonl")
    sources = find_sources(files or ["-"], input_format)
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
        raise ConfigError("--resume: standard output cannot be taken up again. Give --output.")
    if output is None and options.file_format == "parquet":
        raise ConfigError("format: Parquet goes into a file. Give --output.")
    if options.on_error == "record" and output is None and bad_rows is None:
        raise ConfigError("--on-error record: found neither --output nor --bad-rows, expected one. Give --bad-rows.")
    if bad_rows is not None and options.on_error != "record":
        raise ConfigError("--bad-rows: goes with --on-error record.")
    if options.threshold is not None and math.isnan(options.threshold):
        raise ConfigError("threshold: found nan, expected a probability from 0 to 1.")
    if options.spreadsheet_safe and options.file_format not in ("csv", "tsv"):
        raise ConfigError(f"--spreadsheet-safe: goes with CSV and TSV, found {options.file_format}. Give --format csv.")
    if pretty:
        plain = BulkOptions()
        others = {
            "--output": output is not None,
            "--format": options.file_format != plain.file_format,
            "--on-error": options.on_error != plain.on_error,
            "--top-k": options.top_k is not None,
            "--id-column": options.id_column is not None,
            "--engine": options.engine != plain.engine,
        }
        for name in (name for name, given in others.items() if given):
            raise ConfigError(f"--pretty: a table for people, which does not go with {name}. Leave one of them out.")
    if options.explain and options.file_format != "jsonl":
        raise ConfigError(f"--explain: goes with JSON Lines, found {options.file_format}. Give --format jsonl.")
    if options.ray_address is not None and options.engine != "ray":
        raise ConfigError("--ray-address: goes with --engine ray.")


def _check_places(bundle: Path, sources: Sequence[Source], output: Path | None, bad_rows: Path | None) -> None:
    from crosstune.core.outputs import check_places
    from crosstune_export.bulk.partial_output import files_beside
    from crosstune_export.bundle.files import require_outside

    for path in (output, bad_rows):
        if path is not None:
            require_outside(path, bundle, "output file")
    inputs = [Path(source.path) for source in sources if source.path != "-"]
    beside = {} if output is None else files_beside(output, bad_rows)
    check_places({"--output": output, "--bad-rows": bad_rows, **beside}, inputs)


def _to_standard_output(
    bundle: BundleFiles, sources: Sequence[Source], options: BulkOptions, bad_rows: Path | None, *, force: bool
) -> None:
    from crosstune.core.outputs import check_output, new_file
    from crosstune_export.bulk.output import StandardOutput
    from crosstune_export.bulk.run import classify_files

    if bad_rows is not None:
        check_output(bad_rows, force=force, what="output file")
    with _progress() as report, contextlib.ExitStack() as stack:
        bad_sink = None if bad_rows is None else stack.enter_context(new_file(bad_rows))
        tally = classify_files(bundle, sources, options, StandardOutput(bad_sink), report)
    if tally.bad:
        typer.echo(tally.lines()[0], err=True)


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
    place = PartialOutput(output, bad_rows, settings, resume=resume, force=force, parquet=parquet)
    before = place.journal.tally.rows
    if place.journal.finished:
        tally = place.publish()
    else:
        with place, _progress() as report:
            tally = classify_files(bundle, sources, options, place, report)
    _say(tally, tally.rows - before, time.monotonic() - started, bad_rows)


def _say(tally: Tally, rows: int, elapsed_s: float, bad_rows: Path | None) -> None:
    first, *rest = tally.lines()
    where = f", recorded in {bad_rows}" if bad_rows is not None and tally.bad else ""
    typer.echo(f"{first}{where}, {rows / max(elapsed_s, 1e-9):.0f} rows/s", err=True)
    for line in rest:
        typer.echo(line, err=True)


@contextlib.contextmanager
def _progress() -> Iterator[BulkProgress]:
    """Rows, rate and remaining time on stderr; silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _silent
        return
    columns = (
        TextColumn("classify"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TextColumn("{task.fields[rate]:.0f} rows/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started, first = time.monotonic(), [-1]
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, rows=0, rate=0.0)

        def report(rows: int, done: int, total: int) -> None:
            if first[0] < 0:
                first[0] = rows  # what an interrupted run had done is not of this one's speed
            rate = (rows - first[0]) / (time.monotonic() - started)
            bars.update(task, completed=done, total=total or None, rows=rows, rate=rate)

        yield report


def _silent(rows: int, done: int, total: int) -> None:
    del rows, done, total


def _show(bundle: BundleFiles, sources: Sequence[Source], options: BulkOptions) -> None:
    from crosstune_cli.answer_tables import show_answers, show_reasons

    from crosstune_export import Classifier
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.texts import read_texts

    classifier = Classifier(
        bundle, threads=options.threads, providers=options.providers, allow_fallback=options.allow_fallback
    )
    texts = read_texts(sources, Columns(options.text_column, bundle.manifest.text_pair))
    (show_reasons if options.explain else show_answers)(classifier, texts, options.threshold)
