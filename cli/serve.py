"""``crosstune-export serve``: a bundle over HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.isolation import Isolate, MaxMemory, process_limits, this_command
from crosstune_cli.options import Kernels, MinSimilarity, RequireSignature, Signature, not_nan


def serve(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 listens on all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one and logs it.")
    ] = 8080,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Requests to classify at the same time; default: number of processors."),
    ] = None,
    kernels: Kernels = "auto",
    min_similarity: MinSimilarity = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors",
            help="Origin of a page that may call the server from a browser, for example https://example.com; may be repeated.",
        ),
    ] = None,
    max_texts: Annotated[int, typer.Option("--max-texts", min=1, help="Maximum texts in one request.")] = 32,
    max_characters: Annotated[
        int, typer.Option("--max-characters", min=1, help="Maximum characters of one text.")
    ] = 16_384,
    max_body_bytes: Annotated[
        int, typer.Option("--max-body-bytes", min=1, help="Maximum size of one request body.")
    ] = 2 << 20,
    max_pending_texts: Annotated[
        int,
        typer.Option(
            "--max-pending-texts", min=1, help="Maximum texts queued or running before the server answers 503."
        ),
    ] = 128,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain/--no-explain", help="Answer requests for explanations, which run the graph once per word."
        ),
    ] = True,
    max_explain_tokens: Annotated[
        int,
        typer.Option(
            "--max-explain-tokens",
            min=1,
            help="Maximum tokens of one explanation: those of the text, once for each word.",
        ),
    ] = 32_768,
    require_signature: RequireSignature = None,
    signature: Signature = None,
    isolate: Isolate = False,
    max_memory_mb: MaxMemory = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            min=0.1,
            help="With --isolate: maximum seconds of the model for one request; then its process is replaced. Default: 60.",
        ),
    ] = None,
    receive_timeout: Annotated[
        float,
        typer.Option("--receive-timeout", min=0.01, callback=not_nan, help="Seconds for a request body to arrive."),
    ] = 10.0,
    drain_delay: Annotated[
        float,
        typer.Option(
            "--drain-delay",
            min=0,
            callback=not_nan,
            help="Seconds after SIGTERM in which connections are still accepted while /ready answers 503. In Kubernetes, for "
            "example, 5.",
        ),
    ] = 1.0,
    drain_timeout: Annotated[
        float,
        typer.Option(
            "--drain-timeout",
            min=1,
            callback=not_nan,
            help="Seconds after SIGTERM until the process ends, even if requests are unanswered.",
        ),
    ] = 30.0,
) -> None:
    """Serve a bundle over HTTP: POST /v1/classify. SIGTERM finishes open requests and ends, SIGHUP reloads the bundle."""
    del kernels  # chosen by the option itself
    from crosstune_export import MissingExtraError
    from crosstune_export.runtime.isolation import is_isolated
    from crosstune_export.runtime.session import default_threads

    try:
        from crosstune_export.serve.http_server import open_listener
        from crosstune_export.serve.limits import ServeLimits
        from crosstune_export.serve.server import serve as run_server
        from crosstune_export.serve.state import Trust
        from crosstune_export.serve.supervisor import inherited_listener, supervise
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name}: not installed, expected for serving. Run: pip install 'crosstune-export[cpu,serve]'"
        ) from error
    isolation = process_limits(isolate, max_memory_mb, max_seconds or (60.0 if isolate else None))
    limits = ServeLimits(
        max_texts=max_texts,
        max_characters=max_characters,
        max_body_bytes=max_body_bytes,
        max_pending_texts=max_pending_texts,
        explain=explain,
        max_explain_tokens=max_explain_tokens,
        max_pending_explain_tokens=4 * max_explain_tokens,
        receive_timeout_s=receive_timeout,
        drain_delay_s=drain_delay,
        drain_timeout_s=drain_timeout,
        run_timeout_s=None if isolation is None else isolation.max_seconds,
    )
    listener = inherited_listener() or open_listener(host, port, limits)
    if isolation is not None and not is_isolated():
        raise typer.Exit(supervise(this_command(), listener, isolation, drain_timeout, str(bundle)))
    code = run_server(
        bundle,
        host=host,
        listener=listener,
        threads=threads or default_threads(),
        limits=limits,
        min_similarity=min_similarity,
        trust=Trust(() if require_signature is None else (require_signature,), signature),
        cors=cors or (),
    )
    if code:
        os._exit(code)  # a normal exit would wait for worker threads that still classify
