"""``crosstune-export serve``: a bundle over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.options import not_nan


def serve(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 takes a free one, which the log names.")
    ] = 8080,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Texts at the same time; the processors when left out.")
    ] = None,
    max_texts: Annotated[int, typer.Option("--max-texts", min=1, help="Texts in one request.")] = 32,
    max_characters: Annotated[int, typer.Option("--max-characters", min=1, help="Characters of one text.")] = 16_384,
    max_body_bytes: Annotated[int, typer.Option("--max-body-bytes", min=1, help="Bytes of one request.")] = 2 << 20,
    max_pending_texts: Annotated[
        int, typer.Option("--max-pending-texts", min=1, help="Texts waiting or running; beyond, 503.")
    ] = 128,
    receive_timeout: Annotated[
        float,
        typer.Option("--receive-timeout", min=0.01, callback=not_nan, help="Seconds for a request to arrive whole."),
    ] = 10.0,
    drain_timeout: Annotated[
        float,
        typer.Option("--drain-timeout", min=1, callback=not_nan, help="Seconds after SIGTERM for accepted requests."),
    ] = 30.0,
) -> None:
    """Serve a bundle over HTTP: POST /v1/classify. SIGTERM answers what is accepted and ends, SIGHUP reads the bundle again."""
    from crosstune_export import MissingExtraError
    from crosstune_export.runtime.session import default_threads

    try:
        from crosstune_export.serve.limits import ServeLimits
        from crosstune_export.serve.server import serve as run_server
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name}: not installed, expected for serving. Run: pip install 'crosstune-export[cpu,serve]'"
        ) from error
    limits = ServeLimits(
        max_texts=max_texts,
        max_characters=max_characters,
        max_body_bytes=max_body_bytes,
        max_pending_texts=max_pending_texts,
        receive_timeout_s=receive_timeout,
        drain_timeout_s=drain_timeout,
    )
    code = run_server(bundle, host=host, port=port, threads=threads or default_threads(), limits=limits)
    if code:
        raise typer.Exit(code)
