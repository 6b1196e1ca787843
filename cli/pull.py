"""``crosstune-export pull``: a bundle from a repository of a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, show
from crosstune_cli.options import Force, Repository


def pull(
    repo: Repository,
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit to read; default: main.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", help="Refuse a bundle with another digest; default: accept any.")
    ] = None,
    force: Force = False,
) -> None:
    """Download a bundle from a model hub, check every byte of it, and write it as a folder."""
    from crosstune_export.hub.pull import pull as pull_bundle

    pulled = pull_bundle(repo, output, revision=revision, digest=digest, force=force)
    show(f"{output}: digest {pulled.files.manifest.digest}, commit {pulled.commit}")
    next_command("crosstune-export", "verify", output)
