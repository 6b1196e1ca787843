"""The body of a request: bounded while it is read, and strict JSON."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from crosstune_export.serve.admission import Admission
from crosstune_export.serve.refusal import Refusal

#: No number of a request has more digits than this; converting long ones is slow.
_MAX_DIGITS = 20


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


def read_json(data: bytes) -> object:
    """Parse strict JSON that holds at most one object: no duplicate keys, no NaN, no Infinity, no absurd numbers or depth.

    Raises:
        Refusal: 400, the bytes are something else.

    Example:
        >>> read_json(b'{"texts": ["where is it"]}')
        {'texts': ['where is it']}
    """
    objects = 0

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal objects
        objects += 1
        if objects > 1:  # at once: a megabyte of {} never becomes a million dicts
            raise ValueError("one object inside another")
        found = dict(items)
        if len(found) != len(items):
            raise ValueError("a key twice")
        return found

    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=_refuse_constant, parse_int=_short_int
        )
    except UnicodeDecodeError as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, f"body: not UTF-8 at byte {error.start}, expected JSON in UTF-8."
        ) from None
    except RecursionError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "body: nested too deeply, expected one JSON object.") from None
    except ValueError as error:
        # Never what the parser quotes: that would be a piece of a text.
        reason = f"not JSON at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise Refusal(HTTPStatus.BAD_REQUEST, f"body: {reason}, expected one JSON object.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
