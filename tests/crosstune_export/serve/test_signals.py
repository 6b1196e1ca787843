"""SIGTERM drops nothing that was accepted; SIGHUP takes a good bundle and leaves a bad one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crosstune_export import Classifier, ConfigError
from crosstune_export.serve.limits import ServeLimits
from crosstune_export.serve.listening import listen, take_all, turn_away
from tests.crosstune_export.serve.conftest import PATIENCE_S, answer_on, ask, post, read_all, socket_to


@pytest.mark.fault("J6")
def test_what_is_accepted_is_answered_after_sigterm(in_thread):
    server = in_thread(max_pending_texts=64)
    waiting = [socket_to(server.url) for _ in range(20)]
    probe = socket_to(server.url)
    probe.sendall(b"GET /ready HTTP/1.1\r\nhost: h\r\n\r\n")
    answer_on(probe).read()
    with server.busy():
        for connection in waiting:
            connection.sendall(post({"texts": ["a"]}))
        server.wait_until(lambda: server.desk.texts.pending == 20)
        server.stop()
        probe.sendall(b"GET /ready HTTP/1.1\r\nhost: h\r\n\r\n")  # an open connection is still served, once
        response = answer_on(probe)
        assert (response.status, response.getheader("connection")) == (503, "close")
        assert json.loads(response.read()) == {"status": "draining"}
        assert read_all(probe) == b""
    for connection in waiting:
        response = answer_on(connection)
        assert (response.status, response.getheader("connection")) == (200, "close")
        assert len(json.loads(response.read())["answers"]) == 1
        assert read_all(connection) == b""
        connection.close()
    probe.close()
    server.join()
    assert server.server.dropped == 0


@pytest.mark.fault("J6")
def test_sigterm_under_load(start_program, tiny_bundle_dir, clients):
    """Clients that ask without a pause: each request that was sent whole on an open connection is answered."""
    server = start_program(tiny_bundle_dir)
    parts = urlsplit(server.url)

    def client() -> tuple[int, int]:
        sent = answered = 0
        while True:
            connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
            try:
                connection.connect()
            except (ConnectionRefusedError, ConnectionResetError):
                return sent, answered  # the door is closed: nothing was accepted
            while True:
                sent += 1
                connection.request("POST", "/v1/classify", b'{"texts": ["a"]}', {"content-type": "application/json"})
                response = connection.getresponse()
                response.read()
                answered += response.status == 200
                if sent == 20:
                    server.signal(signal.SIGTERM)
                if response.getheader("connection") == "close":
                    break
            connection.close()

    outcomes = [future.result() for future in [clients.submit(client) for _ in range(8)]]
    assert server.end() == 0
    assert all(sent == answered for sent, answered in outcomes), outcomes
    assert json.loads(server.lines[-1]) | {"at": None} == {"at": None, "event": "stopped", "dropped": 0}


@pytest.mark.fault("J6")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters what comes to a socket")
def test_nobody_is_reset_between_the_last_look_and_the_close():
    with listen("127.0.0.1", 0) as listening:
        address = listening.getsockname()
        with socket.create_connection(address[:2]) as inside:
            turn_away(listening)
            inside.sendall(b"hello")  # who is inside is heard
            with pytest.raises(TimeoutError):
                socket.create_connection(address[:2], timeout=0.2)
            listening.setblocking(False)
            (taken,) = take_all(listening)
            with taken:
                taken.setblocking(True)
                assert taken.recv(5) == b"hello"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address[:2])


@pytest.mark.fault("J6")
def test_a_second_signal_does_not_wait(in_thread):
    server = in_thread()
    with server.busy(), socket_to(server.url) as connection:
        connection.sendall(post({"texts": ["a"]}))
        server.wait_until(lambda: server.desk.texts.pending == 1)
        server.stop()
        server._loop.call_soon_threadsafe(server.server.stop, signal.SIGTERM)
        server._thread.join(PATIENCE_S)
        assert (server.server.dropped, server.server.signal) == (1, signal.SIGTERM)


def replace_model(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{}")


def gone(bundle: Path) -> None:
    shutil.rmtree(bundle)


@pytest.mark.fault("J9", "G18")
@pytest.mark.parametrize("damage", [replace_model, no_manifest, gone], ids=lambda value: value.__name__)
def test_a_bad_bundle_is_not_taken(start_program, own_bundle, damage):
    server = start_program(own_bundle)
    body = {"texts": ["where is my parcel"]}
    before = ask(server.url, "POST", "/v1/classify", body)[2]
    damage(own_bundle)
    assert ask(server.url, "POST", "/v1/classify", body)[2] == before, "it answers from memory"
    server.signal(signal.SIGHUP)
    line = server.wait_for("reload refused")
    assert (line["code"], line["digest"]) == (5, before["digest"])
    assert str(own_bundle) in line["error"]
    claimed = before["digest"] if damage is replace_model else None
    health = ask(server.url, "GET", "/health")[2]
    assert health == {
        "status": "ok",
        "digest": before["digest"],
        "refused": {"digest": claimed, "error": health["refused"]["error"]},
    }
    assert health["refused"]["error"].startswith("Bundle")
    assert ask(server.url, "GET", "/ready")[0] == 200
    assert ask(server.url, "POST", "/v1/classify", body)[2] == before


@pytest.mark.fault("J9")
def test_a_good_bundle_is_taken(start_program, own_bundle):
    from crosstune_export.edit.labels import rename_label

    server = start_program(own_bundle)
    before = ask(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})[2]
    replace_model(shutil.copytree(own_bundle, own_bundle.with_name("spare.bundle")))
    rename_label(own_bundle, "shipping", "post")
    server.signal(signal.SIGHUP)
    digest = Classifier.load(own_bundle).manifest.digest
    assert server.wait_for("reloaded")["digest"] == digest != before["digest"]
    assert ask(server.url, "GET", "/health")[2] == {"status": "ok", "digest": digest, "refused": None}
    assert "post" in [label["name"] for label in ask(server.url, "GET", "/v1/labels")[2]["labels"]]
    after = ask(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})[2]
    assert after["digest"] == digest
    assert list(after["answers"][0]["probs"].values()) == list(before["answers"][0]["probs"].values())
    assert b'reloads_total{outcome="taken"} 1.0' in ask(server.url, "GET", "/metrics")[2]


def run(*arguments: object) -> tuple[int, str, str]:
    script = Path(sys.executable).parent / "crosstune-export"
    done = subprocess.run(
        [str(script), "serve", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_bad_bundle_is_not_served_at_all(own_bundle):
    replace_model(own_bundle)
    code, out, err = run(own_bundle, "--port", "0")
    assert (code, out) == (5, "")
    assert err.startswith(f"error: {own_bundle / 'model.onnx'}: sha256 ")


def test_an_address_that_is_taken(program, tiny_bundle_dir):
    port = urlsplit(program.url).port
    code, out, err = run(tiny_bundle_dir, "--port", port)
    assert (code, out) == (2, "")
    assert err == (
        f"error: 127.0.0.1:{port}: cannot be listened on (Address already in use). Choose another --host or --port.\n"
    )


def test_a_host_that_is_none(tiny_bundle_dir):
    code, _, err = run(tiny_bundle_dir, "--port", 0, "--host", "999.1.1.1")
    assert code == 2
    assert err.startswith("error: 999.1.1.1:0: cannot be listened on (")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_texts": 0}, "max_texts: found 0, expected more than 0."),
        ({"receive_timeout_s": float("nan")}, "receive_timeout_s: found nan, expected more than 0."),
        (
            {"max_texts": 9, "max_pending_texts": 8},
            "max_pending_texts: found 8, expected at least max_texts, 9: a full request could never be accepted.",
        ),
    ],
)
def test_limits_that_make_no_sense(limits, message):
    with pytest.raises(ConfigError) as caught:
        ServeLimits(**limits)
    assert str(caught.value) == message
