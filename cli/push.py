"""``crosstune-export push``: a bundle into a repository of a model hub, after showing what is sent and to where."""

from __future__ import annotations

from typing import Annotated

import typer
from crosstune_cli.console import next_command, show, stdin_is_terminal
from crosstune_cli.options import AnyBundle, Repository

from crosstune.core.errors import ConfigError


def push(
    bundle: AnyBundle,
    repo: Repository,
    revision: Annotated[str, typer.Option("--revision", help="Branch to which the files are added.")] = "main",
    public: Annotated[
        bool,
        typer.Option("--public", help="Make a new repository public; default: private. An old one stays as it is."),
    ] = False,
    message: Annotated[
        str | None, typer.Option("--message", help="Subject of the commit; default: one with the digest.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Send without asking.")] = False,
) -> None:
    """Send a bundle to a model hub. Shows the files and the repository first, and asks."""
    from crosstune_export.hub.push import prepare_upload, send

    upload = prepare_upload(bundle, repo, revision=revision, public=public)
    show(f"to {upload.url}, branch {revision}; {'public' if public else 'private'} if it is new")
    for name, data in upload.contents.items():
        show(f"  {name}  {len(data) / 1e6:.3f} MB")
    if not yes:
        if not stdin_is_terminal():
            raise ConfigError("push: nothing was sent, expected a confirmation. Add --yes to send without being asked.")
        if not typer.confirm(f"Send {upload.size_bytes / 1e6:.1f} MB?", err=True):
            show("nothing was sent")
            return
    show(f"{send(upload, message=message)}: digest {upload.digest}")
    given = () if revision == "main" else ("--revision", revision)
    next_command("crosstune-export", "pull", repo, *given, "--output", "pulled.bundle")
