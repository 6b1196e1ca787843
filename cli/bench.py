"""``crosstune-export bench``: latency and memory of bundles on this machine, as a table, JSON and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import next_command, print_json, progress_bars, table_console
from crosstune_cli.options import Kernels, reads_rows

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from crosstune.core.token_layout import Text
    from crosstune_export.bench.latency import LatencyRow
    from crosstune_export.bench.own_texts import OwnTextsRow


@reads_rows()
def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders.")],
    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths",
            help="Tokens per text, separated by commas; default: 16,32,64,128 as far as the bundles take them.",
        ),
    ] = None,
    batch_sizes: Annotated[str, typer.Option("--batch-sizes", help="Texts per call, separated by commas.")] = "1",
    threads: Annotated[str, typer.Option("--threads", help="Threads per session, separated by commas.")] = "1",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed calls per combination.")] = 100,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts",
            help="Your own texts, timed one by one as well: mean and worst time, and how many leave at early exits.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="JSON file to write the rows to; - prints them instead of the table.")
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="HTML report to write: latency, memory, size and accuracy.")
    ] = None,
    kernels: Kernels = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace existing files.")] = False,
    *,
    reading: ReadOptions,
) -> None:
    """Measure latency from text to label, cold starts and memory; all combinations are timed interleaved."""
    del kernels  # chosen by the option itself
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune_export.bundle.files import require_outside

    on_stdout = json_file == Path("-")
    if on_stdout:
        json_file = None
    for path, what in ((json_file, "output file"), (report_file, "report")):
        if path is not None:
            check_output(path, force=force, what=what)
            for bundle in bundles:
                require_outside(path, bundle, what)
    check_places({"--json": json_file, "--report": report_file}, [*bundles, texts])
    from crosstune_export.bench.latency import measure
    from crosstune_export.bench.own_texts import measure_own_texts

    own_texts = None if texts is None else _own_texts(texts, bundles[0], reading)
    with progress_bars() as progress:
        rows = measure(
            [str(path) for path in bundles],
            lengths=None if lengths is None else _numbers(lengths, "--lengths"),
            batch_sizes=_numbers(batch_sizes, "--batch-sizes"),
            threads=_numbers(threads, "--threads"),
            rounds=rounds,
            progress=progress,
        )
        own = [] if own_texts is None else measure_own_texts([*map(str, bundles)], own_texts, progress=progress)
    body = [row.to_json() for row in (*rows, *own)]
    if on_stdout:
        print_json(body)
    else:
        _show(rows)
        _show_own(own)
    if json_file is not None:
        with new_file(json_file) as sink:
            sink.write(json.dumps(body, indent=1).encode("utf-8") + b"\n")
    if report_file is not None:
        from crosstune_export.bench.report import report_page

        with new_file(report_file) as sink:
            sink.write(report_page(rows, own).encode("utf-8"))
    next_command("crosstune-export", "serve", bundles[0])


def _own_texts(path: Path, bundle: Path, reading: ReadOptions) -> list[Text]:
    from crosstune.rows.sources import source_at
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.texts import read_texts
    from crosstune_export.bundle.files import read_manifest

    pair_column = reading.pair_column if read_manifest(bundle).text_pair else None
    return list(read_texts([source_at(str(path), reading)], Columns(reading.text_column, pair_column)))


def _show(rows: Sequence[LatencyRow]) -> None:
    from rich.table import Table

    console = table_console(130)
    calls = Table("bundle", box=None)
    for name in ("tokens", "batch", "threads", "p50 ms", "p90", "p95", "p99", "p99.9", "CPU ms/text", "texts/s"):
        calls.add_column(name, justify="right")
    for row in rows:
        calls.add_row(
            row.bundle,
            *map(str, (row.length_tokens, row.batch_size, row.threads)),
            *(
                f"{value:.2f}"
                for value in (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms, row.p99_9_ms, row.cpu_ms_per_text)
            ),
            f"{row.texts_per_s:.0f}",
        )
    console.print(calls)
    starts = Table("bundle", "kernels", box=None)
    for name in ("threads", "cold start ms", "memory at start, MB", "peak memory, MB", "files, MB"):
        starts.add_column(name, justify="right")
    for row in {(row.bundle, row.threads): row for row in rows}.values():
        megabytes = (f"{value / 1e6:.1f}" for value in (row.cold_rss_bytes, row.peak_rss_bytes, row.size_bytes))
        starts.add_row(row.bundle, row.kernels, str(row.threads), f"{row.cold_start_ms:.0f}", *megabytes)
    console.print(starts)


def _show_own(rows: Sequence[OwnTextsRow]) -> None:
    from rich.table import Table

    if not rows:
        return
    table = Table("bundle", "texts", "mean ms", "p50", "p99", "worst", "early exits", "kernels", box=None)
    for row in rows:
        times = (f"{value:.2f}" for value in (row.mean_ms, row.p50_ms, row.p99_ms, row.worst_ms))
        reason = f" ({row.kernels_reason})" if row.kernels_reason else ""
        table.add_row(row.bundle, str(row.texts), *times, row.exits or "none", row.kernels + reason)
    table_console(130).print(table)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option}: found {text!r}, expected numbers separated by commas.") from error
