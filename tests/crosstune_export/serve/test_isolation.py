"""``serve --isolate``: a crash, too much memory and too much time cost one request, not the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.crosstune_export.serve.conftest import fetch

SCRIPT = Path(sys.executable).parent / "crosstune-export"
BODY = {"texts": ["where is my parcel"]}


def worker_of(server) -> psutil.Process:
    (worker,) = psutil.Process(server.process.pid).children()
    return worker


@pytest.mark.fault("L17", "L18")
def test_a_crash_is_survived(start_program, tiny_bundle_dir):
    server = start_program(tiny_bundle_dir, "--isolate")
    before = fetch(server.url, "POST", "/v1/classify", BODY)
    for _ in range(2):
        worker_of(server).send_signal(signal.SIGSEGV)
        line = server.wait_for("server ended")
        assert (line["reason"], line["answered"]) == ("SIGSEGV", 1)
        assert fetch(server.url, "POST", "/v1/classify", BODY)[::2] == before[::2], "it waits for the next process"
    server.wait_for("listening")
    worker = worker_of(server)
    server.signal(signal.SIGTERM)
    assert server.end() == 0
    assert not worker.is_running()


@pytest.mark.fault("L18")
def test_a_request_that_takes_too_long(start_program, tiny_bundle_dir):
    count = 150_000  # ten seconds and more
    limits = ("--max-texts", count, "--max-pending-texts", count, "--max-body-bytes", 20_000_000)
    server = start_program(tiny_bundle_dir, "--isolate", "--max-seconds", 1, *limits)
    status, _, answer = fetch(server.url, "POST", "/v1/classify", {"texts": ["a " * 30] * count})
    assert (status, answer["error"]) == (
        503,
        "server: the model runs longer than 1 s, expected an answer by then. Send less text.",
    )
    assert server.wait_for("server ended")["reason"] == "a request ran too long"
    assert fetch(server.url, "POST", "/v1/classify", BODY)[0] == 200


@pytest.mark.fault("L18")
def test_a_request_that_takes_too_much_memory(start_program, tiny_bundle_dir):
    count = 2_000_000
    limits = ("--max-texts", count, "--max-pending-texts", count, "--max-body-bytes", 60_000_000)
    server = start_program(tiny_bundle_dir, "--isolate", "--max-memory-mb", 256, *limits)
    before = fetch(server.url, "POST", "/v1/classify", BODY)
    status, headers, answer = fetch(server.url, "POST", "/v1/classify", {"texts": ["ab"] * count})
    assert (status, headers["retry-after"]) == (503, "1")
    message = "server: too little memory for this request, expected less text. Send less, or try again later."
    assert answer["error"] == message
    assert fetch(server.url, "POST", "/v1/classify", BODY)[::2] == before[::2]


@pytest.mark.fault("J6")
def test_signals_reach_the_server(start_program, bundle_copy):
    server = start_program(bundle_copy, "--isolate", "--drain-timeout", 1)
    server.signal(signal.SIGHUP)
    server.wait_for("reloaded")
    os.truncate(bundle_copy / "model.onnx", 10)
    server.signal(signal.SIGHUP)
    assert server.wait_for("reload refused")["code"] == 5
    worker = worker_of(server)
    worker.suspend()  # a server that does not even listen to signals
    server.signal(signal.SIGTERM)
    assert server.end() == 143
    assert not worker.is_running()


def test_a_bad_bundle_is_refused_at_the_start(bundle_copy):
    os.truncate(bundle_copy / "model.onnx", 10)
    done = subprocess.run(
        [SCRIPT, "serve", bundle_copy, "--port", "0", "--isolate"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.startswith(f"error: {bundle_copy / 'model.onnx'}: 10 bytes, expected ")
