"""Responses of the page server; the page itself is tested in tests/runtime_web."""

from __future__ import annotations

import gzip
import http.client
import socket
import struct

import pytest

from crosstune_export import BundleIntegrityError, ConfigError, MissingExtraError
from crosstune_export.bundle.packing import pack
from crosstune_export.web import page_server
from crosstune_export.web.page_server import ServedFile, make_server, served_files
from tests.fixtures.web_page import serving


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "assets").mkdir()
    (folder / "index.html").write_bytes(b"<!doctype html>")
    (folder / "assets" / "x-1.js").write_bytes(b"let x = 1;" * 50)
    (folder / "assets" / "x-1.js.gz").write_bytes(gzip.compress(b"let x = 1;" * 50, mtime=0))
    return folder


@pytest.fixture(scope="module")
def ask(tiny_bundle_dir, page):
    with serving(served_files(tiny_bundle_dir, page)) as address:

        def ask(path: str, method: str = "GET", **headers: str):
            connection = http.client.HTTPConnection(
                "127.0.0.1", int(address.rstrip("/").rpartition(":")[2]), timeout=300
            )
            connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            body = response.read()
            connection.close()
            return response, body

        yield ask


def test_the_page_and_the_five_files(ask, tiny_bundle_dir):
    response, body = ask("/")
    assert (response.status, body) == (200, b"<!doctype html>")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    for path in tiny_bundle_dir.iterdir():
        assert ask(f"/bundle/{path.name}")[1] == path.read_bytes()


def test_a_packed_bundle_is_served_as_its_files(tiny_bundle_dir, page, tmp_path):
    pack(tiny_bundle_dir, tmp_path / "x.zip")
    assert served_files(tmp_path / "x.zip", page) == served_files(tiny_bundle_dir, page)


@pytest.mark.parametrize(
    "path", ["/index.html", "/bundle", "/bundle/", "/../page_server.py", "/bundle/../x", "/%2e%2e/x"]
)
def test_nothing_else(ask, path):
    response, body = ask(path)
    assert (response.status, body) == (404, b"not found\n")


def test_a_browser_may_keep_what_it_has(ask):
    response, _ = ask("/bundle/model.onnx?x=1")
    assert response.headers["Cache-Control"] == "no-cache"
    again, body = ask("/bundle/model.onnx", If_None_Match=response.headers["ETag"])
    assert (again.status, body, again.headers["Content-Length"]) == (304, b"", None)
    assert ask("/assets/x-1.js")[0].headers["Cache-Control"] == "max-age=31536000, immutable"


def test_gzip_for_those_who_take_it(ask):
    plain, body = ask("/assets/x-1.js")
    packed, packed_body = ask("/assets/x-1.js", Accept_Encoding="gzip, br")
    assert plain.headers["Content-Encoding"] is None
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed_body) == body
    head, nothing = ask("/assets/x-1.js", "HEAD")
    assert (head.headers["Content-Length"], nothing) == (str(len(body)), b"")


def test_every_answer_keeps_the_page_to_itself(ask):
    for path in ("/", "/bundle/manifest.json", "/none"):
        headers = ask(path)[0].headers
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"
        )
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"] == "crosstune-export"


@pytest.mark.fault("L22")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "localhost.evil.example", "[::2]"])
def test_requests_for_another_machine(ask, host):
    """A page in a browser on this machine, whose name was made to point here, cannot read the bundle."""
    for path in ("/", "/bundle/manifest.json", "/none"):
        response, body = ask(path, Host=host)
        assert (response.status, body.decode()) == (
            421,
            "host: found another name, expected localhost or the address of this server.\n",
        )


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8080"])
def test_requests_for_this_machine(ask, host):
    assert ask("/", Host=host)[0].status == 200


def test_on_other_addresses_every_name_is_answered():
    with make_server({}, "0.0.0.0", 0) as server:
        assert server.hosts is None


def test_a_page_that_is_not_built(tiny_bundle_dir, tmp_path):
    with pytest.raises(MissingExtraError) as caught:
        served_files(tiny_bundle_dir, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no page, expected a built one. In a checkout run: make web (it downloads Node and onnxruntime-web)."
    )


def test_a_bad_bundle_is_not_served(page, tmp_path):
    with pytest.raises(BundleIntegrityError) as caught:
        served_files(tmp_path / "none", page)
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: found nothing, expected a bundle folder. Build one with crosstune-export build."
    )


def test_a_port_that_is_taken():
    with make_server({}, "127.0.0.1", 0) as server:
        port = server.server_address[1]
        with pytest.raises(ConfigError) as caught:
            make_server({}, "127.0.0.1", port)
    assert str(caught.value) == (
        f"127.0.0.1:{port}: cannot listen (Address already in use), expected a free address. "
        "Give another --host or --port; 0 picks a free one."
    )


def test_an_address_of_version_6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with make_server({}, "::1", 0) as server:
        assert server.server_address[0] == "::1"


def test_a_browser_that_goes_away_is_no_news(page, tiny_bundle_dir, capfd):
    large = ServedFile(b"x" * (32 << 20), None, "text/plain", '"x"', "no-cache")
    with make_server({"/": large}, "127.0.0.1", 0) as server:
        browser = socket.create_connection(server.server_address[:2])
        browser.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        server.daemon_threads = False  # then the end of the block waits for the answer
        server.handle_request()
        browser.recv(10)
        browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        browser.close()
    assert capfd.readouterr().err == ""


@pytest.mark.fault("J3")
def test_a_head_that_comes_byte_by_byte_is_cut_off(tiny_bundle_dir, page, monkeypatch):
    monkeypatch.setattr(page_server, "_HEAD_S", 0.2)
    with serving(served_files(tiny_bundle_dir, page)) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=0.02) as connection:
            for _ in range(6_000):  # far beyond the deadline, if each byte extended it
                try:
                    connection.sendall(b"a")
                    if not connection.recv(100):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                raise AssertionError("never cut off")


@pytest.mark.fault("J3")
def test_no_more_connections_than_the_server_has_threads_for(tiny_bundle_dir, page, monkeypatch):
    monkeypatch.setattr(page_server._Server, "most_connections", 2)
    with serving(served_files(tiny_bundle_dir, page)) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        idle = [socket.create_connection(("127.0.0.1", port), timeout=300) for _ in range(2)]
        with socket.create_connection(("127.0.0.1", port), timeout=300) as third:
            assert third.recv(1) == b""
        for connection in idle:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
            while connection.recv(100):
                pass
            connection.close()
        for _ in range(1_000):
            with socket.create_connection(("127.0.0.1", port), timeout=300) as fourth:
                fourth.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                try:
                    if fourth.recv(100):
                        break
                except ConnectionError:
                    continue
        else:
            raise AssertionError("the places were not given free")
