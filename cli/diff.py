"""``crosstune-export diff``: the differences between two bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command
from crosstune_cli.options import reads_rows

from crosstune.rows.options import ReadOptions


@reads_rows(labelled=False)
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Older bundle.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Newer bundle.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Texts to classify with both bundles; formats as for classify."),
    ] = None,
    *,
    reading: ReadOptions,
) -> None:
    """List the differences between two bundles: labels, thresholds, graph constants, and labels given to texts."""
    from crosstune.rows.sources import find_sources
    from crosstune_export import Classifier
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.texts import read_texts
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.release.differences import changed_labels, differences

    lines = differences(read_bundle(old), read_bundle(new))
    for line in lines:
        typer.echo(line)
    if not lines:
        typer.echo("no difference")
    if data is None:
        next_command("crosstune-export", "diff", old, new, "--data", "TEXTS.jsonl")
        return
    classifiers = Classifier.load(old), Classifier.load(new)
    columns = Columns(reading.text_column, reading.pair_column if classifiers[0].manifest.text_pair else None)
    texts = list(read_texts(find_sources([str(data)], reading), columns))
    changed, largest = changed_labels(*classifiers, texts)
    for line in changed:
        typer.echo(line)
    typer.echo(f"{len(changed)} of {len(texts)} labels differ, largest probability difference {largest:.1e}")
    next_command("crosstune-export", "verify", new)
