"""``crosstune-export inspect``: the contents of a bundle's manifest."""

from __future__ import annotations

import json

import typer
from crosstune_cli.console import next_command, show
from crosstune_cli.options import AnyBundle, JsonOutput


def inspect(bundle: AnyBundle, json_output: JsonOutput = False) -> None:
    """Show a bundle's labels, sizes, precision, fusions and provenance."""
    from crosstune_export.bundle.inspection import inspect_bundle

    facts = inspect_bundle(bundle)
    if json_output:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        shown = value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)
        show(f"{name:<{width}}  {shown}")
    next_command("crosstune-export", "bench", bundle)
