"""Output of both ``evaluate`` commands: a table, one JSON object, or the report page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import table_console, visible

if TYPE_CHECKING:
    from crosstune.evaluation.answers import Answers
    from crosstune.evaluation.metrics import Evaluation

DataFile = Annotated[Path, typer.Option("--data", help="Labelled examples.")]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", help="HTML report to write: confusion matrix, calibration, coverage and errors."),
]


def check_report(report: Path | None, inputs: list[Path], *, force: bool) -> None:
    """Refuse a report file that must not be replaced, before any work is done."""
    from crosstune.core.outputs import check_output, check_places

    if report is not None:
        check_output(report, force=force, what="report")
        check_places({"--report": report}, inputs)


def show_evaluation(answers: Answers, *, json_output: bool, report: Path | None, force: bool) -> None:
    """Write the report if one is wanted, and print the metrics."""
    if report is not None:
        answers.report(report, force=force)
    if json_output:
        typer.echo(json.dumps(answers.to_json(), ensure_ascii=False))
        return
    _show(answers.evaluation)
    coverage, right = answers.coverage, answers.accuracy_answered
    if coverage is not None:
        correct = "" if right is None else f", {100 * right:.1f}% of these are correct"
        parts = ", ".join(f"{part.title} {100 * part.coverage:.1f}% of {part.texts}" for part in answers.by_length)
        typer.echo(f"by length: {parts}")
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
        table.add_row(visible(row.label), *figures, str(row.support))
    console.print(table)
    if len(result.per_label) <= 20:
        grid = Table("true \\ predicted", box=None, title="confusion matrix", title_justify="left")
        for index in range(len(result.per_label)):
            grid.add_column(str(index), justify="right")
        for index, (row, counts) in enumerate(zip(result.per_label, result.confusion, strict=True)):
            grid.add_row(f"{index} {visible(row.label)}", *(str(count) if count else "." for count in counts))
        console.print(grid)
