"""Which requests are refused, how, and that no text appears in a response or in the log."""

from __future__ import annotations

import json
import re
import signal
import socket
import zlib

import pytest

from tests.crosstune_export.serve.conftest import fetch, next_response, post, read_all, socket_to

CANARY = "canary7Qx"

VALUES = [
    ({}, 'body: expected either "texts", an array, or "text". See /docs.', "texts"),
    ([], "body: input should be an object.", None),
    ("x", "body: input should be an object.", None),
    ({"texts": CANARY}, "texts: input should be a valid array.", "texts"),
    ({"texts": None}, 'body: expected either "texts", an array, or "text". See /docs.', "texts"),
    ({"texts": ["a", None]}, "texts[1]: input should be a valid string.", "texts[1]"),
    (
        {"texts": ["a\u0000b"]},
        "texts[0]: has the control character U+0000 at position 1. Remove it.",
        "texts[0]",
    ),
    ({"texts": ["a", 7]}, "texts[1]: input should be a valid string.", "texts[1]"),
    ({"texts": [["a"]]}, "texts[0]: input should be a valid string.", "texts[0]"),
    ({"texts": ["a"] * 33}, "texts: list should have at most 32 items after validation, not 33.", "texts"),
    ({"texts": [CANARY * 2000]}, "texts[0]: string should have at most 16384 characters.", "texts[0]"),
    (
        {"texts": [], CANARY: 1},
        "body: found an unknown key, expected texts or text, top_k, threshold, min_similarity or explain.",
        None,
    ),
    (
        {"texts": ["a"] * 2, "explain": True},
        "explain: found 2 texts, expected 1: the model runs once for each word.",
        "explain",
    ),
    ({"texts": [], "explain": 1}, "explain: input should be a valid boolean.", "explain"),
    ({"texts": [], "top_k": 0}, "top_k: input should be greater than or equal to 1.", "top_k"),
    ({"texts": [], "top_k": -1}, "top_k: input should be greater than or equal to 1.", "top_k"),
    (
        dict.fromkeys(map(str, range(100_000)), 1),
        "body: found an unknown key, expected texts or text, top_k, threshold, min_similarity or explain.",
        None,
    ),
    ({"texts": [], "top_k": True}, "top_k: input should be a valid integer.", "top_k"),
    ({"texts": [], "top_k": 1.5}, "top_k: input should be a valid integer.", "top_k"),
    ({"texts": [], "threshold": 1.01}, "threshold: input should be less than or equal to 1.", "threshold"),
    ({"texts": [], "threshold": "0.5"}, "threshold: input should be a valid number.", "threshold"),
]


@pytest.mark.fault("J2", "H2", "H6", "H10")
@pytest.mark.parametrize(("body", "message", "field"), VALUES, ids=lambda value: str(value)[:40])
def test_an_invalid_value_is_named(program, body, message, field):
    status, _, response = fetch(program.url, "POST", "/v1/classify", body)
    assert (status, response["error"], response["field"]) == (422, message, field)


#: Bodies that Python's json would not write: body, start of the error, field.
RAW = {
    "nothing": (b"", "body: invalid JSON: ", None),
    "cut": (b'{"texts": ["a"', "body: invalid JSON: ", None),
    "trailing comma": (b'{"texts": [],}', "body: invalid JSON: ", None),
    "two values": (b'{"texts": []} {}', "body: invalid JSON: ", None),
    "single quotes": (b"{'texts': []}", "body: invalid JSON: ", None),
    "a control character": (b'{"texts": ["a\nb"]}', "body: invalid JSON: ", None),
    "an unknown escape": (b'{"texts": ["\\q"]}', "body: invalid JSON: ", None),
    "a comment": (b'{"texts": [] /* none */}', "body: invalid JSON: ", None),
    "two byte order marks": (b'\xef\xbb\xbf\xef\xbb\xbf{"texts": []}', "body: invalid JSON: ", None),
    "a lone surrogate": (b'{"texts": ["a\\ud800b"]}', "body: invalid JSON: ", None),
    "a surrogate in UTF-8": (b'{"texts": ["a\xed\xa0\x80b"]}', "body: invalid JSON: ", None),
    "bytes that are not UTF-8": (b'{"texts": ["\xff"]}', "body: invalid JSON: ", None),
    "UTF-16": ('{"texts": []}'.encode("utf-16"), "body: invalid JSON: ", None),
    "Latin-1": ('{"texts": ["é"]}'.encode("latin-1"), "body: invalid JSON: ", None),
    "a million digits": (b'{"texts": [], "top_k": ' + b"9" * 1_000_000 + b"}", "body: invalid JSON: ", None),
    "deep lists": (b"[" * 1_000_000, "body: invalid JSON: recursion limit exceeded ", None),
    "deep objects": (b'{"a":' * 200_000, "body: invalid JSON: recursion limit exceeded ", None),
    "duplicate key": (b'{"texts": ["a"], "texts": ["b"]}', "body: found a duplicate key, expected each key once.", None),
    "duplicate key, escaped": (b'{"texts": ["a"], "te\\u0078ts": ["b"]}', "body: found a duplicate key, expected each key once.", None),
    "many objects": (b'{"texts": [' + b",".join([b"{}"] * 600_000) + b"]}", "texts: list should have at most 32 ", "texts"),
    "NaN": (b'{"texts": [], "threshold": NaN}', "threshold: input should be a finite number.", "threshold"),
    "Infinity": (b'{"texts": [], "threshold": -Infinity}', "threshold: input should be a finite number.", "threshold"),
    "a number beyond float64": (b'{"texts": [], "threshold": 1e400}', "threshold: input should be a finite number.", "threshold"),
    "a number of 40 digits": (b'{"texts": [], "top_k": ' + b"9" * 40 + b"}", "top_k: input should be ", "top_k"),
}  # fmt: skip


