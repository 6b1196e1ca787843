"""``crosstune-export classify``: labels for any number of texts, without torch."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from crosstune_cli.console import next_command, note, row_progress, stdout_is_terminal
from crosstune_cli.isolation import Isolate, MaxMemory, process_limits, this_command
from crosstune_cli.options import (
    AllowFallback,
    BundleFolder,
    Kernels,
    MinSimilarity,
    Provider,
    RequireSignature,
    Signature,
    reads_rows,
)

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosstune.rows.sources import Source
    from crosstune_export.bulk.run import BulkOptions
    from crosstune_export.bulk.tally import Tally
    from crosstune_export.bundle.files import BundleFiles


#: Options of a file that a table on a terminal does not have.
_NOT_IN_A_TABLE = ("file_format", "on_error", "top_k", "id_column", "engine", "probs")


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
    given_texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="Text to classify, instead of files; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    file_format: Annotated[
        Literal["auto", "jsonl", "csv", "tsv", "parquet"],
        typer.Option("--format", help="Output format; auto is by the ending of --output."),
    ] = "auto",
    probs: Annotated[
        Literal["json", "columns", "none"],
        typer.Option(
            "--probs",
            help="Probabilities of all labels: in one column, in one per label such as prob_shipping, or left out.",
        ),
    ] = "json",
    output_encoding: Annotated[
        Literal["utf-8", "utf-8-sig"],
        typer.Option(
            "--output-encoding",
            help="Encoding of CSV and TSV; Excel recognises utf-8-sig.",
        ),
    ] = "utf-8",
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
        Literal["fail", "skip", "record"],
        typer.Option("--on-error", help="What to do with a bad row; record writes it to --bad-rows."),
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
    kernels: Kernels = "auto",
    require_signature: RequireSignature = None,
    signature: Signature = None,
    isolate: Isolate = False,
    max_memory_mb: MaxMemory = None,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", min=1, help="With --isolate: maximum seconds; default: 3600.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="Where the processes run: here, or on a Ray cluster.")
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
        bool,
        typer.Option(
            "--pretty",
            help="Print a table instead of JSON Lines; this is the default where the results appear on a terminal.",
        ),
    ] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="With --output: print a summary as one JSON object.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace existing output files.")] = False,
    *,
    reading: ReadOptions,
) -> None:
    """Label any number of texts, in input order; every column of the input is kept in the output."""
    del kernels  # chosen by the option itself, for the worker processes too
    from crosstune.core.outputs import check_output
    from crosstune.rows.sources import find_sources
    from crosstune_export import ConfigError
    from crosstune_export.bulk.run import BulkOptions
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.bundle.signature import require_trusted
    from crosstune_export.runtime.isolation import is_isolated, run_isolated
    from crosstune_export.runtime.session import default_threads, providers_of

    limits = process_limits(isolate, max_memory_mb, max_seconds)
    if limits is not None and not is_isolated():
        raise typer.Exit(run_isolated(this_command(), limits, str(bundle)))

    for path in (output, bad_rows):  # --resume may continue an existing one, so --force is checked later
        if path is not None:
            check_output(path, force=True, what="output file")
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
        probs=probs,
        output_encoding=output_encoding,
        engine=engine,
        ray_address=ray_address,
    )
    _check(options, output, bad_rows, resume, pretty)
    if json_output and output is None:
        raise ConfigError("--json: found no --output, expected one: the results go to standard output. Give --output.")
    trusted = [] if require_signature is None else [require_signature]
    on_terminal = pretty or (output is None and stdout_is_terminal() and options == _plain_options(options))
    if given_texts:
        for name, is_given in (("a file", bool(files)), ("--output", output is not None)):
            if is_given:
                raise ConfigError(f"--text: cannot be combined with {name}. Remove one of the two.")
        contents = read_bundle(bundle)
        require_trusted(contents, trusted, signature)
        _classify_given(contents, given_texts, options, on_terminal)
        return
    if on_error == "record" and bad_rows is None and output is not None:
        bad_rows = output.with_name(f"{output.name}.bad.jsonl")
    sources = find_sources(files or ["-"], reading)
    _check_places(bundle, sources, output, bad_rows)
    contents = read_bundle(bundle)
    require_trusted(contents, trusted, signature)
    if pretty or (on_terminal and not any(source.live for source in sources)):  # a table is shown when it is complete
        _show(contents, sources, options)
    elif output is None:
        _to_standard_output(contents, sources, options, bad_rows, force=force)
    else:
        _to_file(contents, sources, options, output, bad_rows, resume=resume, force=force, json_output=json_output)
        next_command("crosstune-export", "serve", bundle)


def _output_format(file_format: str, output: Path | None) -> str:
    from crosstune_export import ConfigError
    from crosstune_export.bulk.encode import OUTPUT_ENDINGS, OUTPUT_FORMATS

    if file_format not in ("auto", *OUTPUT_FORMATS):
        raise ConfigError(f"format: found {file_format!r}, expected one of auto, {', '.join(OUTPUT_FORMATS)}.")
    if output is not None and output.suffix.lower() == ".gz":
        raise ConfigError(f"{output}: a compressed output, expected a plain one. Compress it afterwards.")
    if file_format != "auto":
        return file_format
    if output is None:
        return "jsonl"
    if output.suffix.lower() not in OUTPUT_ENDINGS:
        found = f"ending {output.suffix!r}" if output.suffix else "no ending"
        raise ConfigError(
            f"{output}: {found}, expected one of {', '.join(OUTPUT_ENDINGS)}. "
            f"Name the format with --format {'|'.join(OUTPUT_FORMATS)}."
        )
    return OUTPUT_ENDINGS[output.suffix.lower()]


def _plain_options(options: BulkOptions) -> BulkOptions:
    """The options without those that a table on a terminal does not have."""
    from crosstune_export.bulk.run import BulkOptions

    return replace(options, **{name: getattr(BulkOptions(), name) for name in _NOT_IN_A_TABLE})


def _check(options: BulkOptions, output: Path | None, bad_rows: Path | None, resume: bool, pretty: bool) -> None:
    from crosstune_export import ConfigError
    from crosstune_export.bulk.encode import TABLES
    from crosstune_export.bulk.run import BulkOptions

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
    for_tables = {
        "--spreadsheet-safe": options.spreadsheet_safe,
        "--output-encoding": options.output_encoding != "utf-8",
    }
    for name in (name for name, is_given in for_tables.items() if is_given and options.file_format not in TABLES):
        raise ConfigError(f"{name}: found format {options.file_format}, expected csv or tsv. Give --format csv.")
    if pretty:
        if output is not None:
            raise ConfigError("--pretty: cannot be combined with --output. Remove one of the two options.")
        for name in _NOT_IN_A_TABLE:
            if getattr(options, name) != getattr(BulkOptions(), name):
                shown = "format" if name == "file_format" else name.replace("_", "-")
                raise ConfigError(f"--pretty: cannot be combined with --{shown}. Remove one of the two options.")
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
    with row_progress(results_on_stdout=True) as progress, contextlib.ExitStack() as stack:
        bad_sink = None if bad_rows is None else stack.enter_context(new_file(bad_rows))
        tally = classify_files(bundle, sources, options, StandardOutput(bad_sink), progress)
    if tally.bad:
        note(tally.lines()[0])
    elif tally.unlike:
        note(tally.lines()[-1])


def _to_file(
    bundle: BundleFiles,
    sources: Sequence[Source],
    options: BulkOptions,
    output: Path,
    bad_rows: Path | None,
    *,
    resume: bool,
    force: bool,
    json_output: bool,
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
    if json_output:
        typer.echo(json.dumps({"output": str(output), **tally.to_json()}, ensure_ascii=False))
    else:
        _print_summary(tally, tally.rows - earlier_rows, time.monotonic() - started, bad_rows)


def _print_summary(tally: Tally, rows: int, elapsed_s: float, bad_rows: Path | None) -> None:
    first, *rest = tally.lines()
    where = f", recorded in {bad_rows}" if bad_rows is not None and tally.bad else ""
    note(f"{first}{where}, {rows / max(elapsed_s, 1e-9):.0f} rows/s")
    for line in rest:
        note(line)


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
    (show_reasons if options.explain else show_answers)(classifier, texts, _rule(options))


def _classify_given(files: BundleFiles, texts: list[str], options: BulkOptions, on_terminal: bool) -> None:
    from crosstune_cli.answer_tables import show_answers, show_reasons

    from crosstune_export import Classifier

    classifier = Classifier(
        files, threads=options.threads, providers=options.providers, allow_fallback=options.allow_fallback
    )
    if on_terminal:
        (show_reasons if options.explain else show_answers)(classifier, texts, _rule(options))
        return
    for text in texts:
        answer = (
            classifier.explain(text, **_rule(options))
            if options.explain
            else classifier.classify([text], **_rule(options))[0]
        )
        row = {"text": text, **answer.to_json(classifier.labels, options.top_k)}
        typer.echo(json.dumps(row, ensure_ascii=False))


def _rule(options: BulkOptions) -> dict[str, Any]:
    return {"threshold": options.threshold, "min_similarity": options.min_similarity}
