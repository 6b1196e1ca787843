"""Measure how one client with costly requests affects another one: its latency and refusals, without and during an attack.

    python -m benchmarks.robustness.fairness BUNDLE

The attacker keeps 16 connections from 127.0.0.1 busy with as much as a request may ask for, and ignores 503s: long texts, texts to
explain, or bodies that arrive slowly. The victim sends one short text at a time from 127.0.0.2 (Linux answers on all of 127.0.0.0/8).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

_ATTACKER, _VICTIM = "127.0.0.1", "127.0.0.2"
_CONNECTIONS = 16
_ATTACKS: dict[str, dict[str, object] | None] = {
    "nothing": None,
    "32 texts of 16,384 characters": {"texts": ["where is my parcel and my money " * 512] * 32},
    "explanations of 60 words": {"texts": ["where is my parcel " * 15], "explain": True},
    "bodies of 2 MB, one byte a second": {},
}


@contextmanager
def server(bundle: Path, *options: str) -> Iterator[int]:
    """Run a server inside the block and yield its port."""
    script = Path(sys.executable).with_name("crosstune-export")
    command = [script, "serve", bundle, "--port", "0", "--drain-timeout", "1", *options]
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    stream = process.stderr
    found = next(match for line in stream if (match := re.search(r'"url": "http://[^:]*:(\d+)"', line)))
    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()
    try:
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


def classify(connection: HTTPConnection, body: dict[str, object]) -> int:
    """Send a request; the status of the response."""
    connection.request("POST", "/v1/classify", json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response.status


def attack(port: int, body: dict[str, object]) -> None:
    """Send requests over all connections, without a pause, until the process is ended."""
    for _ in range(_CONNECTIONS):
        threading.Thread(target=send_forever, args=(port, body)).start()


def send_forever(port: int, body: dict[str, object]) -> None:
    """Send requests one after the other; an empty body stands for one that does not end."""
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(_ATTACKER, 0))
        try:
            while body:
                if classify(connection, body) == 503:
                    time.sleep(0.01)
            connection.putrequest("POST", "/v1/classify")
            connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(2 << 20))
            connection.endheaders(b" " * 2_000_000)
            while True:
                time.sleep(1)
                connection.send(b" ")
        except (OSError, HTTPException):
            continue
        finally:
            connection.close()


def measure(port: int, requests: int) -> dict[str, object]:
    """Latency of the victim's requests in milliseconds, and how they were answered."""
    seconds, statuses = [], Counter[int]()
    for _ in range(requests):
        connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=(_VICTIM, 0))
        started = time.perf_counter()
        statuses[classify(connection, {"texts": ["where is my parcel"]})] += 1
        seconds.append(time.perf_counter() - started)
        connection.close()
        time.sleep(0.02)
    p50, p99 = 1e3 * np.percentile(seconds, [50, 99])
    return {"p50_ms": round(p50, 1), "p99_ms": round(p99, 1), "statuses": dict(statuses)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=200, help="requests of the victim for each attack")
    parser.add_argument("--threads", default="1", help="threads of the server")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    for name, body in _ATTACKS.items():
        with server(arguments.bundle, "--threads", arguments.threads) as port:
            attacker = None
            if body is not None:
                attacker = multiprocessing.get_context("spawn").Process(target=attack, args=(port, body))
                attacker.start()
                time.sleep(3)
            rows.append({"attack": name, **measure(port, arguments.requests)})
            print(json.dumps(rows[-1]), flush=True)
            if attacker is not None:
                attacker.kill()
                attacker.join()
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