@pytest.mark.fault("J5", "H3")
@pytest.mark.parametrize("case", RAW)
def test_a_body_that_is_not_strict_json_is_refused(program, case):
    body, start, field = RAW[case]
    status, _, response = fetch(program.url, "POST", "/v1/classify", body)
    assert response["error"].startswith(start)
    assert (status, response["field"]) == (422 if field else 400, field)


@pytest.mark.fault("J5")
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
def test_other_content_types_are_refused(program, content_type):
    """A web page of another origin can send the first three without a preflight request."""
    status, _, response = fetch(program.url, "POST", "/v1/classify", {"texts": []}, content_type=content_type)
    assert (status, response["error"]) == (415, "content-type: expected application/json.")


def test_content_type_parameters_are_accepted(program):
    given = "Application/JSON; charset=utf-8"
    assert fetch(program.url, "POST", "/v1/classify", {"texts": []}, content_type=given)[0] == 200


@pytest.mark.fault("J5")
@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("DELETE", "/v1/labels", 405, "method: not served, expected GET. Texts go to POST /v1/classify. See /docs."),
        ("POST", "/health", 405, "method: not served, expected GET. Texts go to POST /v1/classify. See /docs."),
        ("GET", "/health/", 404, "path: not served, expected POST /v1/classify or a path of /docs."),
        ("GET", "/../../etc/passwd", 404, "path: not served, expected POST /v1/classify or a path of /docs."),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404, "path: not served, expected POST /v1/classify or a path of /docs."),
        ("GET", "/v1/labels%00", 404, "path: not served, expected POST /v1/classify or a path of /docs."),
    ],
)
def test_other_paths_and_methods_are_refused(program, method, path, status, message):
    response = fetch(program.url, method, path, {} if method == "POST" else None)
    assert (response[0], response[2]["error"]) == (status, message)
    assert ("allow" in response[1]) == (status == 405)


def raw(program, request: bytes) -> bytes:
    """The whole response to some bytes."""
    with socket_to(program.url) as connection:
        connection.sendall(request)
        return read_all(connection)


HOST = b"host: localhost\r\n"
LAST = HOST + b"connection: close\r\n"
#: Hostile requests, and the start of the response; there must never be a response to a second, hidden request.
HOSTILE = {
    "both lengths": (post({"texts": []}, headers="transfer-encoding: chunked\r\n"), b"HTTP/1.1 400 "),
    "chunks hide a request": (
        b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: 4\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/labels HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"HTTP/1.1 400 ",
    ),
    "two lengths": (post({"texts": []}, headers="content-length: 3\r\n"), b"HTTP/1.1 400 "),
    "a negative length": (b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"content-length: -1\r\n\r\n", b"HTTP/1.1 400 "),
    "a length with a sign": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +5\r\n\r\nhello", b"HTTP/1.1 400 "),
    "an unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 "),
    "chunks and gzip": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 ",
    ),
    "chunks in HTTP/1.0": (
        b"POST /v1/classify HTTP/1.0\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 400 ",
    ),
    "a chunk of nonsense": (
        b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 400 ",
    ),
    "a huge chunk": (
        b"POST /v1/classify HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n",
        b"HTTP/1.1 400 ",
    ),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),
    "two hosts": (b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", b"HTTP/1.1 400 "),
    "a space before the colon": (b"GET /health HTTP/1.1\r\nhost : h\r\n\r\n", b"HTTP/1.1 400 "),
    "a folded header": (b"GET /health HTTP/1.1\r\nx: a\r\n b\r\n" + LAST + b"\r\n", b"HTTP/1.1 "),
    "a NUL in a header": (b"GET /health HTTP/1.1\r\n" + HOST + b"x: a\x00b\r\n\r\n", b"HTTP/1.1 400 "),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"HTTP/1.1 400 "),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP/1.1 505 "),
    "HTTP/9": (b"GET /health HTTP/9.9\r\n" + HOST + b"\r\n", b"HTTP/1.1 505 "),
    "an upgrade": (b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n", b"HTTP/1.1 "),
    "a tunnel": (b"CONNECT h:80 HTTP/1.1\r\n" + LAST + b"\r\n", b"HTTP/1.1 40"),
    "a trace": (b"TRACE /health HTTP/1.1\r\n" + LAST + b"x-secret: 1\r\n\r\n", b"HTTP/1.1 405 "),
    "another server": (b"GET http://other/health HTTP/1.1\r\n" + LAST + b"\r\n", b"HTTP/1.1 404 "),
    "a method of its own": (b"STEAL /health HTTP/1.1\r\n" + LAST + b"\r\n", b"HTTP/1.1 405 "),
    "101 headers": (b"GET /health HTTP/1.1\r\n" + b"a:b\r\n" * 99 + LAST + b"\r\n", b"HTTP/1.1 431 "),
    "a target of 9,000 bytes": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + LAST + b"\r\n", b"HTTP/1.1 414 "),
}  # fmt: skip


