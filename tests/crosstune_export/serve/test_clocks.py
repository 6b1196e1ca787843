"""Slow clients, and more work than is accepted: they cost nobody else anything."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from tests.crosstune_export.serve.conftest import answer_on, ask, post, read_all, socket_to

HEAD = b"POST /v1/classify HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"


@pytest.mark.fault("J3")
@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nhost: h\r\n", HEAD, HEAD + b'{"texts": ["wh'], ids=len
)
def test_a_request_that_never_ends_is_cut_off(in_thread, sent):
    server = in_thread(receive_timeout_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(sent)
        assert read_all(connection).startswith(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n")
    server.wait_until(lambda: server.desk.body_bytes.pending == 0)
    assert server.desk.texts.pending == 0


@pytest.mark.fault("J3")
def test_bytes_that_trickle_in_do_not_prolong_it(in_thread):
    server = in_thread(receive_timeout_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD)
        connection.settimeout(0.02)
        found = b""
        for _ in range(3_000):  # far more than the receive time, were every byte to wind the clock up again
            try:
                connection.sendall(b" ")
                if piece := connection.recv(65536):
                    found += piece
                else:
                    break
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            raise AssertionError("never cut off")
    assert found == b"" or found.startswith(b"HTTP/1.1 408 ")


@pytest.mark.fault("J3")
def test_an_idle_connection_is_closed(in_thread):
    server = in_thread(keep_alive_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(post({"texts": ["a"]}))
        assert answer_on(connection).status == 200
        found = read_all(connection)  # the rest of the answer, and then the end
        assert b"HTTP/1.1" not in found


@pytest.mark.fault("J3")
def test_the_end_of_a_refused_body_is_not_waited_for(in_thread):
    """After an early refusal the rest of the body is thrown away, but not for ever."""
    server = in_thread(receive_timeout_s=0.2)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD.replace(b": 100", b": 9000000") + b" " * 1000)
        assert read_all(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.fault("J3")
def test_a_client_that_does_not_take_its_answers_is_cut_off(in_thread):
    server = in_thread(send_timeout_s=0.2, keep_alive_s=600, receive_timeout_s=600)
    server.listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        connection.setblocking(False)
        try:  # more answers than all buffers in between can hold, since nobody reads them
            for _ in range(200):
                connection.sendall(post({"texts": ["a"] * 32}))
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        server.wait_until(lambda: b'closed_connections_total{reason="send"} 1.0' in server.desk.metrics.page())


@pytest.mark.fault("J3", "K6")
def test_a_client_that_vanishes_leaves_nothing_behind(in_thread):
    server = in_thread()
    with server.busy():
        connection = socket_to(server.url)
        connection.sendall(post({"texts": ["a"] * 5}))
        server.wait_until(lambda: server.desk.texts.pending == 5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
        connection.close()
    server.wait_until(lambda: server.desk.texts.pending == 0)
    assert ask(server.url, "POST", "/v1/classify", {"texts": ["a"]})[0] == 200


@pytest.mark.fault("J3")
def test_slow_clients_do_not_hurt_the_others(in_thread):
    server = in_thread(receive_timeout_s=600)
    slow = [socket_to(server.url) for _ in range(100)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall((b"GET /hea", HEAD, HEAD + b'{"texts"')[number % 3])
        for _ in range(5):
            assert ask(server.url, "POST", "/v1/classify", {"texts": ["a"]})[0] == 200
        assert len(server.server.server_state.connections) >= 100
    finally:
        for connection in slow:
            connection.close()


def test_the_page_s_example_keeps_to_the_narrowest_limits(in_thread):
    server = in_thread(max_texts=1, max_characters=5)
    page = ask(server.url, "GET", "/openapi.json")[2]
    example = page["paths"]["/v1/classify"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert [len(text) for text in example["texts"]] == [5]
    assert ask(server.url, "POST", "/v1/classify", example)[0] == 200


@pytest.mark.fault("J4")
def test_more_than_is_accepted_is_refused_at_once(in_thread, clients):
    server = in_thread(max_pending_texts=4, max_texts=3)
    with server.busy():
        first = clients.submit(ask, server.url, "POST", "/v1/classify", {"texts": ["a"] * 3})
        server.wait_until(lambda: server.desk.texts.pending == 3)
        status, headers, found = ask(server.url, "POST", "/v1/classify", {"texts": ["b"] * 2})
        assert (status, headers["retry-after"], found["error"]) == (
            503,
            "1",
            "server: 3 texts are pending, expected at most 4. Try again later.",
        )
        second = clients.submit(ask, server.url, "POST", "/v1/classify", {"texts": ["b"]})
        server.wait_until(lambda: server.desk.texts.pending == 4)
        with socket_to(server.url) as connection:  # not a byte of the body is needed
            connection.sendall(HEAD)
            assert answer_on(connection).status == 503
        assert ask(server.url, "GET", "/ready")[0] == 200
        assert not first.done()
    assert (first.result()[0], second.result()[0]) == (200, 200)
    assert server.desk.texts.pending == 0


@pytest.mark.fault("J4")
def test_bodies_that_are_being_received_have_a_limit_together(in_thread):
    server = in_thread(max_buffered_bytes=1000)
    with socket_to(server.url) as connection:
        connection.sendall(HEAD.replace(b": 100", b": 5000") + b" " * 900)
        server.wait_until(lambda: server.desk.body_bytes.pending == 900)
        status, _, found = ask(server.url, "POST", "/v1/classify", {"texts": ["a" * 200]})
        assert (status, found["error"]) == (
            503,
            "server: 900 bytes of bodies are pending, expected at most 1000. Try again later.",
        )
    server.wait_until(lambda: server.desk.body_bytes.pending == 0)
    assert ask(server.url, "POST", "/v1/classify", {"texts": ["a" * 200]})[0] == 200


@pytest.mark.fault("J4")
def test_connections_have_a_limit(in_thread):
    server = in_thread(max_connections=2)
    with socket_to(server.url) as one, socket_to(server.url) as two:
        for connection in (one, two):
            connection.sendall(post({"texts": []}))
            json.loads(answer_on(connection).read())
        with socket_to(server.url) as third:
            assert read_all(third).startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n")
        one.sendall(post({"texts": []}))
        assert answer_on(one).status == 200
