"""Runs the server: loads the bundle, starts HTTP, and handles signals in the main thread."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from crosstune.core.errors import BundleIntegrityError, ConfigError, CrossTuneError
from crosstune_export.runtime.loopback import loopback_hosts
from crosstune_export.runtime.session import check_threads
from crosstune_export.serve import log
from crosstune_export.serve.api import bundle_app
from crosstune_export.serve.http_server import HttpServer
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.state import ServerState, Trust, load_checked
from crosstune_export.serve.supervisor import START_AGAIN, say_ready
from crosstune_export.serve.trial import try_bundle

#: Open files in addition to connections: the listening socket, the log, libraries.
_OTHER_FILES = 100
#: Seconds in which the requests of connections that the kernel has queued are read, before the listening socket is closed.
_BACKLOG_DRAIN_S = 0.2
#: The event that follows the numbers of signals when the HTTP server has ended.
_HTTP_ENDED = 0
#: The event of a request that ran longer than ``run_timeout_s``, and seconds in which its client gets the answer.
_OVERRUN = -1
_LAST_ANSWER_S = 0.2

Events = queue.SimpleQueue[int]


def serve(
    bundle: str | os.PathLike[str],
    *,
    host: str,
    listener: socket.socket,
    threads: int,
    limits: ServeLimits,
    min_similarity: float | None = None,
    trust: Trust | None = None,
    cors: Sequence[str] = (),
) -> int:
    """Serve a bundle until SIGTERM or SIGINT; SIGHUP reloads it. Call it in the main thread.

    When the exit code is not 0, worker threads may still run, and Python waits for them at exit: end the process with
    ``os._exit``.

    Args:
        bundle: The bundle folder.
        host: Name that requests may be for, in addition to the address of the listener.
        listener: Where to listen, from ``open_listener``; the first line of the log names the address.
        threads: Requests that are classified at the same time, one thread each, at least 1.
        limits: Limits and timeouts.
        min_similarity: Similarity (-1 to 1) below which a text gets no label; None for the one in the bundle.
        trust: Whose bundles to serve, now and after each reload; None for anybody's.
        cors: Origins of pages that may call the server from a browser, such as ``https://example.com``; ``*`` is every one.

    Returns:
        The exit code: 0 when every request was answered, otherwise 128 plus the number of the first signal, or
        ``START_AGAIN`` when a request ran longer than ``run_timeout_s``.

    Raises:
        BundleError: The bundle is refused.
        SelfTestError: Its samples give other results on this machine.
        ConfigError: ``threads`` is not from 1 to 256, or ``min_similarity`` is given and the bundle measures no similarity.
    """
    check_threads("threads", threads)
    _raise_open_file_limit(limits.max_connections + _OTHER_FILES)
    state = ServerState(limits, threads, min_similarity, cors)
    reloader = BundleLoader(Path(bundle), state, trust)
    reloader.load()
    address, port = listener.getsockname()[:2]
    state.hosts = loopback_hosts(host, address)
    events: Events = queue.SimpleQueue()
    server = HttpServer(state, listener)
    state.overrun = lambda: events.put(_OVERRUN)
    with log.warnings_as_json(), _signals_to(events):
        server.start(on_end=lambda: events.put(_HTTP_ENDED))
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        log.write("listening", url=url, digest=state.served.digest, threads=threads, pid=os.getpid())
        say_ready()
        stop_signal = _reload_until_stopped(events, reloader)
        if stop_signal == _OVERRUN:
            time.sleep(_LAST_ANSWER_S)
            log.write("stopped", dropped=state.open_requests)
            return START_AGAIN
        state.draining = True  # before the line: who reads it may ask at once
        log.write("stopping", signal=signal.Signals(stop_signal).name, pending_texts=state.pending_texts.pending)
        drained = _drain(events, state, server)
    dropped = state.open_requests
    for pool in (state.pool, state.explain_pool):
        pool.close()
    log.write("stopped", dropped=dropped)
    return 0 if drained else 128 + stop_signal


class BundleLoader:
    """Loads the bundle, at the start and at every SIGHUP."""

    def __init__(self, path: Path, state: ServerState, trust: Trust | None = None) -> None:
        self._path, self._state, self._trust = path, state, trust or Trust()
        self._lock = threading.Lock()

    def load(self, tried: str | None = None) -> None:
        """Load, check and test the bundle, then serve it.

        Args:
            tried: Digest of the bundle that was tried before; None if none was.

        Raises:
            BundleError: The bundle is refused.
            SelfTestError: Its samples give other results on this machine.
            BundleIntegrityError: It is not the bundle that was tried.
        """
        classifier = load_checked(self._path, self._trust)
        if tried is not None and classifier.manifest.digest != tried:
            raise BundleIntegrityError(f"{self._path}: changed while it was tried. Reload again.")
        self._state.set_bundle(classifier, bundle_app(classifier, self._state))

    def start_reload(self) -> None:
        """Reload in a thread of its own, one reload at a time."""
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        with self._lock:
            try:
                self.load(try_bundle(self._path, self._trust, self._state.limits.reload_timeout_s))
            except Exception as error:
                self._state.refuse_bundle(self._path, error)
                self._state.metrics.count_reload("refused")
                code = error.exit_code if isinstance(error, CrossTuneError) else 1
                log.write("reload refused", code=code, error=str(error), digest=self._state.served.digest)
            else:
                self._state.metrics.count_reload("taken")
                log.write("reloaded", digest=self._state.served.digest)


@contextlib.contextmanager
def _signals_to(events: Events) -> Iterator[None]:
    """Put the numbers of signals into a queue inside the block; a ``SimpleQueue`` may be used in a signal handler."""

    def put(number: int, _frame: FrameType | None) -> None:
        events.put(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    previous = {number: signal.signal(number, put) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reload_until_stopped(events: Events, reloader: BundleLoader) -> int:
    """Wait for SIGTERM or SIGINT and return its number, or for a request that runs too long; reload the bundle at SIGHUP."""
    while (event := events.get()) == signal.SIGHUP:
        reloader.start_reload()
    if event == _HTTP_ENDED:
        raise RuntimeError("the HTTP server ended without a signal")
    return event


def _drain(events: Events, state: ServerState, server: HttpServer) -> bool:
    """Let the requests in flight finish, until ``drain_timeout_s`` or another signal.

    Returns:
        Whether all of them were answered.
    """
    started = time.monotonic()
    deadline = started + state.limits.drain_timeout_s
    if _next_stop_event(events, started + state.limits.drain_delay_s) is not None:
        return False
    server.shrink_backlog()
    if _next_stop_event(events, time.monotonic() + _BACKLOG_DRAIN_S) is not None:
        return False
    server.close()
    return _next_stop_event(events, deadline) == _HTTP_ENDED


def _next_stop_event(events: Events, deadline: float) -> int | None:
    """The next event other than SIGHUP; None at the deadline, in seconds of ``time.monotonic``."""
    with contextlib.suppress(queue.Empty):
        while True:
            event = events.get(timeout=max(0.0, deadline - time.monotonic()))
            if event != signal.SIGHUP:
                return event
    return None


def _raise_open_file_limit(count: int) -> None:
    """Let this process open so many files: each connection is one.

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
