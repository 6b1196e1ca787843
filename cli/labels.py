"""``crosstune-export labels``: edit the labels of a finished bundle, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import next_command, show
from crosstune_cli.options import BundleFolder, JsonOutput
from crosstune_cli.program import add, make_app

if TYPE_CHECKING:
    from crosstune_export.bundle.manifest import BundleManifest

labels_app = make_app(
    "labels", "List, add, rename, describe or remove the labels of a finished bundle.", completion=False
)

_Name = Annotated[str, typer.Argument(help="Name of the label.")]
_Descriptions = Annotated[list[str], typer.Argument(help="One or more sentences that describe the label.")]


def list_labels(bundle: BundleFolder, json_output: JsonOutput = False) -> None:
    """Show the labels and their descriptions."""
    from crosstune_export.bundle.files import read_bundle

    entries = read_bundle(bundle).manifest.labels
    if json_output:
        typer.echo(json.dumps({entry.name: list(entry.descriptions) for entry in entries}, ensure_ascii=False))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        show(f"{entry.name:<{width}}  {' / '.join(entry.descriptions)}")


def add_label(bundle: BundleFolder, name: _Name, descriptions: _Descriptions) -> None:
    """Add a label, known by its description only; the scores of the other labels do not change."""
    from crosstune_export.edit.labels import add_label as edit

    _print_labels(bundle, edit(bundle, name, descriptions))


def rename_label(bundle: BundleFolder, name: _Name, new: Annotated[str, typer.Argument(help="New name.")]) -> None:
    """Rename a label."""
    from crosstune_export.edit.labels import rename_label as edit

    _print_labels(bundle, edit(bundle, name, new))


def describe_label(bundle: BundleFolder, name: _Name, descriptions: _Descriptions) -> None:
    """Replace the descriptions of a label; what was learned from its examples is kept."""
    from crosstune_export.edit.labels import describe_label as edit

    _print_labels(bundle, edit(bundle, name, descriptions))


def remove_label(bundle: BundleFolder, name: _Name) -> None:
    """Remove a label; the scores of the other labels do not change."""
    from crosstune_export.edit.labels import remove_label as edit

    _print_labels(bundle, edit(bundle, name))


def _print_labels(bundle: Path, manifest: BundleManifest) -> None:
    show(f"{bundle}: {len(manifest.labels)} labels: {', '.join(manifest.label_names)}")
    next_command("crosstune-export", "verify", bundle)


for _command, _name, _example in (
    (list_labels, "list", "news.bundle"),
    (add_label, "add", 'news.bundle refund "asks for money back"'),
    (rename_label, "rename", "news.bundle refund refunds"),
    (describe_label, "describe", 'news.bundle refund "asks for money back" "wants a refund"'),
    (remove_label, "remove", "news.bundle refund"),
):
    add(labels_app, _command, f"crosstune-export labels {_name} {_example}", name=_name)
