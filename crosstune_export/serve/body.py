"""The body of a request, bounded while it is read."""

from __future__ import annotations

import json
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from crosstune_export.serve.capacity import Admission
from crosstune_export.serve.http_errors import Refusal


async def read_body(request: Request, max_bytes: int, buffered: Admission) -> bytes:
    """Read a body, never holding more than ``max_bytes`` of it, whatever its length is said to be.

    Args:
        request: Nothing of it was read yet.
        max_bytes: The largest body.
        buffered: Counts the bytes of all bodies that are being received.

    Raises:
        Refusal: 413 where it is too large, 415 where it is not JSON, 503 where all bodies together are too large.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-type: expected application/json.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-encoding: expected none, bodies are sent as they are."
        )
    too_large = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"body: too large, expected at most {max_bytes} bytes.")
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > max_bytes:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise too_large
            buffered.add(len(chunk))
            chunks.append(chunk)
        return b"".join(chunks)
    except ClientDisconnect:
        raise Refusal(HTTPStatus.BAD_REQUEST, "body: the client went away before its end.") from None
    finally:
        buffered.drop(sum(map(len, chunks)))


def require_unique_keys(data: bytes) -> None:
    """Refuse a body that names a key twice: which of the two counts would depend on who reads it.

    Args:
        data: JSON that fits the model already, so one object with a few keys: this pass costs nothing.

    Raises:
        Refusal: 400, a key stands twice.
    """

    def pairs(items: list[tuple[str, object]]) -> None:
        if len({key for key, _ in items}) != len(items):
            raise Refusal(HTTPStatus.BAD_REQUEST, "body: a key twice, expected each once.")

    json.loads(data, object_pairs_hook=pairs)
