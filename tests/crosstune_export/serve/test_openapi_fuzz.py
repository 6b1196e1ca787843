"""Requests that a fuzzer makes of the OpenAPI page: none brings the server down. ``benchmarks/robustness/serving_fuzz.py`` runs more."""

from __future__ import annotations

import json
import random

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st

from tests.crosstune_export.serve.conftest import ask

pytestmark = pytest.mark.slow


def test_no_answer_of_the_server_is_an_error_of_the_server(program):
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

    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 5
    attack()
    assert statuses.get(200, 0) > 10, statuses


def test_damaged_bodies(program):
    """Seeded damage to good bodies: bytes changed, cut, doubled."""
    dice = random.Random(13)
    good = json.dumps({"texts": ["where is it", "é"], "top_k": 2, "threshold": 0.5}, ensure_ascii=False).encode()
    seen = set()
    for _ in range(500):
        body = bytearray(good)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(body))
            body[at : at + dice.randrange(3)] = dice.choice(
                [b"", b"\x00", b'"', b"[", b"{", b"9" * 30, bytes([dice.randrange(256)])]
            )
        seen.add(ask(program.url, "POST", "/v1/classify", bytes(body))[0])
    assert seen <= {200, 400, 422}
    assert len(seen) == 3
