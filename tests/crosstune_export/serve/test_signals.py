"""SIGTERM finishes the requests in flight within the drain timeout; SIGHUP reloads a good bundle and refuses a bad one."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crosstune_export import BundleContentError, BundleIntegrityError, Classifier, ConfigError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.serve.state import Trust
from crosstune_export.serve.trial import try_bundle
from tests.crosstune_export.serve.conftest import PATIENCE_S, fetch, next_response, post, read_all, socket_to


@pytest.mark.fault("J6")
def test_requests_in_flight_are_answered_after_sigterm(in_thread):
    server = in_thread(max_pending_texts=64)
    waiting = [socket_to(server.url) for _ in range(20)]
    with server.busy():
        for connection in waiting:
            connection.sendall(post({"texts": ["a"]}))
        server.wait_until(lambda: server.state.pending_texts.pending == 20)
        server.drain()
    for connection in waiting:
        response = next_response(connection)
        assert (response.status, response.getheader("connection")) == (200, "close")
        assert len(json.loads(response.read())["answers"]) == 1
        assert read_all(connection) == b""
        connection.close()
    server.join()
    assert server.state.open_requests == 0


@pytest.mark.fault("J6")
def test_the_server_is_not_ready_during_the_drain_delay(start_program, tiny_bundle_dir):
    """Open and new connections are still served, and each response closes its connection."""
    server = start_program(tiny_bundle_dir, "--drain-delay", 600, "--drain-timeout", 600)
    with socket_to(server.url) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert json.loads(next_response(connection).read()) == {"status": "ready"}
        server.signal(signal.SIGTERM)
        server.wait_for("stopping")
        connection.sendall(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
        response = next_response(connection)
        assert (response.status, response.getheader("connection")) == (503, "close")
        assert json.loads(response.read()) == {"status": "draining"}
        assert read_all(connection) == b""
    status, headers, _ = fetch(server.url, "POST", "/v1/classify", {"texts": ["a"]})
    assert (status, headers["connection"]) == (200, "close")
    server.signal(signal.SIGTERM)
    assert server.end() == 143


@pytest.mark.fault("J6")
def test_sigterm_under_load(start_program, tiny_bundle_dir, clients):
    """Clients send requests without a pause, until a response closes the connection: no request is lost."""
    server = start_program(tiny_bundle_dir, "--drain-delay", 1)
    parts = urlsplit(server.url)
    requests = itertools.count(1)

    def client() -> tuple[int, int]:
        sent = answered = 0
        connection = HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        while True:
            sent += 1
            connection.request("POST", "/v1/classify", b'{"texts": ["a"]}', {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            answered += response.status == 200
            if next(requests) == 100:
                server.signal(signal.SIGTERM)
            if response.getheader("connection") == "close":
                connection.close()
                return sent, answered

    outcomes = [future.result() for future in [clients.submit(client) for _ in range(8)]]
    assert all(sent == answered for sent, answered in outcomes), outcomes
    assert server.end() == 0
    assert json.loads(server.lines[-1]) | {"at": None} == {"at": None, "event": "stopped", "dropped": 0}


@pytest.mark.fault("J6", "L15")
@pytest.mark.parametrize(("drain_timeout_s", "second_signal"), [(1, False), (600, True)])
def test_a_slow_request_does_not_delay_the_end(start_program, tiny_bundle_dir, drain_timeout_s, second_signal):
    count = 150_000  # twenty seconds
    limits = ("--max-texts", count, "--max-pending-texts", count, "--max-body-bytes", 20_000_000)
    server = start_program(tiny_bundle_dir, *limits, "--drain-timeout", drain_timeout_s)
    with socket_to(server.url) as connection:
        connection.sendall(post({"texts": ["a " * 30] * count}))
        while b"crosstune_pending_texts 150000.0" not in fetch(server.url, "GET", "/metrics")[2]:
            pass
        time.sleep(0.5)  # a request that is answered, like the last one for the metrics, is open for a moment longer
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.wait_for("stopping")
        if second_signal:
            server.signal(signal.SIGTERM)
        assert server.end() == 143
        assert time.monotonic() - started < 15, "the request alone takes longer"
        assert read_all(connection)[:12] in (b"", b"HTTP/1.1 503")
    (stopped,) = (line for line in map(json.loads, server.lines) if line["event"] == "stopped")
    assert stopped["dropped"] == 1


def flip_model_bit(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def empty_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b"{}")


def remove_bundle(bundle: Path) -> None:
    shutil.rmtree(bundle)


@pytest.mark.fault("J9", "G18")
@pytest.mark.parametrize("damage", [flip_model_bit, empty_manifest, remove_bundle], ids=lambda value: value.__name__)
def test_a_bad_bundle_is_refused_at_sighup(start_program, bundle_copy, damage):
    server = start_program(bundle_copy)
    body = {"texts": ["where is my parcel"]}
    before = fetch(server.url, "POST", "/v1/classify", body)[2]
    damage(bundle_copy)
    assert fetch(server.url, "POST", "/v1/classify", body)[2] == before, "it answers from memory"
    server.signal(signal.SIGHUP)
    line = server.wait_for("reload refused")
    assert (line["code"], line["digest"]) == (5, before["digest"])
    assert str(bundle_copy) in line["error"]
    declared = before["digest"] if damage is flip_model_bit else None
    health = fetch(server.url, "GET", "/health")[2]
    assert health == {
        "status": "ok",
        "digest": before["digest"],
        "refused": {"digest": declared, "error": health["refused"]["error"]},
    }
    assert health["refused"]["error"].startswith("Bundle")
    assert fetch(server.url, "GET", "/ready")[0] == 200
    assert fetch(server.url, "POST", "/v1/classify", body)[2] == before


@pytest.mark.fault("J9")
def test_a_good_bundle_is_served_after_sighup(start_program, bundle_copy):
    from crosstune_export.edit.labels import rename_label

    server = start_program(bundle_copy)
    before = fetch(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})[2]
    flip_model_bit(shutil.copytree(bundle_copy, bundle_copy.with_name("spare.bundle")))
    rename_label(bundle_copy, "shipping", "post")
    server.signal(signal.SIGHUP)
    digest = Classifier.load(bundle_copy).manifest.digest
    assert server.wait_for("reloaded")["digest"] == digest != before["digest"]
    assert fetch(server.url, "GET", "/health")[2] == {"status": "ok", "digest": digest, "refused": None}
    assert "post" in [label["name"] for label in fetch(server.url, "GET", "/v1/labels")[2]["labels"]]
    after = fetch(server.url, "POST", "/v1/classify", {"texts": ["where is my parcel"]})[2]
    assert after["digest"] == digest
    assert list(after["answers"][0]["probs"].values()) == list(before["answers"][0]["probs"].values())
    assert b'reloads_total{outcome="taken"} 1.0' in fetch(server.url, "GET", "/metrics")[2]


def run(*arguments: object) -> tuple[int, str, str]:
    script = Path(sys.executable).parent / "crosstune-export"
    done = subprocess.run(
        [str(script), "serve", *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_bad_bundle_is_refused_at_the_start(bundle_copy):
    flip_model_bit(bundle_copy)
    code, out, err = run(bundle_copy, "--port", "0")
    assert (code, out) == (5, "")
    assert err.startswith(f"error: {bundle_copy / 'model.onnx'}: sha256 ")


def test_an_address_in_use_is_refused(program, tiny_bundle_dir):
    port = urlsplit(program.url).port
    code, out, err = run(tiny_bundle_dir, "--port", port)
    assert (code, out) == (2, "")
    assert err == (
        f"error: 127.0.0.1:{port}: cannot listen (Address already in use). Choose another --host or --port.\n"
    )


def test_an_invalid_host_is_refused(tiny_bundle_dir):
    code, _, err = run(tiny_bundle_dir, "--port", 0, "--host", "999.1.1.1")
    assert code == 2
    assert err.startswith("error: 999.1.1.1:0: cannot listen (")


@pytest.mark.fault("L17", "L19")
def test_a_reload_is_tried_in_another_process(bundle_copy, tmp_path, tiny_bundle_dir):
    """What ends or holds up the process that tries a bundle is an error, not the end of the server."""
    assert try_bundle(bundle_copy, Trust(), 300) == read_bundle(bundle_copy).manifest.digest
    with pytest.raises(BundleContentError, match=r"not loaded and tested after 0\.01 s"):
        try_bundle(bundle_copy, Trust(), 0.01)
    key = tmp_path / "key.pub"
    key.write_text("none")
    with pytest.raises(ConfigError, match="not a public key"):
        try_bundle(bundle_copy, Trust((key,)), 300)
    (bundle_copy / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleIntegrityError, match=r"model\.onnx: 0 bytes"):
        try_bundle(bundle_copy, Trust(), 300)


@pytest.mark.fault("L17")
def test_a_bundle_that_ends_the_process(bundle_copy, monkeypatch, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(BundleContentError, match=r"ended the process that tried it \(code -11\)"):
        try_bundle(bundle_copy, Trust(), 300)
