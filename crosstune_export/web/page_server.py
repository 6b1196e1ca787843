"""Serves the page that classifies in the browser, and one bundle. Needs only the standard library and the runtime."""

from __future__ import annotations

import contextlib
import mimetypes
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from crosstune.core.errors import ConfigError, MissingExtraError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.manifest import file_entry
from crosstune_export.runtime.loopback import is_for, loopback_hosts

#: Output folder of ``make web``.
PAGE_FOLDER = Path(__file__).parent / "page"

#: The page may only run its own scripts and WebAssembly, and connect to its own origin.
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".md": "text/plain",
}


#: Seconds until the head of a request is complete, also of the next one on a connection, and until its answer is read.
_HEAD_S, _ANSWER_S = 30.0, 300.0


@dataclass(frozen=True)
class ServedFile:
    """A file in memory.

    Attributes:
        data: Its contents.
        gzipped: Its contents compressed with gzip; None if there is no compressed copy.
        content_type: ``Content-Type`` header.
        etag: ``ETag`` header.
        cache_control: ``Cache-Control`` header.
    """

    data: bytes
    gzipped: bytes | None
    content_type: str
    etag: str
    cache_control: str


def served_files(bundle: Path, page: Path = PAGE_FOLDER) -> Mapping[str, ServedFile]:
    """Return the files of the page and of a bundle by URL path, such as ``/`` and ``/bundle/manifest.json``.

    The bundle is checked and kept in memory, so later changes of its files are not served.

    Raises:
        BundleError: The bundle is invalid.
        MissingExtraError: The page is not built.
    """
    if not (page / "index.html").is_file():
        raise MissingExtraError(
            f"{page}: no page, expected a built one. In a checkout run: make web (it downloads Node and onnxruntime-web)."
        )
    files: dict[str, ServedFile] = {}
    for path in sorted(page.rglob("*")):
        if path.is_file() and path.suffix != ".gz":
            gzipped = path.with_name(path.name + ".gz")
            name = path.relative_to(page).as_posix()
            # Names of assets contain their hashes, so a browser may cache them forever.
            cache = "max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
            data = gzipped.read_bytes() if gzipped.is_file() else None
            files[f"/{name}"] = _served(path.name, path.read_bytes(), data, cache)
    files["/"] = files.pop("/index.html")
    for name, data in read_bundle(bundle).contents.items():
        files[f"/bundle/{name}"] = _served(name, data, None, "no-cache")
    return files


def make_server(files: Mapping[str, ServedFile], host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that is bound to an address and not yet running; port 0 picks a free one.

    Raises:
        ConfigError: The address cannot be used.
    """
    handler = type("Handler", (_Handler,), {"files": files})
    kind = _Server6 if ":" in host else _Server
    try:
        server = kind((host, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{host}:{port}: cannot listen ({reason}), expected a free address. Give another --host or --port; 0 picks a free one."
        ) from error
    server.hosts = loopback_hosts(host, str(server.server_address[0]))
    return server


def _served(name: str, data: bytes, gzipped: bytes | None, cache_control: str) -> ServedFile:
    suffix = Path(name).suffix
    guessed = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if guessed.startswith("text/") else ""
    return ServedFile(data, gzipped, guessed + charset, f'"{file_entry(data).sha256[:32]}"', cache_control)


class _Server(ThreadingHTTPServer):
    #: Connections at the same time; further ones are closed at once.
    most_connections = 128
    #: Names in the Host header that are answered; None for any.
    hosts: frozenset[str] | None = None

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        self._deadlines: dict[socket.socket, float] = {}
        super().__init__(*arguments)

    def close_after(self, connection: socket.socket, seconds: float) -> None:
        """Close a connection when so much time has passed, however busy it is."""
        self._deadlines[connection] = time.monotonic() + seconds

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer a connection in a thread of its own, unless there are too many."""
        if len(self._deadlines) >= self.most_connections:
            return self.shutdown_request(request)
        self.close_after(request, _HEAD_S)
        return super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Forget the deadline of a connection that ends."""
        self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close what took too long; called about twice a second."""
        now = time.monotonic()
        for connection, deadline in list(self._deadlines.items()):
            if now > deadline:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # its thread sees the end

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not report browsers that close the connection early."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    files: Mapping[str, ServedFile]
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        """Wait for a request for some seconds, and answer it."""
        self.server.close_after(self.connection, _HEAD_S)
        super().handle_one_request()

    def do_GET(self) -> None:
        self.server.close_after(self.connection, _ANSWER_S)
        if not is_for(self.server.hosts, self.headers.get("Host", "")):
            message = b"host: found another name, expected localhost or the address of this server.\n"
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, {"Content-Type": "text/plain"}, message)
        file = self.files.get(self.path.partition("?")[0])
        if file is None:
            return self._answer(HTTPStatus.NOT_FOUND, {"Content-Type": "text/plain"}, b"not found\n")
        headers = {"Content-Type": file.content_type, "ETag": file.etag, "Cache-Control": file.cache_control}
        if self.headers.get("If-None-Match") == file.etag:
            return self._answer(HTTPStatus.NOT_MODIFIED, headers, b"")
        if file.gzipped is None:
            return self._answer(HTTPStatus.OK, headers, file.data)
        headers["Vary"] = "Accept-Encoding"
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            return self._answer(HTTPStatus.OK, headers, file.data)
        return self._answer(HTTPStatus.OK, headers | {"Content-Encoding": "gzip"}, file.gzipped)

    do_HEAD = do_GET

    def _answer(self, status: HTTPStatus, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, **_SECURITY}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "crosstune-export"

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
