"""``crosstune-export web``: a page that classifies in the browser, served with a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def web(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8317,
) -> None:
    """Serve a page that classifies in the browser; texts never leave the browser. Stop with Ctrl-C."""
    from crosstune_export.web.page_server import make_server, served_files

    with make_server(served_files(bundle), host, port) as server:
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"http://{shown}:{server.server_address[1]}/")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("ended.", err=True)
