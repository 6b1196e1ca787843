"""A language model's server that cannot be reached or answers with errors: exit code, message, account, secrets.

The fixture ``augment`` checks after every run that the account adds up and that neither key nor canary is left anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import sqlite3

import pytest

from tests.conftest import TINY_TEXTS
from tests.crosstune.augmentation.conftest import KEY
from tests.fixtures.llm_server import Reply, always, completion, failure, first, good

LABELS = list(TINY_TEXTS)
HTML = b"<html><body>Please sign in to the hotel's network</body></html>"


def saved(ran, task) -> str:
    with contextlib.closing(sqlite3.connect(task.out / "g.answers.sqlite")) as table:
        count = table.execute("SELECT count(*) FROM answers").fetchone()[0]
    return f"{count} answers are saved in {task.out / 'g.answers.sqlite'}."


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.fault("D1")
def test_d1_nobody_listens(augment, task):
    port = free_port()
    ran = augment(f"http://127.0.0.1:{port}/v1/secret-path")
    assert ran.code == 4
    assert ran.error == (
        f"error: 127.0.0.1:{port}: cannot be reached (ConnectError). Check the network, then run the command again. "
        f"{saved(ran, task)}"
    )
    assert "secret-path" not in ran.outcome.err


@pytest.mark.fault("D1")
def test_d1_tls_against_a_server_without(augment, server, task):
    running = server()
    ran = augment(f"https://127.0.0.1:{running.port}/v1")
    assert ran.code == 4
    assert ran.error.startswith(f"error: {running.host}: cannot be reached (ConnectError). Check the network")
    assert running.requests == []


@pytest.mark.fault("D9")
def test_d9_cut_in_the_middle_of_the_body_and_sent_again_once(augment, server):
    half = Reply(body=completion("x").body[:40], announced=4000)
    running = server(first(half))
    ran = augment(running, concurrency=1)
    assert ran.code == 0
    assert len(running.requests) == len(LABELS) + 1
    assert running.requests[0].headers["idempotency-key"] == running.requests[1].headers["idempotency-key"]
    assert ran.account["answers"] == {"bought": 3, "from_cache": 0, "sent_again": 1, "unsure": 1}
    assert "  1 sent without an answer and possibly billed, counted at their maximum cost" in ran.outcome.out

    running = server(always(half))
    ran = augment(running, "--force", concurrency=1, seed=14)
    assert ran.code == 4
    assert len(running.requests) == 2, "what may have been billed is not sent a third time"
    assert "the connection broke before the answer was complete (" in ran.error


@pytest.mark.fault("D9")
def test_d9_a_body_that_stalls_meets_the_deadline(augment, server):
    running = server(first(Reply(body=b'{"choices": [', announced=4000, hang=True)))
    ran = augment(running, concurrency=1, timeout=1)
    assert ran.code == 0
    assert ran.account["answers"]["unsure"] == 1
    stalled = server(always(Reply(body=b"{", announced=4000, hang=True)))
    ran = augment(stalled, "--force", concurrency=1, timeout=0.3, seed=14)
    assert ran.code == 4
    assert ran.error.startswith(
        f"error: {stalled.host}: no complete answer within 0.3 s. Raise --timeout, or run the command again. "
    )
    assert len(stalled.requests) == 2


@pytest.mark.fault("D2")
@pytest.mark.parametrize("status", [401, 403])
def test_d2_a_key_that_is_refused_and_echoed(augment, server, task, status):
    running = server(
        always(failure(status, f"Incorrect API key provided: {KEY}. Find yours at x.", code="invalid_api_key"))
    )
    ran = augment(running, "--debug", concurrency=1)
    assert ran.code == 4
    assert len(running.requests) == 1
    assert running.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert ran.error == (
        f"error: {running.host}: {status} (invalid_api_key Incorrect API key provided: [removed]. Find yours at x.), expected "
        f"the key in OPENAI_API_KEY that ends in 6053 to be accepted. Check the key and its permissions. {saved(ran, task)}"
    )


@pytest.mark.fault("D3")
@pytest.mark.parametrize("status", [404, 405, 400])
def test_d3_wrong_model_or_address(augment, server, task, status):
    running = server(always(failure(status, "The model does not exist", code="model_not_found")))
    ran = augment(running, concurrency=1)
    assert ran.code == 4
    assert len(running.requests) == 1
    assert ran.error == (
        f"error: {running.host}: {status} (model_not_found The model does not exist) for model tiny-writer at "
        f"{running.base_url}/chat/completions, expected an answer. Check --base-url and --model. {saved(ran, task)}"
    )


@pytest.mark.fault("D4")
def test_d4_a_wait_that_is_too_long(augment, server, task):
    running = server(always(failure(429, "slow down", {"Retry-After": "3600"})))
    ran = augment(running, concurrency=1, max_wait=60)
    assert ran.code == 4
    assert len(running.requests) == 1
    assert ran.error == (
        f"error: {running.host}: 429 (slow down): too many requests, asks to wait 3600 s (--max-wait is 60). "
        f"Run the command again later. {saved(ran, task)}"
    )


@pytest.mark.fault("D4")
def test_d4_a_wait_that_is_short_is_waited(augment, server, monkeypatch):
    monkeypatch.setattr("crosstune.augmentation.generator.random.random", lambda: 0.0)
    running = server(
        first(failure(429, "slow down", {"Retry-After": "0"}), failure(429, "slow down", {"Retry-After": "0.01"}))
    )
    ran = augment(running, concurrency=1)
    assert ran.code == 0
    assert ran.account["answers"] == {"bought": 3, "from_cache": 0, "sent_again": 2, "unsure": 0}


@pytest.mark.fault("D5")
@pytest.mark.parametrize(
    "reply", [failure(429, "quota", type="insufficient_quota", code="insufficient_quota"), failure(402)]
)
def test_d5_out_of_credit(augment, server, reply):
    running = server(lambda number, request: good(request) if number == 0 else reply)
    ran = augment(running, concurrency=1)
    assert ran.code == 4
    assert len(running.requests) == 2, "not sent again"
    assert "out of credit. Add credit, then run the command again. 1 answers are saved in " in ran.error
    more = server()
    again = augment(more.base_url, "--force", concurrency=1)
    assert again.code == 0


@pytest.mark.fault("D5")
def test_d5_what_was_paid_is_not_bought_again(augment, server):
    calls = []

    def script(number, request):
        calls.append(request.label)
        return failure(402) if len(calls) == 2 else good(request)

    running = server(script)
    assert augment(running, concurrency=1).code == 4
    ran = augment(running, concurrency=1)
    assert ran.code == 0
    assert calls == [LABELS[0], LABELS[1], LABELS[1], LABELS[2]]
    assert ran.account["answers"] == {"bought": 2, "from_cache": 1, "sent_again": 0, "unsure": 0}


@pytest.mark.fault("D6")
@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_d6_server_errors_pass_or_end_the_run(augment, server, task, status):
    page = Reply(status, HTML, {"Content-Type": "text/html"})
    ran = augment(server(first(page, page, page)), concurrency=1)
    assert ran.code == 0
    assert ran.account["answers"]["sent_again"] == 3
    running = server(always(page))
    ran = augment(running, "--force", concurrency=1, seed=14)
    assert ran.code == 4
    assert len(running.requests) == 6
    assert (
        f"{status} for {running.base_url}/chat/completions, expected an answer. Run the command again later."
        in ran.error
    )
    assert "hotel" not in ran.outcome.err


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    "body", [HTML, b"", b"[1]", b'{"error": "x"}', b'{"choices": NaN}', b"\xff\xfe", b"[" * 100_000]
)
def test_d7_200_that_is_no_completion(augment, server, body):
    running = server(always(Reply(200, body, {"Content-Type": "text/html"})))
    ran = augment(running, concurrency=1)
    assert ran.code == 4
    assert len(running.requests) == 2
    assert (
        f"200 with {len(body)} bytes that are not a chat completion, expected JSON with choices. Check --base-url."
        in ran.error
    )
    assert augment(server(first(Reply(200, body))), concurrency=1).code == 0


def test_parameters_that_a_server_refuses_are_left_out(augment, server):
    def script(number, request):
        for name in ("response_format", "seed", "max_tokens"):
            if name in request.body:
                return failure(400, f"Unsupported parameter: '{name}'", param=name)
        return good(request)

    running = server(script)
    ran = augment(running, concurrency=3)
    assert ran.code == 0
    assert ran.account["kept"] > 0
    assert "max_completion_tokens" in running.requests[-1].body
    before = len(running.requests)
    augment(running, "--force")
    assert len(running.requests) == before


@pytest.mark.fault("L21")
@pytest.mark.parametrize("concurrency", [1, 32])
def test_a_gateway_that_bills_and_then_fails(augment, server, tmp_path, concurrency):
    """Every third answer is 500, after the model was run and billed at what was asked for: the cap holds."""
    prices, billed = tmp_path / "prices.toml", []
    prices.write_text('["tiny-writer"]\nprompt = 1.0\nanswer = 10.0\n')

    def script(number, request):
        if number % 3:
            billed.append((100 + 10 * 50) / 1e6)  # the usage that a good answer states
            return good(request)
        prompt = len(request.system + request.user) // 4
        billed.append((prompt + 10 * request.body["max_tokens"]) / 1e6)
        return failure(500)

    cap, running = 0.03, server(script)
    ran = augment(running, max_cost=cap, prices=prices, concurrency=concurrency, per_label=100)
    assert ran.code in (0, 4)
    assert len(billed) > 3
    assert cap / 2 < sum(billed) <= cap


@pytest.mark.fault("L22")
@pytest.mark.parametrize("before", ["", "Bearer ", "ab:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_that_is_echoed_in_base64_is_removed(augment, server, task, encode, before):
    spelling = encode(f"{before}{KEY}".encode()).decode()
    for echoed in (spelling, spelling.rstrip("=")):
        running = server(always(failure(401, f"got token={echoed}; not valid", code="invalid_api_key")))
        ran = augment(running, "--debug", "--force", concurrency=1)
        assert ran.code == 4
        assert "(invalid_api_key got token=[removed]" in ran.error
        assert KEY[:8] not in ran.outcome.err
        assert echoed not in ran.outcome.err
