"""``crosstune-export sign``: a signature for a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command
from crosstune_cli.options import AnyBundle, Force


def sign(
    bundle: AnyBundle,
    key: Annotated[Path, typer.Option("--key", help="Private key of an elliptic curve (PEM).")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: BUNDLE.sig.")] = None,
    force: Force = False,
) -> None:
    """Sign a bundle with the model-signing library; check the signature with verify --require-signature."""
    from crosstune_export.release.signing import sign as sign_bundle

    typer.echo(f"{sign_bundle(bundle, key, output, force=force)}: signature of {bundle}")
    next_command("crosstune-export", "verify", bundle, "--require-signature", "PUBLIC_KEY.pem")
