"""``crosstune-export labels``: edit the labels of a finished bundle, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.options import BundleFolder, JsonOutput

if TYPE_CHECKING:
    from crosstune_export.bundle.manifest import BundleManifest

labels_app = typer.Typer(
    name="labels",
    help="List, add, rename, describe or remove the labels of a finished bundle.",
    no_args_is_help=False,
    rich_markup_mode=None,
)

_Name = Annotated[str, typer.Argument(help="Name of the label.")]
_Descriptions = Annotated[list[str], typer.Argument(help="One or more sentences that describe the label.")]


@labels_app.command("list")
def list_labels(bundle: BundleFolder, json_output: JsonOutput = False) -> None:
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
def add(bundle: BundleFolder, name: _Name, descriptions: _Descriptions) -> None:
    """Add a label, known by its description only; the scores of the other labels do not change."""
    from crosstune_export.edit.labels import add_label

    _print_labels(bundle, add_label(bundle, name, descriptions))


@labels_app.command("rename")
def rename(bundle: BundleFolder, name: _Name, new: Annotated[str, typer.Argument(help="New name.")]) -> None:
    """Rename a label."""
    from crosstune_export.edit.labels import rename_label

    _print_labels(bundle, rename_label(bundle, name, new))


@labels_app.command("describe")
def describe(bundle: BundleFolder, name: _Name, descriptions: _Descriptions) -> None:
    """Replace the descriptions of a label; what was learned from its examples is kept."""
    from crosstune_export.edit.labels import describe_label

    _print_labels(bundle, describe_label(bundle, name, descriptions))


@labels_app.command("remove")
def remove(bundle: BundleFolder, name: _Name) -> None:
    """Remove a label; the scores of the other labels do not change."""
    from crosstune_export.edit.labels import remove_label

    _print_labels(bundle, remove_label(bundle, name))


def _print_labels(bundle: Path, manifest: BundleManifest) -> None:
    typer.echo(f"{bundle}: {len(manifest.labels)} labels: {', '.join(manifest.label_names)}")
