"""``crosstune-export sign``, ``sbom`` and ``diff``: what a release of a bundle needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

_Bundle = Annotated[Path, typer.Argument(help="Bundle folder, or a packed bundle.")]


def add_release_commands(app: typer.Typer) -> None:
    """Give an app the three commands."""
    app.command("sign")(sign)
    app.command("sbom")(sbom)
    app.command("diff")(diff)


def sign(
    bundle: _Bundle,
    key: Annotated[Path, typer.Option("--key", help="Private key of an elliptic curve (PEM).")],
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; beside the bundle, ending in .sig, when left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Sign a bundle with a key, by the model-signing library; verify --require-signature asks for it."""
    from crosstune_export.release.signing import sign as sign_bundle

    typer.echo(f"{sign_bundle(bundle, key, output, force=force)}: signature of {bundle}")


def sbom(bundle: _Bundle) -> None:
    """Print what is in a bundle and where it comes from, as CycloneDX JSON."""
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.release.sbom import sbom as document

    typer.echo(json.dumps(document(read_bundle(bundle).manifest), indent=2, ensure_ascii=False))


def diff(
    one: Annotated[Path, typer.Argument(help="A bundle.")],
    other: Annotated[Path, typer.Argument(help="Another.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Texts to compare answers on: .jsonl, .csv, .tsv, or one a line.")
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
    typer.echo(f"{len(changed)} of {len(texts)} labels differ, largest difference of a probability {largest:.1e}")
