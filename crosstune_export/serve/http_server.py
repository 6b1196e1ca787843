"""uvicorn and its listening socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn

from crosstune.core.errors import ConfigError
from crosstune_export.serve.limits import MAX_HEAD_BYTES, ServeLimits
from crosstune_export.serve.request_middleware import RequestMiddleware
from crosstune_export.serve.state import ServerState

#: Connections that the kernel queues until the event loop accepts them.
_BACKLOG = 2048


class HttpServer:
    """uvicorn in a thread of its own, so that the main thread can end the process whatever the event loop does.

    uvicorn installs no signal handlers outside the main thread.
    """

    def __init__(self, state: ServerState, listener: socket.socket) -> None:
        limits = state.limits
        self._listener = listener
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                RequestMiddleware(state),
                http="h11",  # unlike httptools it limits the size of a request's head
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                limit_concurrency=limits.max_connections + 1,  # uvicorn refuses from this number on
                timeout_keep_alive=limits.keep_alive_s,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            )
        )

    def start(self, on_end: Callable[[], None]) -> threading.Thread:
        """Start to serve, and return the thread.

        Args:
            on_end: Called in that thread when the server has ended, for whatever reason.
        """

        def run() -> None:
            try:
                self._uvicorn.run(sockets=[self._listener])
            finally:
                on_end()

        thread = threading.Thread(target=run, name="http", daemon=True)
        thread.start()
        return thread

    def shrink_backlog(self) -> None:
        """Let the kernel queue almost no new connections, since closing the listening socket resets those in the queue."""
        self._listener.listen(0)

    def close(self) -> None:
        """Stop listening and close idle connections; the server ends when all requests in flight are answered."""
        self._uvicorn.should_exit = True


def open_listener(host: str, port: int, limits: ServeLimits) -> socket.socket:
    """Open the listening socket.

    Args:
        host: Name or address.
        port: 0 lets the system choose a free port.
        limits: ``send_timeout_s`` applies to every connection that is accepted from the socket.

    Raises:
        ConfigError: The address is not available.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * limits.send_timeout_s))
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(f"{host}:{port}: cannot listen ({reason}). Choose another --host or --port.") from error
