"""Errors that become HTTP responses, all of one JSON shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

#: What the client is told of an error of ours; the log has its place.
INTERNAL_ERROR = "server: internal error."


class HttpError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        message: One line, ``where: found, expected.``; never quotes a text.
        field: The part of the body that is wrong, such as ``texts[3]``; None if the error is not about the body.
        headers: Further response headers.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """The JSON body of the response."""
        return json.dumps({"error": self.message, "field": self.field, "request_id": request_id}).encode("ascii")


def overloaded(message: str) -> HttpError:
    """503 with ``Retry-After``: the same request may succeed in a second."""
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"retry-after": "1"})