@pytest.mark.fault("J5")
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_requests_get_one_error(program, case):
    request, start = HOSTILE[case]
    response = raw(program, request)
    assert response.startswith(start), response[:300]
    assert not response.startswith(b"HTTP/1.1 5") or response[9:12] in (b"501", b"505")
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", response)) == 1, response
    assert b"Traceback" not in response
    assert b"/v1/labels" not in response
    assert fetch(program.url, "GET", "/health")[0] == 200


@pytest.mark.fault("J5")
@pytest.mark.parametrize(
    "flood",
    [
        b"GET /health HTTP/1.1\r\n" + b"a:b\r\n" * 10_000 + LAST + b"\r\n",
        b"GET /health HTTP/1.1\r\nx: " + b"a" * 1_000_000 + b"\r\n" + LAST + b"\r\n",
        b"A" * 1_000_000,
        b"\r\n" * 500_000,
    ],
    ids=["10,000 headers", "a header of a megabyte", "no line ends", "line ends alone"],
)
def test_floods_are_refused(program, flood):
    """The server may close the connection in the middle of the flood, which may lose the response; it is never a success."""
    with socket_to(program.url) as connection:
        try:
            connection.sendall(flood)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # reset, or closed already
            pass
        response = read_all(connection)
    assert response == b"" or response.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert fetch(program.url, "GET", "/health")[0] == 200


@pytest.mark.fault("J1")
def test_a_declared_length_over_the_limit_is_refused(program):
    """Its header is enough: the server waits for no byte of the body."""
    with socket_to(program.url) as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2097153\r\n\r\n"
        )
        response = next_response(connection)
        assert (response.status, json.loads(response.read())["error"]) == (
            413,
            "body: too large, expected at most 2097152 bytes.",
        )


