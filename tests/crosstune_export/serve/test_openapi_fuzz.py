"""Requests that a fuzzer generates from the OpenAPI page. ``benchmarks/robustness/serving_fuzz.py`` runs more of them."""

from __future__ import annotations

import json
import random

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

from tests.crosstune_export.serve.conftest import fetch

pytestmark = pytest.mark.slow


def test_no_generated_request_is_a_server_error(program):
    schema = schemathesis.openapi.from_url(f"{program.url}/openapi.json")
    statuses: dict[int, int] = {}

    @hypothesis.given(data=st.data())
    @hypothesis.settings(max_examples=150)
    def attack(data) -> None:
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        response = case.call(base_url=program.url)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        assert response.status_code < 500, case.as_curl_command()

    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert len(operations) == 5
    attack()
    assert statuses.get(200, 0) > 10, statuses


def test_damaged_bodies_are_refused(program):
    """Valid bodies in which seeded random bytes are replaced or removed."""
    rng = random.Random(13)
    valid = json.dumps({"texts": ["where is it", "é"], "top_k": 2, "threshold": 0.5}, ensure_ascii=False).encode()
    statuses = set()
    for _ in range(500):
        body = bytearray(valid)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body))
            body[at : at + rng.randrange(3)] = rng.choice(
                [b"", b"\x00", b'"', b"[", b"{", b"9" * 30, bytes([rng.randrange(256)])]
            )
        statuses.add(fetch(program.url, "POST", "/v1/classify", bytes(body))[0])
    assert statuses <= {200, 400, 422}
    assert len(statuses) == 3
