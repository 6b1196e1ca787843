"""The outermost ASGI application: every request passes it, whatever comes of it."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from crosstune_export.serve import log
from crosstune_export.serve.http_errors import Refusal
from crosstune_export.serve.limits import MAX_HEADERS, MAX_TARGET_BYTES
from crosstune_export.serve.state import Desk

_CLASSIFY = "/v1/classify"
_ENDPOINTS = frozenset({_CLASSIFY, "/v1/labels", "/health", "/ready", "/metrics", "/openapi.json"})
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass
class Exchange:
    """One request and what became of it.

    Attributes:
        request_id: The client's, where it is harmless, else ours.
        status: Of the answer; 0 while there is none.
        texts: How many were asked for.
        last: Whether the connection ends with it.
    """

    request_id: str
    status: int = 0
    texts: int = 0
    last: bool = False


class Gate:
    """Checks the head of a request, names it, counts it, logs it, and turns errors into answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        exchange = scope["exchange"] = Exchange(_request_id(scope))

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                headers = [*message["headers"], (b"x-request-id", exchange.request_id.encode("ascii"))]
                if exchange.last or self._desk.doorway.draining:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        error = None
        try:
            _check_head(scope, exchange)
            if scope["path"] == _CLASSIFY and scope["method"] == "POST":
                self._desk.texts.require_room()  # here, before anything is spent on it
            await self._desk.app(scope, receive, named)
        except Refusal as refusal:
            await respond(refusal, exchange, named)
        except Exception as bug:
            error = _place_of(bug)
            if not exchange.status:
                await respond(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "server: internal error."), exchange, named)
        finally:
            seconds = time.perf_counter() - started
            endpoint = scope["path"] if scope["path"] in _ENDPOINTS else "other"
            self._desk.metrics.answered(endpoint, exchange.status, seconds)
            log.write(
                "request",
                request=exchange.request_id,
                method=scope["method"] if scope["method"] in _METHODS else "other",
                endpoint=endpoint,
                status=exchange.status,
                texts=exchange.texts,
                ms=round(1e3 * seconds, 2),
                **({"error": error} if error else {}),
            )


async def respond(refusal: Refusal, exchange: Exchange, send: Send) -> None:
    """Send a refusal."""
    body = refusal.body(exchange.request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": int(refusal.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_head(scope: Scope, exchange: Exchange) -> None:
    """Refuse what plain clients never send. After a head whose end is in doubt the connection is not used again."""
    headers = scope["headers"]
    exchange.last = True
    if scope["http_version"] not in ("1.0", "1.1"):
        raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "protocol: expected HTTP/1.1 or HTTP/1.0.")
    if len(headers) > MAX_HEADERS:  # their bytes are bounded by the protocol
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers: expected at most {MAX_HEADERS}.")
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, f"target: expected at most {MAX_TARGET_BYTES} bytes.")
    names = {name for name, _ in headers}
    if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] != "1.1"):
        raise Refusal(HTTPStatus.BAD_REQUEST, "headers: found transfer-encoding, expected content-length alone.")
    exchange.last = False


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


def _place_of(error: Exception) -> str:
    """Class and place of an error, without its message, which may hold a text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} at {place}"
