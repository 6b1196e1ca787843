"""Reads the body of a request within limits of size and time."""

from __future__ import annotations

import json
from http import HTTPStatus

import anyio
from starlette.requests import ClientDisconnect, Request

from crosstune_export.serve.capacity import Capacity
from crosstune_export.serve.http_errors import HttpError
from crosstune_export.serve.limits import ServeLimits


async def read_body(request: Request, limits: ServeLimits, buffered_bytes: Capacity, client: str) -> bytes:
    """Read a JSON body. At most ``max_body_bytes`` of it are held, whatever its declared length.

    Args:
        request: A request of which no body bytes were read yet.
        limits: The largest body, and the time in which it must arrive.
        buffered_bytes: Counts the bytes of all bodies that are being received.
        client: Who sends it.

    Returns:
        The bytes of the body.

    Raises:
        HttpError: 415 if it is not declared as JSON, 413 if it is too large, 408 if it does not arrive in time, 503 if
            all bodies together are too large, 400 if the client disconnects.
    """
    _check_body_headers(request, limits.max_body_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(limits.receive_timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise _too_large(limits.max_body_bytes)
                buffered_bytes.acquire(client, len(chunk))
                chunks.append(chunk)
        return b"".join(chunks)
    except TimeoutError:
        raise HttpError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"body: incomplete after {limits.receive_timeout_s:g} s, expected all of it by then.",
            headers={"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise HttpError(HTTPStatus.BAD_REQUEST, "body: the client disconnected before its end.") from None
    finally:
        buffered_bytes.release(client, sum(map(len, chunks)))


def _check_body_headers(request: Request, max_bytes: int) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-type: expected application/json.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-encoding: expected none. Send the body uncompressed."
        )
    declared_bytes = request.headers.get("content-length", "0")
    if not declared_bytes.isdecimal() or int(declared_bytes[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: too large, expected at most {max_bytes} bytes.")


def require_unique_keys(data: bytes) -> None:
    """Refuse a body with a duplicate key, since JSON parsers disagree about which of the two values counts.

    Args:
        data: JSON that already fits the model: one object with a few keys, so this second pass is cheap.

    Raises:
        HttpError: 400, a key is duplicated.
    """

    def check_pairs(pairs: list[tuple[str, object]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            raise HttpError(HTTPStatus.BAD_REQUEST, "body: found a duplicate key, expected each key once.")

    json.loads(data, object_pairs_hook=check_pairs)
