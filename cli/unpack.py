"""``crosstune-export unpack``: a packed bundle as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command
from crosstune_cli.options import Force


def unpack(
    packed: Annotated[Path, typer.Argument(help="Packed bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    force: Force = False,
) -> None:
    """Check every byte of a packed bundle and write it as a folder."""
    from crosstune_export.bundle.packing import unpack as unpack_bundle

    typer.echo(f"{output}: digest {unpack_bundle(packed, output, force=force).manifest.digest}")
    next_command("crosstune-export", "verify", output)
