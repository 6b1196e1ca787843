"""Servers on loopback: the installed program in a process of its own, or the same server in a thread of this one."""

from __future__ import annotations

import asyncio
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

from crosstune_export.serve.api import bundle_app
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.server import BundleServer
from crosstune_export.serve.state import Desk, load_checked

#: Long enough for any machine; nothing waits for it unless something is broken.
PATIENCE_S = 300


def socket_to(url: str) -> socket.socket:
    """A plain connection that never waits for ever."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_S)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of a connection; a reset ends it too."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def answer_on(connection: socket.socket) -> HTTPResponse:
    """The next answer on a plain connection, its body not read yet."""
    response = HTTPResponse(connection)
    response.begin()
    return response


def post(body: object, *, path: str = "/v1/classify", headers: str = "") -> bytes:
    """The bytes of a request with a JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n{headers}content-length: {len(data)}\r\n\r\n"
    return head.encode("latin-1") + data


def ask(url: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], object]:
    """Status, headers in lower case, and body (parsed where it is JSON) of one request."""
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
        found = {name.lower(): value for name, value in response.getheaders()}
        if found.get("content-type", "").startswith("application/json"):
            return response.status, found, json.loads(content)
        return response.status, found, content
    finally:
        connection.close()


class Program:
    """``crosstune-export serve`` in a process of its own, and its log."""

    def __init__(self, bundle: Path, *arguments: object) -> None:
        script = Path(sys.executable).parent / "crosstune-export"
        command = [script, "serve", bundle, "--port", "0", "--threads", "1", *arguments]
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
        while (found := self._events.get(timeout=PATIENCE_S)) is not None:
            if found["event"] == event:
                return found
        raise AssertionError(f"the server ended without {event!r}: {''.join(self.lines)}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """The exit code, once it has ended by itself."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout.read() == ""
        self.process.stdout.close()
        self.process.stderr.close()
        return code


class InThread:
    """The same server in a thread, so that a test can hold its workers."""

    def __init__(self, bundle: Path, limits: ServeLimits) -> None:
        self.desk = Desk(limits, threads=1)
        classifier = load_checked(bundle)
        self.desk.take(classifier, bundle_app(classifier, self.desk))
        self.server = BundleServer(self.desk, bundle)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self.server.serve(sockets=[self.listening])

        with self.listening:
            asyncio.run(serve())

    def stop(self) -> None:
        """What SIGTERM does; returns at once."""
        ask(self.url, "GET", "/health")  # the loop runs
        self._loop.call_soon_threadsafe(self.server.stop, signal.SIGTERM)

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.desk.pool.shutdown()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Nothing is classified inside the block: the only worker waits."""
        release = threading.Event()
        job = self.desk.pool.submit(release.wait, PATIENCE_S)
        try:
            yield
        finally:
            release.set()
            assert job.result()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Ask the server, which takes a turn of its loop, until something has happened."""
        for _ in range(100_000):
            if condition():
                return
            ask(self.url, "GET", "/health")
        raise AssertionError("it never happened")


@pytest.fixture(scope="session")
def program(tiny_bundle_dir) -> Iterator[Program]:
    """One server for all tests that leave it as it was."""
    found = Program(tiny_bundle_dir)
    yield found
    found.signal(signal.SIGTERM)
    assert found.end() == 0, found.lines


@pytest.fixture
def start_program() -> Iterator[Callable[..., Program]]:
    """Starts servers of a test's own; those still running at its end are killed."""
    started: list[Program] = []

    def start(bundle: Path, *arguments: object) -> Program:
        started.append(Program(bundle, *arguments))
        return started[-1]

    yield start
    for found in started:
        if found.process.poll() is None:
            found.process.kill()
            found.end()


@pytest.fixture
def in_thread(tiny_bundle_dir) -> Iterator[Callable[..., InThread]]:
    """``in_thread(receive_timeout_s=0.3)`` starts a server in a thread with these limits."""
    started: list[InThread] = []

    def start(**limits: float) -> InThread:
        started.append(InThread(tiny_bundle_dir, ServeLimits(**limits)))
        return started[-1]

    yield start
    for found in started:
        if not found.desk.doorway.draining:
            found.stop()
        found.join()


@pytest.fixture
def own_bundle(tmp_path, tiny_bundle_dir) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_bundle_dir, tmp_path / "own.bundle"))


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that go on while the test does something else."""
    with ThreadPoolExecutor(16) as pool:
        yield pool
