"""``crosstune-export pack`` and ``unpack``: a bundle as one file and as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def add_pack_commands(app: typer.Typer) -> None:
    """Give an app the two commands."""
    app.command("pack")(pack)
    app.command("unpack")(unpack)


def pack(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    output: Annotated[Path, typer.Option("--output", help="File to write.")],
    force: _Force = False,
) -> None:
    """Write a bundle as one file, a zip archive that every command and runtime reads as it stands."""
    from crosstune_export.bundle.packing import pack as pack_bundle

    _say(output, pack_bundle(bundle, output, force=force).manifest.digest)


def unpack(
    packed: Annotated[Path, typer.Argument(help="What pack wrote.")],
    output: Annotated[Path, typer.Option("--output", help="Bundle folder to write.")],
    force: _Force = False,
) -> None:
    """Check every byte of a packed bundle and write it as a folder."""
    from crosstune_export.bundle.packing import unpack as unpack_bundle

    _say(output, unpack_bundle(packed, output, force=force).manifest.digest)


def _say(path: Path, digest: str) -> None:
    typer.echo(f"{path}: digest {digest}")
