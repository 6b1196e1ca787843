"""``crosstune evaluate``: the accuracy of a checkpoint on labelled texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import progress_bars, table_console
from crosstune_cli.options import Device, Force, JsonOutput, MovedBackbone, reads_rows

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from crosstune.evaluation.metrics import Evaluation


@reads_rows()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: Annotated[Path, typer.Option("--data", help="Labelled examples.")],
    json_output: JsonOutput = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="HTML report to write: confusion matrix, calibration, coverage and errors."),
    ] = None,
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
    from crosstune.core.outputs import check_output, check_places, new_file

    if report_file is not None:
        check_output(report_file, force=force, what="report")
        check_places({"--report": report_file}, [checkpoint, data])
    from crosstune import load_checkpoint
    from crosstune.data.checks import measured_rows
    from crosstune.data.labels import check_labels
    from crosstune.data.readers import read_rows

    trained = load_checkpoint(checkpoint)
    rows = read_rows(data, reading)
    check_labels(rows, trained.labels, str(data))
    rows, notes = measured_rows(trained.examples, rows, str(data), strict=strict)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    loaded = trained.load_backbone(device=device, name=backbone)
    with progress_bars() as progress:
        answers = trained.answers(rows, backbone=loaded, batch_size=batch_size, progress=progress, where=str(data))
    from crosstune.core.token_layout import replace_surrogates
    from crosstune.evaluation.report import report_page

    result, coverage, right = answers.evaluation, answers.coverage, answers.accuracy_answered
    if report_file is not None:
        page = report_page(
            answers,
            replace_surrogates(data.name),
            replace_surrogates(f"the {trained.head.kind} head of {checkpoint.name}"),
        )
        with new_file(report_file) as sink:
            sink.write(page.encode("utf-8"))
    if json_output:
        abstaining = {} if coverage is None else {"coverage": coverage, "accuracy_answered": right}
        typer.echo(json.dumps(result.to_json() | abstaining, ensure_ascii=False))
    else:
        _show(result)
        if coverage is not None:
            correct = "" if right is None else f", {100 * right:.1f}% of these are correct"
            typer.echo(f"with the thresholds {100 * coverage:.1f}% of the texts get a label{correct}")


def _show(result: Evaluation) -> None:
    from rich.table import Table

    console = table_console(110)
    console.print(
        f"accuracy {100 * result.accuracy:.1f}%   macro-F1 {100 * result.macro_f1:.1f}%   "
        f"ECE {result.ece:.3f}   n {result.n}"
    )
    table = Table("label", box=None, title="per label (%)", title_justify="left")
    for name in ("precision", "recall", "F1", "texts"):
        table.add_column(name, justify="right")
    for row in result.per_label:
        figures = (f"{100 * value:.1f}" for value in (row.precision, row.recall, row.f1))
        table.add_row(row.label, *figures, str(row.support))
    console.print(table)
    if len(result.per_label) <= 20:
        grid = Table("true \\ predicted", box=None, title="confusion matrix", title_justify="left")
        for index in range(len(result.per_label)):
            grid.add_column(str(index), justify="right")
        for index, (row, counts) in enumerate(zip(result.per_label, result.confusion, strict=True)):
            grid.add_row(f"{index} {row.label}", *(str(count) if count else "." for count in counts))
        console.print(grid)
