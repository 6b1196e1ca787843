"""Slow clients and overload: neither costs other clients anything."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time

import pytest

from crosstune_export import ConfigError
from crosstune_export.serve.limits import ServeLimits
from tests.crosstune_export.serve.conftest import PATIENCE_S, fetch, next_response, post, read_all, socket_to

HEAD = b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"


@pytest.mark.fault("J3")
@pytest.mark.parametrize("request_start", [HEAD, HEAD + b'{"texts": ["wh'], ids=["no body", "half a body"])
def test_a_body_that_never_ends_is_refused(in_thread, request_start):
    server = in_thread(receive_timeout_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(request_start)
        response = next_response(connection)
        assert (response.status, response.getheader("connection")) == (408, "close")
        assert json.loads(response.read())["error"] == "body: incomplete after 0.2 s, expected all of it by then."
        assert read_all(connection) == b""
    server.wait_until(lambda: server.state.buffered_bytes.pending == 0)
    assert server.state.pending_texts.pending == 0


@pytest.mark.fault("J3")
def test_a_slow_body_does_not_extend_the_deadline(in_thread):
    server = in_thread(receive_timeout_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD)
        connection.settimeout(0.02)
        received = b""
        for _ in range(3_000):  # far beyond the deadline, if each byte extended it
            try:
                connection.sendall(b" ")
                if piece := connection.recv(65536):
                    received += piece
                else:
                    break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            raise AssertionError("never cut off")
    assert received == b"" or received.startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault("J3")
def test_an_idle_connection_is_closed(in_thread):
    server = in_thread(keep_alive_s=1)
    with socket_to(server.url) as connection:
        connection.sendall(post({"texts": ["a"]}))
        assert next_response(connection).status == 200
        assert b"HTTP/1.1" not in read_all(connection)  # the rest of the response, then the end


@pytest.mark.fault("J3")
def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(in_thread):
    server = in_thread(keep_alive_s=1)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD.replace(b": 100", b": 9000000") + b" " * 1000)
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.fault("J3")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has TCP_USER_TIMEOUT")
def test_a_client_that_does_not_read_its_responses_is_cut_off(in_thread):
    server = in_thread(send_timeout_s=0.2)
    server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(server.listener.getsockname())
        connection.settimeout(0.05)
        deadline = time.monotonic() + 60
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # the kernel dropped the connection
            while time.monotonic() < deadline:
                with contextlib.suppress(TimeoutError):  # the server reads no further until its responses are read
                    connection.sendall(post({"texts": ["a"] * 32}))
    server.wait_until(lambda: server.state.open_requests <= 1)  # at most the request of wait_until itself


@pytest.mark.fault("J3", "K6")
def test_a_client_that_disconnects_leaves_nothing_behind(in_thread):
    server = in_thread()
    with server.busy():
        connection = socket_to(server.url)
        connection.sendall(post({"texts": ["a"] * 5}))
        server.wait_until(lambda: server.state.pending_texts.pending == 5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        connection.close()
    server.wait_until(lambda: server.state.pending_texts.pending == 0)
    assert fetch(server.url, "POST", "/v1/classify", {"texts": ["a"]})[0] == 200


@pytest.mark.fault("J3")
def test_slow_clients_do_not_slow_down_others(in_thread):
    server = in_thread(receive_timeout_s=600)
    slow = [socket_to(server.url) for _ in range(99)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall((b"GET /hea", HEAD, HEAD + b'{"texts"')[number % 3])
        server.wait_until(lambda: server.state.open_requests >= 66)
        for _ in range(5):
            assert fetch(server.url, "POST", "/v1/classify", {"texts": ["a"]})[0] == 200
        assert server.state.open_requests >= 66
    finally:
        for connection in slow:
            connection.close()


def test_the_openapi_example_respects_the_smallest_limits(in_thread):
    server = in_thread(max_texts=1, max_characters=5)
    page = fetch(server.url, "GET", "/openapi.json")[2]
    example = page["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert [len(text) for text in example["texts"]] == [5]
    assert fetch(server.url, "POST", "/v1/classify", example)[0] == 200


@pytest.mark.fault("J4")
def test_too_many_texts_are_refused_at_once(in_thread, clients):
    server = in_thread(max_pending_texts=4, max_texts=3)
    with server.busy():
        first = clients.submit(fetch, server.url, "POST", "/v1/classify", {"texts": ["a"] * 3})
        server.wait_until(lambda: server.state.pending_texts.pending == 3)
        status, headers, body = fetch(server.url, "POST", "/v1/classify", {"texts": ["b"] * 2})
        assert (status, headers["retry-after"], body["error"]) == (
            503,
            "1",
            "server: 3 texts are pending, expected at most 4. Try again later.",
        )
        second = clients.submit(fetch, server.url, "POST", "/v1/classify", {"texts": ["b"]})
        server.wait_until(lambda: server.state.pending_texts.pending == 4)
        with socket_to(server.url) as connection:  # before any byte of the body
            connection.sendall(HEAD)
            assert next_response(connection).status == 503
        assert fetch(server.url, "GET", "/ready")[0] == 200
        assert not first.done()
    assert (first.result()[0], second.result()[0]) == (200, 200)
    assert server.state.pending_texts.pending == 0


@pytest.mark.fault("J4")
def test_bodies_in_transfer_share_one_limit(in_thread):
    server = in_thread(max_buffered_bytes=1000)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD.replace(b": 100", b": 5000") + b" " * 900)
        server.wait_until(lambda: server.state.buffered_bytes.pending == 900)
        status, _, body = fetch(server.url, "POST", "/v1/classify", {"texts": ["a" * 200]})
        assert (status, body["error"]) == (
            503,
            "server: 900 bytes of bodies are pending, expected at most 1000. Try again later.",
        )
    server.wait_until(lambda: server.state.buffered_bytes.pending == 0)
    assert fetch(server.url, "POST", "/v1/classify", {"texts": ["a" * 200]})[0] == 200


@pytest.mark.fault("J4")
def test_connections_have_a_limit(in_thread):
    server = in_thread(max_connections=2)
    with socket_to(server.url) as one, socket_to(server.url) as two:
        for connection in (one, two):
            connection.sendall(post({"texts": []}))
            json.loads(next_response(connection).read())
        with socket_to(server.url) as third:
            third.sendall(post({"texts": []}))
            assert read_all(third).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        one.sendall(post({"texts": []}))
        assert next_response(one).status == 200


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_texts": 0}, "max_texts: found 0, expected more than 0."),
        ({"receive_timeout_s": float("nan")}, "receive_timeout_s: found nan, expected more than 0."),
        ({"drain_delay_s": -1.0}, "drain_delay_s: found -1.0, expected 0 or more."),
        (
            {"drain_delay_s": 5.0, "drain_timeout_s": 2.0},
            "drain_delay_s: found 5, expected at most drain_timeout_s, 2.",
        ),
        (
            {"max_texts": 9, "max_pending_texts": 8},
            "max_pending_texts: found 8, expected at least max_texts, 9: a full request could never be accepted.",
        ),
    ],
)
def test_invalid_limits_are_refused(limits, message):
    with pytest.raises(ConfigError) as caught:
        ServeLimits(**limits)
    assert str(caught.value) == message


@pytest.mark.fault("L16")
def test_explanations_are_bounded_and_keep_nobody_waiting(in_thread, clients):
    """While the thread for explanations is busy and its queue is full, other requests are answered."""
    server = in_thread(max_explain_tokens=100, max_pending_explain_tokens=100)
    explain = {"texts": ["where is my parcel now"], "explain": True}
    release = threading.Event()
    server.state.explain_pool.executor.submit(release.wait, PATIENCE_S)
    try:
        waiting = [clients.submit(fetch, server.url, "POST", "/v1/classify", explain) for _ in range(2)]
        server.wait_until(lambda: server.state.pending_explain_tokens.pending > 0)
        for _ in range(5):
            status, _, refused = fetch(server.url, "POST", "/v1/classify", explain)
            if status == 503:
                break
        assert status == 503
        assert "tokens of explanations are pending, expected at most 100" in refused["error"]
        assert fetch(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})[0] == 200
    finally:
        release.set()
    assert {request.result()[0] for request in waiting} <= {200, 503}
    assert server.state.pending_explain_tokens.pending == 0


@pytest.mark.fault("L16")
def test_explanations_of_long_texts(in_thread):
    server = in_thread(max_explain_tokens=100, max_pending_explain_tokens=100)
    status, _, answer = fetch(server.url, "POST", "/v1/classify", {"texts": ["parcel " * 20], "explain": True})
    assert (status, answer["field"]) == (422, "explain")
    assert answer["error"] == (
        "explain: takes 462 tokens, expected at most 100: the model reads the text once for each word. Shorten the text."
    )


@pytest.mark.fault("L16")
def test_a_server_without_explanations(in_thread):
    server = in_thread(explain=False)
    status, _, answer = fetch(server.url, "POST", "/v1/classify", {"texts": ["parcel"], "explain": True})
    assert (status, answer["error"]) == (422, "explain: found true, expected false on this server.")
