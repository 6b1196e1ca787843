"""``crosstune-export pack``: a bundle as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command
from crosstune_cli.options import BundleFolder, Force


def pack(
    bundle: BundleFolder,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    force: Force = False,
) -> None:
    """Write a bundle as one file, a zip archive that every command and every runtime reads directly."""
    from crosstune_export.bundle.packing import pack as pack_bundle

    typer.echo(f"{output}: digest {pack_bundle(bundle, output, force=force).manifest.digest}")
    next_command("crosstune-export", "verify", output)
