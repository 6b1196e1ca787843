"""The one shape of every answer that is not a success."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus


class Refusal(Exception):
    """A request that is not answered as asked.

    Attributes:
        status: HTTP status.
        message: One line, ``where: found, expected.``; never holds a piece of a text.
        field: The part of the body that is wrong, such as ``texts[3]``; None where it is no part of it.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, message: str, *, field: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """The answer's JSON."""
        return json.dumps({"error": self.message, "field": self.field, "request_id": request_id}).encode("ascii")


def busy(message: str) -> Refusal:
    """503 with ``Retry-After``: the same request may succeed in a second."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, headers={"retry-after": "1"})
