"""``crosstune-export labels``: edits the labels of a finished bundle, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from crosstune_export.bundle.manifest import BundleManifest

labels_app = typer.Typer(
    name="labels",
    help="List, add, rename, describe or remove the labels of a finished bundle.",
    no_args_is_help=False,
    rich_markup_mode=None,
)

_Bundle = Annotated[Path, typer.Argument(help="Bundle folder.")]
_Name = Annotated[str, typer.Argument(help="A label.")]
_Descriptions = Annotated[list[str], typer.Argument(help="What it means: one sentence or more.")]


@labels_app.command("list")
def list_labels(
    bundle: _Bundle, json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Show the labels and their descriptions."""
    from crosstune_export.bundle.files import read_bundle

    entries = read_bundle(bundle).manifest.labels
    if json_output:
        typer.echo(json.dumps({entry.name: list(entry.descriptions) for entry in entries}, ensure_ascii=False))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        typer.echo(f"{entry.name:<{width}}  {' / '.join(entry.descriptions)}")


@labels_app.command("add")
def add(bundle: _Bundle, name: _Name, descriptions: _Descriptions) -> None:
    """Add a label that its description alone makes known; the other labels score as before."""
    from crosstune_export.edit.labels import add_label

    _say(bundle, add_label(bundle, name, descriptions))


@labels_app.command("rename")
def rename(bundle: _Bundle, name: _Name, new: Annotated[str, typer.Argument(help="Its new name.")]) -> None:
    """Give a label another name."""
    from crosstune_export.edit.labels import rename_label

    _say(bundle, rename_label(bundle, name, new))


@labels_app.command("describe")
def describe(bundle: _Bundle, name: _Name, descriptions: _Descriptions) -> None:
    """Exchange a label's descriptions; what its examples taught stays."""
    from crosstune_export.edit.labels import describe_label

    _say(bundle, describe_label(bundle, name, descriptions))


@labels_app.command("remove")
def remove(bundle: _Bundle, name: _Name) -> None:
    """Take a label out; the other labels score as before."""
    from crosstune_export.edit.labels import remove_label

    _say(bundle, remove_label(bundle, name))


def _say(bundle: Path, manifest: BundleManifest) -> None:
    typer.echo(f"{bundle}: {len(manifest.labels)} labels: {', '.join(manifest.label_names)}")
