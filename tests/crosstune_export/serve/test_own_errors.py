"""Errors of the server itself are answered in the form of all others."""

from __future__ import annotations

import pytest

from crosstune.core.errors import ResourceError
from crosstune_export import Classifier
from tests.crosstune_export.serve.conftest import fetch

TOO_LITTLE_MEMORY = "server: too little memory for this request, expected less text. Send less, or try again later."


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RuntimeError("where is my parcel"), 500, "server: internal error."),
        (MemoryError(), 503, TOO_LITTLE_MEMORY),
        (ResourceError("the graph: no memory"), 503, TOO_LITTLE_MEMORY),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_ours_is_json_too(in_thread, monkeypatch, error, status, message):
    """And it quotes no text."""

    def fail(*_):
        raise error

    server = in_thread()
    monkeypatch.setattr(Classifier, "_rows", fail)
    found, headers, answer = fetch(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})
    assert (found, headers["content-type"]) == (status, "application/json")
    assert answer == {"error": message, "field": None, "request_id": headers["x-request-id"]}
