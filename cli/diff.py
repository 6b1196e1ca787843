"""``crosstune-export diff``: the differences between two bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diff(
    one: Annotated[Path, typer.Argument(help="Older bundle.")],
    other: Annotated[Path, typer.Argument(help="Newer bundle.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Texts to compare answers on: .jsonl, .csv, .tsv, or one text per line."),
    ] = None,
) -> None:
    """List what differs between two bundles: labels, rules, constants, and answers on texts."""
    from crosstune_export import Classifier
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.sources import find_sources
    from crosstune_export.bulk.texts import read_texts
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.release.differences import changed_answers, differences

    lines = differences(read_bundle(one), read_bundle(other))
    for line in lines:
        typer.echo(line)
    if not lines:
        typer.echo("no difference")
    if data is None:
        return
    classifiers = Classifier.load(one), Classifier.load(other)
    columns = Columns(text_pair=classifiers[0].manifest.text_pair)
    texts = list(read_texts(find_sources([str(data)]), columns))
    changed, largest = changed_answers(*classifiers, texts)
    for line in changed:
        typer.echo(line)
    typer.echo(f"{len(changed)} of {len(texts)} labels differ, largest probability difference {largest:.1e}")
