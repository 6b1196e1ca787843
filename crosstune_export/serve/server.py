"""Runs the server: one process, one listening socket, signals."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from crosstune_export import ConfigError, CrossTuneError
from crosstune_export.runtime.session import check_threads
from crosstune_export.serve import log
from crosstune_export.serve.api import bundle_app
from crosstune_export.serve.limits import MAX_HEAD_BYTES, ServeLimits
from crosstune_export.serve.listening import HANDSHAKE_S, listen, take_all, turn_away
from crosstune_export.serve.protocol import TimedProtocol
from crosstune_export.serve.request_middleware import Gate
from crosstune_export.serve.state import Desk, load_checked

#: Open files beside connections: the socket, the log, libraries.
_OTHER_FILES = 100


def serve(bundle: str | os.PathLike[str], *, host: str, port: int, threads: int, limits: ServeLimits) -> int:
    """Serve a bundle until SIGTERM or SIGINT; SIGHUP reads it again. Call it in the main thread.

    Args:
        bundle: The bundle folder.
        host: Address to listen on.
        port: 0 lets the system choose; the first line of the log says which.
        threads: Texts that are classified at the same time, one thread each, at least 1.
        limits: What is taken.

    Returns:
        The exit code: 0 when every accepted request was answered, else 128 and the signal's number.

    Raises:
        BundleError: The bundle is refused.
        SelfTestError: Its samples do not come out as promised on this machine.
        ConfigError: The address is not to be had, or ``threads`` is not from 1 to 256.
    """
    check_threads("threads", threads)
    path = Path(bundle)
    _allow_files(limits.max_connections + _OTHER_FILES)
    desk = Desk(limits, threads)
    classifier = load_checked(path)
    desk.take(classifier, bundle_app(classifier, desk))
    with listen(host, port) as listening, _library_log():
        server = BundleServer(desk, path)
        address, port = listening.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        log.write("listening", url=f"http://{shown}:{port}", digest=desk.digest, threads=threads, pid=os.getpid())
        server.run(sockets=[listening])
    desk.pool.shutdown(wait=False, cancel_futures=True)
    log.write("stopped", dropped=server.dropped)
    return 128 + server.signal if server.dropped else 0


class BundleServer(uvicorn.Server):
    """uvicorn with our signals: its own handlers know neither draining nor reloads.

    Attributes:
        dropped: Accepted requests that were not answered when it ended.
        signal: The number that ended it.
    """

    def __init__(self, desk: Desk, path: Path) -> None:
        protocol: Any = functools.partial(TimedProtocol, doorway=desk.doorway)
        super().__init__(
            uvicorn.Config(
                Gate(desk),
                http=protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                # Whole seconds. The transport's own clocks are in TimedProtocol.
                timeout_graceful_shutdown=math.ceil(desk.limits.drain_timeout_s),
            )
        )
        self._desk, self._path = desk, path
        self._reload = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()
        self.dropped, self.signal = 0, 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals for as long as the loop runs; beside the main thread there are none to take."""
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop, number)
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        yield

    def stop(self, number: int) -> None:
        """What SIGTERM and SIGINT do: answer what is accepted, take nothing new; the second one does not wait."""
        self.force_exit = self._desk.doorway.draining
        self._desk.doorway.draining = True
        self.should_exit = True
        self.signal = number
        log.write("stopping", signal=signal.Signals(number).name, pending_texts=self._desk.texts.pending)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is accepted, then end."""
        for listening in sockets or []:
            turn_away(listening)
        await asyncio.sleep(HANDSHAKE_S)
        waiting = [connection for listening in sockets or [] for connection in take_all(listening)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)
        self.dropped = len(self.server_state.tasks)

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(config=self.config, server_state=self.server_state, app_state={})
        return made

    def _hang_up(self) -> None:
        task = asyncio.ensure_future(self._reload_bundle())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_bundle(self) -> None:
        """Read the bundle again in a thread; what does not load leaves everything as it was."""
        async with self._reload:
            try:
                classifier, app = await asyncio.to_thread(self._load)
            except Exception as error:
                self._desk.refuse(self._path, error)
                self._desk.metrics.reloaded("refused")
                code = error.exit_code if isinstance(error, CrossTuneError) else 1
                log.write("reload refused", code=code, error=str(error), digest=self._desk.digest)
            else:
                self._desk.take(classifier, app)
                self._desk.metrics.reloaded("taken")
                log.write("reloaded", digest=self._desk.digest)

    def _load(self) -> tuple[Any, Any]:
        classifier = load_checked(self._path)
        return classifier, bundle_app(classifier, self._desk)


def _allow_files(count: int) -> None:
    """Let this process have so many files open: each connection is one.

    Raises:
        ConfigError: The system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise ConfigError(
            f"ulimit -n: found {hard} as the hard limit of open files, expected at least {count}. Raise it."
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


@contextlib.contextmanager
def _library_log() -> Iterator[None]:
    """What uvicorn and asyncio warn of becomes lines of our log."""
    handler = log.JsonHandler(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
