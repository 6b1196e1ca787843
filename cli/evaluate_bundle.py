"""``crosstune-export evaluate``: the accuracy of a bundle on labelled texts, without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from crosstune_cli.console import next_command, note, progress_bars
from crosstune_cli.evaluation_output import DataFile, ReportFile, check_report, show_evaluation
from crosstune_cli.options import AllowFallback, AnyBundle, Force, JsonOutput, Kernels, Provider, reads_rows

from crosstune.rows.options import ReadOptions


@reads_rows()
def evaluate_bundle(
    bundle: AnyBundle,
    data: DataFile,
    json_output: JsonOutput = False,
    report_file: ReportFile = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts per run of the graph.")] = 32,
    kernels: Kernels = "auto",
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Evaluate a bundle on labelled texts, without torch. Every row counts as it stands."""
    del kernels  # chosen by the option itself
    check_report(report_file, [bundle, data], force=force)
    from crosstune.core.token_layout import replace_surrogates
    from crosstune.data.checks import measured_rows
    from crosstune.data.readers import read_rows
    from crosstune_export import Classifier
    from crosstune_export import evaluate_bundle as measure
    from crosstune_export.runtime.session import default_threads, providers_of

    rows, notes = measured_rows((), read_rows(data, reading), str(data))
    for text in notes:
        note(f"note: {text}")
    classifier = Classifier.load(
        bundle, threads=default_threads(), providers=providers_of(provider), allow_fallback=allow_fallback
    )
    with progress_bars() as progress:
        answers = measure(classifier, rows, batch_size=batch_size, progress=progress, where=str(data))
    named = replace(
        answers,
        data=replace_surrogates(data.name),
        model=replace_surrogates(f"the {classifier.manifest.graph.precision} bundle {bundle.name}"),
    )
    show_evaluation(named, json_output=json_output, report=report_file, force=force)
    next_command("crosstune-export", "serve", bundle)
