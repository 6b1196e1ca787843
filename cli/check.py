"""``crosstune check``: find labels that look wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, progress_bars, table_console, visible
from crosstune_cli.options import Device, Force, LabelFile, TrainFile, reads_rows, task_words

from crosstune.rows.options import ReadOptions

#: Characters of a text, and rows of a kind, that the terminal shows; the file and the page have all.
CHARACTERS, ROWS = 60, 20


@reads_rows()
def check(
    train_file: TrainFile,
    labels: LabelFile = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON file of all findings to write.")] = None,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report to write.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="minilm (packaged), a short name such as bge-small, a folder, or a hub id; default: minilm.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed for assigning folds; default: 13.")] = None,
    device: Device = "auto",
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Find labels that look wrong, texts under two labels, and labels that are hard to tell apart."""
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.labels import labels_of, read_labels
    from crosstune.data.readers import read_rows

    for path in (output, report):
        if path is not None:
            check_output(path, force=force, what="output file")
    check_places({"--output": output, "--report": report}, [train_file, labels])

    from crosstune import check_examples, load_config

    config = load_config(None, {"backbone": backbone, "seed": seed})
    examples = read_rows(train_file, reading)
    names = (example.label for example in examples)
    label_set = labels_of(names, str(train_file)) if labels is None else read_labels(labels, reading)

    from crosstune.core.token_layout import replace_surrogates
    from crosstune.labelling.check_report import findings, report_page

    with progress_bars() as progress:
        found = check_examples(examples, label_set, config, device=device, progress=progress, where=str(train_file))
    files: dict[Path, str] = {}
    if output is not None:
        files[output] = json.dumps(found.to_json(), ensure_ascii=False, indent=1) + "\n"
    if report is not None:
        files[report] = report_page(found, replace_surrogates(str(train_file)))
    for path, text in files.items():
        with new_file(path) as sink:
            sink.write(text.encode("utf-8"))
    console = table_console(width=120)

    from rich.table import Table

    for title, head, rows in findings(found, CHARACTERS):
        shown = Table(*head, title=f"{title} ({len(rows)})", title_justify="left")
        for row in rows[:ROWS]:
            shown.add_row(*map(visible, row))
        console.print(shown)
        if len(rows) > ROWS:
            console.print(f"{len(rows) - ROWS} more; --output writes all.")
    typer.echo(
        f"{train_file}: {found.examples} examples, {len(found.suspects)} labels look wrong, "
        f"{len(found.conflicts)} pairs of texts under two labels"
    )
    words = task_words(train_file, labels, reading, backbone=backbone, seed=seed)
    next_command("crosstune", "train", *words, "-o", train_file.with_suffix(".ckpt"))
