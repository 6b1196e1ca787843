"""``crosstune evaluate``: the accuracy of a checkpoint on labelled texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, progress_bars
from crosstune_cli.evaluation_output import DataFile, ReportFile, check_report, show_evaluation
from crosstune_cli.options import Device, Force, JsonOutput, MovedBackbone


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: DataFile,
    json_output: JsonOutput = False,
    report_file: ReportFile = None,
    backbone: MovedBackbone = None,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts per batch.")] = 32,
    force: Force = False,
) -> None:
    """Evaluate a checkpoint on labelled texts."""
    check_report(report_file, [checkpoint, data], force=force)
    from crosstune import load_checkpoint, read_examples
    from crosstune.core.token_layout import replace_surrogates

    trained = load_checkpoint(checkpoint)
    rows = read_examples(data)
    trained.check_examples(rows, str(data))
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
