"""The outermost ASGI application: checks, counts and logs every request, and turns errors into responses."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from crosstune_export.runtime.loopback import is_for
from crosstune_export.serve import log
from crosstune_export.serve.http_errors import INTERNAL_ERROR, HttpError
from crosstune_export.serve.limits import MAX_HEAD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from crosstune_export.serve.state import ServerState

_CLASSIFY = "/v1/classify"
_ENDPOINTS = frozenset({"/", "/docs", _CLASSIFY, "/v1/labels", "/health", "/ready", "/metrics", "/openapi.json"})
_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_CLOSE = {"connection": "close"}


@dataclass
class RequestInfo:
    """Facts about one request, for its response and for the log.

    Attributes:
        request_id: The client's, if it has the allowed form, otherwise a random one.
        client: Address of the client.
        status: Status of the response; 0 until it is sent.
        texts: Texts to classify.
    """

    request_id: str
    client: str
    status: int = 0
    texts: int = 0


class RequestMiddleware:
    """Wraps the routes of the bundle that is served at the time of the request."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        state = self._state
        method = scope["method"]
        if method == "HEAD":  # answered as GET; the HTTP server leaves the body out
            scope = {**scope, "method": "GET"}
        info = scope["request_info"] = RequestInfo(_request_id(scope), (scope["client"] or ("", 0))[0])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                info.status = message["status"]
                headers = [*message["headers"], (b"x-request-id", info.request_id.encode("ascii"))]
                if state.draining:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        bug = None
        state.open_requests += 1
        try:
            _check_head(scope)
            _check_host(scope, state.hosts)
            if scope["path"] == _CLASSIFY and scope["method"] == "POST":
                state.pending_texts.require_room(info.client)  # refuse before anything is spent on the request
            await state.served.app(scope, receive, send_with_headers)
        except HttpError as error:
            await send_error(error, info, send_with_headers)
        except Exception as error:
            bug = _place_of(error)
            if not info.status:
                internal = HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL_ERROR)
                await send_error(internal, info, send_with_headers)
        finally:
            state.open_requests -= 1
            seconds = time.perf_counter() - started
            endpoint = scope["path"] if scope["path"] in _ENDPOINTS else "other"
            state.metrics.count_request(endpoint, info.status, seconds)
            log.write(
                "request",
                request=info.request_id,
                method=method if method in _METHODS else "other",
                endpoint=endpoint,
                status=info.status,
                texts=info.texts,
                ms=round(1e3 * seconds, 2),
                **({"error": bug} if bug else {}),
            )


async def send_error(error: HttpError, info: RequestInfo, send: Send) -> None:
    """Send an error as the response."""
    body = error.body(info.request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode("ascii"))]
    headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": int(error.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_head(scope: Scope) -> None:
    """Refuse request heads that ordinary clients never send.

    The connection is closed, because it is unclear where such a request ends and the next one begins.
    """
    headers = scope["headers"]
    if scope["http_version"] not in ("1.0", "1.1"):
        raise HttpError(
            HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "protocol: expected HTTP/1.1 or HTTP/1.0.", headers=_CLOSE
        )
    if len(headers) > MAX_HEADERS:
        raise HttpError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"headers: expected at most {MAX_HEADERS}.", headers=_CLOSE
        )
    if sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
        message = f"headers: expected at most {MAX_HEAD_BYTES} bytes."
        raise HttpError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, message, headers=_CLOSE)
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES:
        message = f"target: expected at most {MAX_TARGET_BYTES} bytes."
        raise HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, message, headers=_CLOSE)
    names = {name for name, _ in headers}
    if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] != "1.1"):
        message = "headers: found transfer-encoding, expected only content-length."
        raise HttpError(HTTPStatus.BAD_REQUEST, message, headers=_CLOSE)


def _check_host(scope: Scope, hosts: frozenset[str] | None) -> None:
    """Refuse requests for another machine."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
    if not is_for(hosts, host):
        message = "host: found another name, expected localhost or the address of this server."
        raise HttpError(HTTPStatus.MISDIRECTED_REQUEST, message, headers=_CLOSE)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex


def _place_of(error: Exception) -> str:
    """Class and place of an error, without its message, which may quote a text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else "nowhere"
    return f"{type(error).__name__} at {place}"
