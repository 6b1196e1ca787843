"""Servers on loopback: the installed program in a process of its own, or the same server in a thread of this one."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crosstune_export.serve.http_server import HttpServer, open_listener
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.server import BundleLoader
from crosstune_export.serve.state import ServerState

#: Long enough for any machine; no test waits for it unless something is broken.
PATIENCE_S = 300


def socket_to(url: str) -> socket.socket:
    """A plain connection whose reads time out at last."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of a connection; a reset ends it too."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def next_response(connection: socket.socket) -> HTTPResponse:
    """The next response on a plain connection, its body not read yet."""
    response = HTTPResponse(connection)
    response.begin()
    return response


def post(body: object, *, path: str = "/v1/classify", headers: str = "") -> bytes:
    """The bytes of a request with a JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {len(data)}\r\n\r\n"
    return head.encode("latin-1") + data


def fetch(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], object]:
    """Status, headers in lower case, and body (parsed if it is JSON) of the response to one request."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
    try:
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers = {"content-type": "application/json", **headers}
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        content = response.read()
        response_headers = {name.lower(): value for name, value in response.getheaders()}
        if response_headers.get("content-type", "").startswith("application/json"):
            return response.status, response_headers, json.loads(content)
        return response.status, response_headers, content
    finally:
        connection.close()


class ServerProcess:
    """``crosstune-export serve`` in a process of its own, and its log."""

    def __init__(self, bundle: Path, *arguments: object) -> None:
        script = Path(sys.executable).parent / "crosstune-export"
        command = [script, "serve", bundle, "--port", "0", "--threads", "1", "--drain-delay", "0", *arguments]
        self.process = subprocess.Popen(
            [*map(str, command)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._events: queue.Queue[dict[str, object] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for("listening")["url"])

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            self._events.put(json.loads(line) if line.startswith("{") else {"event": "text", "line": line})
        self._events.put(None)

    def wait_for(self, event: str) -> dict[str, object]:
        """The next line of the log with this event."""
        while (line := self._events.get(timeout=PATIENCE_S)) is not None:
            if line["event"] == event:
                return line
        raise AssertionError(f"the server ended without {event!r}: {''.join(self.lines)}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """The exit code, once the process has ended."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout.read() == ""
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class ThreadedServer:
    """The same server in a thread, so that a test can block its only worker."""

    def __init__(self, bundle: Path, limits: ServeLimits) -> None:
        self.state = ServerState(limits, threads=1)
        BundleLoader(bundle, self.state).load()
        self.listener = open_listener("127.0.0.1", 0, limits)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self._server = HttpServer(self.state, self.listener)
        self._thread = self._server.start(on_end=lambda: None)

    def drain(self) -> None:
        """Do what SIGTERM does after the drain delay; returns at once."""
        self.state.draining = True
        self._server.close()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.state.pool.executor.shutdown()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Nothing is classified inside the block: the only worker waits."""
        release = threading.Event()
        job = self.state.pool.executor.submit(release.wait, PATIENCE_S)
        try:
            yield
        finally:
            release.set()
            assert job.result()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Send requests, which let the event loop run, until a condition holds."""
        for _ in range(100_000):
            if condition():
                return
            fetch(self.url, "GET", "/health")
        raise AssertionError("it never happened")


@pytest.fixture(scope="session")
def program(tiny_bundle_dir) -> Iterator[ServerProcess]:
    """One server for all tests that do not change it."""
    server = ServerProcess(tiny_bundle_dir)
    yield server
    server.signal(signal.SIGTERM)
    assert server.end() == 0, server.lines


@pytest.fixture
def start_program() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers for one test; those still running at its end are killed."""
    started: list[ServerProcess] = []

    def start(bundle: Path, *arguments: object) -> ServerProcess:
        started.append(ServerProcess(bundle, *arguments))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.end()


@pytest.fixture
def in_thread(tiny_bundle_dir) -> Iterator[Callable[..., ThreadedServer]]:
    """``in_thread(receive_timeout_s=0.3)`` starts a server in a thread with these limits."""
    started: list[ThreadedServer] = []

    def start(**limits: float) -> ThreadedServer:
        started.append(ThreadedServer(tiny_bundle_dir, ServeLimits(**limits)))
        return started[-1]

    yield start
    for server in started:
        server.drain()
    for server in started:
        server.join()


@pytest.fixture
def bundle_copy(tmp_path, tiny_bundle_dir) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bundle_dir, tmp_path / "copy.bundle"))


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that go on while the test does something else."""
    with ThreadPoolExecutor(16) as pool:
        yield pool
