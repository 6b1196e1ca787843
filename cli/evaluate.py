"""``crosstune evaluate``: the accuracy of a checkpoint on labelled texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, note, progress_bars
from crosstune_cli.evaluation_output import DataFile, ReportFile, check_report, show_evaluation
from crosstune_cli.options import Device, Force, JsonOutput, MovedBackbone, reads_rows

from crosstune.rows.options import ReadOptions


@reads_rows()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: DataFile,
    json_output: JsonOutput = False,
    report_file: ReportFile = None,
    backbone: MovedBackbone = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts per batch.")] = 32,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse rows that are training texts, instead of leaving them out.")
    ] = False,
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Evaluate a checkpoint on labelled texts. Every row counts as it stands; rows that are training texts are left out."""
    check_report(report_file, [checkpoint, data], force=force)
    from crosstune import load_checkpoint
    from crosstune.core.token_layout import replace_surrogates
    from crosstune.data.checks import measured_rows
    from crosstune.data.labels import check_labels
    from crosstune.data.readers import read_rows

    trained = load_checkpoint(checkpoint)
    rows = read_rows(data, reading)
    check_labels(rows, trained.labels, str(data))
    rows, notes = measured_rows(trained.examples, rows, str(data), strict=strict)
    for text in notes:
        note(f"note: {text}")
    with progress_bars() as progress:
        loading = f"loading {backbone or trained.backbone.name}"
        progress(loading, 0, 1)
        loaded = trained.load_backbone(device=device, name=backbone)
        progress(loading, 1, 1)
        answers = trained.answers(rows, backbone=loaded, batch_size=batch_size, progress=progress, where=str(data))
    named = replace(
        answers,
        data=replace_surrogates(data.name),
        model=replace_surrogates(f"the {trained.head.kind} head of {checkpoint.name}"),
    )
    show_evaluation(named, json_output=json_output, report=report_file, force=force)
    next_command("crosstune-export", "build", checkpoint, "-o", checkpoint.with_suffix(".bundle"))