@pytest.mark.fault("J1")
def test_chunks_over_the_limit_are_refused(program):
    """No length is declared; the response comes before the end of the body."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket_to(program.url) as connection:
        connection.sendall(
            b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        connection.sendall(chunk * 33)
        response = next_response(connection)
        assert response.status == 413
        response.read()
        connection.sendall(b"0\r\n\r\n" + post({"texts": []}))  # after its end the connection still works
        assert next_response(connection).status == 200


@pytest.mark.parametrize(("size", "status"), [(8192, 200), (8193, 414)])
def test_a_target_of_the_largest_size_is_answered(program, size, status):
    """Its size is that of path and query, without the question mark."""
    assert fetch(program.url, "GET", "/health?" + "a" * (size - len("/health")))[0] == status


@pytest.mark.fault("J1")
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_the_largest_size_is_read(program, declared):
    body = b'{"texts": []}'.ljust(2_097_152)
    request = post(body)
    if not declared:
        head = request[: -len(body)].replace(b"content-length: 2097152", b"transfer-encoding: chunked")
        request = head + b"200000\r\n" + body + b"\r\n0\r\n\r\n"
    with socket_to(program.url) as connection:
        connection.sendall(request)
        assert next_response(connection).status == 200


@pytest.mark.fault("J1")
def test_a_body_in_tiny_chunks_is_read(program):
    head = b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
    body = b'{"texts": ["' + b"a" * 3000 + b'"]}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    response = raw(program, head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200 ")


@pytest.mark.fault("J1")
def test_an_invalid_chunk_after_an_early_response_ends_the_connection(program):
    head = b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    with socket_to(program.url) as connection:
        connection.sendall(head)
        assert next_response(connection).status == 415
        connection.sendall(b"no chunk\r\n")
        assert b"HTTP/1.1" not in read_all(connection)
    assert fetch(program.url, "GET", "/health")[0] == 200


def test_a_client_may_wait_for_100_continue(program):
    def head(length: int) -> bytes:
        return post(b"", headers="expect: 100-continue\r\n").replace(b"length: 0", b"length: %d" % length)

    with socket_to(program.url) as connection:
        connection.sendall(head(13))
        leave = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(leave), socket.MSG_WAITALL) == leave
        connection.sendall(b'{"texts": []}')
        assert next_response(connection).status == 200
    with socket_to(program.url) as connection:
        connection.sendall(head(9_000_000))
        assert next_response(connection).status == 413


@pytest.mark.fault("J1")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity"])
def test_a_compressed_body_is_refused(program, coding):
    bomb = zlib.compress(b" " * 10_000_000)
    status, _, response = fetch(program.url, "POST", "/v1/classify", bomb, content_encoding=coding)
    assert (status, response["error"]) == (415, "content-encoding: expected none. Send the body uncompressed.")


@pytest.mark.fault("H4")
def test_a_long_text_is_truncated(program):
    answer = fetch(program.url, "POST", "/v1/classify", {"texts": ["parcel " * 2340]})[2]["answers"][0]
    assert answer["truncated"] is True


@pytest.mark.fault("H11", "H7")
def test_special_tokens_and_unusual_characters_are_plain_text(program, tiny_bundle_dir):
    from crosstune_export import Classifier

    texts = [
        "[SEP] [CLS] parcel",
        "e\u0301" * 3,
        "\U0001f468\u200d\U0001f469",
        "\u202egnp",
        "\U0010ffff",
        "İ",
    ]
    classifier = Classifier.load(tiny_bundle_dir)
    answers = fetch(program.url, "POST", "/v1/classify", {"texts": texts})[2]["answers"]
    assert answers == [answer.to_json(classifier.labels) for answer in classifier.classify(texts)]


@pytest.mark.fault("L8")
def test_control_characters_are_refused(program):
    status, _, body = fetch(program.url, "POST", "/v1/classify", {"texts": ["parcel", "a\u0000b"]})
    assert (status, body["error"]) == (422, "texts[1]: has the control character U+0000 at position 1. Remove it.")


@pytest.mark.fault("J8")
def test_no_text_is_in_the_log_or_in_an_error(start_program, tiny_bundle_dir):
    server = start_program(tiny_bundle_dir)
    bodies = [
        {"texts": [CANARY]},
        {"texts": [CANARY, 1]},
        {"texts": CANARY},
        {CANARY: CANARY},
        {"texts": [CANARY * 3000]},
        {"texts": [{CANARY: CANARY}]},
        CANARY.encode(),
        b'{"texts": ["' + CANARY.encode(),
        b'{"texts": ["\\q' + CANARY.encode() + b'"]}',
    ]
    answers = [fetch(server.url, "POST", "/v1/classify", body) for body in bodies]
    answers.append(fetch(server.url, "GET", f"/{CANARY}?{CANARY}"))
    answers.append(fetch(server.url, "POST", "/v1/classify", {"texts": []}, content_type=CANARY))
    raw_responses = [
        raw(server, request)
        for request in (
            f"GET /{CANARY} HTTP/1.1\r\n{CANARY}: {CANARY}\x00\r\n\r\n".encode(),
            f"{CANARY} / HTTP/1.1\r\nhost: {CANARY}\r\nconnection: close\r\n\r\n".encode(),
            f"GET /%0d%0a{CANARY} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {CANARY} \r\nconnection: close\r\n\r\n".encode(),
        )
    ]
    assert CANARY not in json.dumps([answer[2] for answer in answers])
    assert answers[0][0] == 200
    # Only a request id of the allowed form is repeated.
    assert not any(CANARY.encode() in response for response in raw_responses[:2])
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    lines = [line for line in server.lines if CANARY in line]
    assert [json.loads(line)["request"] for line in lines] == [CANARY] * len(lines)
    assert all(line.endswith("}\n") and json.loads(line)["event"] for line in server.lines), server.lines


@pytest.mark.fault("L22")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "localhost.evil.example", "[::2]"])
def test_requests_for_another_machine(program, host):
    """A page in a browser on this machine, whose name was made to point here, cannot read answers."""
    status, _, answer = fetch(program.url, "GET", "/v1/labels", host=host)
    assert (status, answer["error"]) == (
        421,
        "host: found another name, expected localhost or the address of this server.",
    )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"])
def test_requests_for_this_machine(program, host):
    assert fetch(program.url, "GET", "/v1/labels", host=host)[0] == 200
