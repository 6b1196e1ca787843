"""Attack a server, and report how it ends, what it refuses, and how another client is answered meanwhile.

    python -m benchmarks.robustness.attack_server BUNDLE tests/golden/format-1.1.bundle.zip --json FILE

- Signals: SIGTERM while a request runs that takes much longer than ``--drain-timeout``, without and with a second SIGTERM.
- Reloads: SIGHUP with each bundle of ``attack_bundles.py``. Each must be refused with code 5 or be as harmless as one that is taken.
- Costly requests: four explanations of 3 KB, and as many texts as a request may hold, over 16 connections.

A victim at another address sends one short text at a time during reloads and costly requests; each of its requests must be answered with
200. The benchmark fails otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.robustness.attacks import make_bundles

_ATTACKER, _VICTIM = "127.0.0.1", "127.0.0.2"
_PATIENCE_S = 300.0
Row = dict[str, Any]


class Server:
    """A server in a process of its own, and its log."""

    def __init__(self, bundle: Path, *options: object) -> None:
        script = Path(sys.executable).with_name("crosstune-export")
        command = [script, "serve", bundle, "--port", 0, "--threads", 1, "--drain-delay", 0, *options]
        self.process = subprocess.Popen(
            [*map(str, command)], stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        self._lines: queue.Queue[Row] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.port = int(self.wait_for("listening")["url"].rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(json.loads(line) if line.startswith("{") else {"event": line})
        self._lines.put({"event": "end"})

    def wait_for(self, *events: str) -> Row:
        """The next line of the log with one of these events; "end" is the end of the process."""
        while True:
            line = self._lines.get(timeout=_PATIENCE_S)
            if line["event"] in events or line["event"] == "end":
                return line

    def ask(self, body: Row, address: str = _ATTACKER) -> int:
        """Send a request; the status of the response, 0 where there is none."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S, source_address=(address, 0))
        try:
            connection.request("POST", "/v1/classify", json.dumps(body), {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, HTTPException):
            return 0
        finally:
            connection.close()

    def metrics(self) -> str:
        """The page /metrics."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return text


class Victim:
    """A client that sends one short text at a time, and keeps what became of each."""

    def __init__(self, server: Server) -> None:
        self._server, self._end = server, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.longest_s = 0.0
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._end.is_set():
            started = time.monotonic()
            self.statuses[self._server.ask({"texts": ["where is my parcel"]}, _VICTIM)] += 1
            self.longest_s = max(self.longest_s, time.monotonic() - started)
            time.sleep(0.05)

    def __enter__(self) -> Victim:
        self._thread.start()
        return self

    def __exit__(self, *trace: object) -> None:
        self._end.set()
        self._thread.join()

    def row(self) -> Row:
        """What became of its requests."""
        return {
            "victim": {str(status): count for status, count in sorted(self.statuses.items())},
            "victim_longest_s": round(self.longest_s, 2),
            "wrong": [] if set(self.statuses) == {200} else ["the victim was not answered"],
        }


@contextmanager
def served(bundle: Path, *options: object) -> Iterator[Server]:
    """A server, which is killed at last."""
    server = Server(bundle, *options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def ended(bundle: Path, drain_timeout_s: float, second_after_s: float | None) -> Row:
    """End a server while a slow request runs."""
    many = 150_000
    limits = ("--max-texts", many, "--max-pending-texts", many, "--max-body-bytes", 20_000_000)
    with served(bundle, *limits, "--drain-timeout", drain_timeout_s, "--receive-timeout", 120) as server:
        asking = threading.Thread(target=server.ask, args=({"texts": ["a " * 30] * many},))
        asking.start()
        while f"crosstune_pending_texts {many}.0" not in server.metrics():
            time.sleep(0.1)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        if second_after_s is not None:
            time.sleep(second_after_s)
            server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(_PATIENCE_S)
        took = time.monotonic() - started
        asking.join()
    expected = drain_timeout_s if second_after_s is None else second_after_s
    wrong = [] if code == 143 and took < expected + 5 else [f"code {code} after {took:.1f} s"]
    settings = {"drain_timeout_s": drain_timeout_s, "second_sigterm_s": second_after_s}
    return {**settings, "code": code, "ended_s": round(took, 2), "wrong": wrong}


def reloads(forged: dict[str, Path], place: Path) -> Iterator[Row]:
    """SIGHUP with each bundle, while a victim is served by the genuine one."""
    genuine, *others = forged.items()
    live = place / "live.bundle"
    shutil.copytree(genuine[1], live)
    with served(live) as server:
        for name, bundle in others:
            for member in bundle.iterdir():
                shutil.copy(member, live / member.name)
            with Victim(server) as victim:
                started = time.monotonic()
                server.process.send_signal(signal.SIGHUP)
                line = server.wait_for("reloaded", "reload refused")
                took = time.monotonic() - started
            row = {
                "bundle": name,
                "event": line["event"],
                "code": line.get("code", 0),
                "reload_s": round(took, 2),
                **victim.row(),
            }
            if line["event"] == "end" or row["code"] not in (0, 5) or server.process.poll() is not None:
                row["wrong"].append("the server ended" if server.process.poll() is not None else f"code {row['code']}")
            yield row


def costly(bundle: Path, seconds: float) -> Iterator[Row]:
    """A victim beside one client with costly requests."""
    attacks: dict[str, tuple[int, Row]] = {
        "nothing": (0, {}),
        "4 explanations of 3 KB": (4, {"texts": ["where is my parcel and my money " * 96], "explain": True}),
        "16 of 32 texts of 16,384 characters": (16, {"texts": ["where is my parcel and my money " * 512] * 32}),
        "16 explanations of 60 words": (16, {"texts": ["where is my parcel " * 15], "explain": True}),
    }
    for name, (connections, body) in attacks.items():
        with served(bundle) as server:
            end, statuses = threading.Event(), Counter[int]()

            def attack(
                server: Server = server, body: Row = body, end: threading.Event = end, statuses: Counter[int] = statuses
            ) -> None:
                while not end.is_set():
                    status = server.ask(body)
                    statuses[status] += 1
                    time.sleep(0.05 if status != 200 else 0)

            threads = [threading.Thread(target=attack, daemon=True) for _ in range(connections)]
            for thread in threads:
                thread.start()
            with Victim(server) as victim:
                time.sleep(seconds)
            end.set()
            yield {
                "attack": name,
                "attacker": {str(status): count for status, count in sorted(statuses.items())},
                **victim.row(),
            }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="genuine bundle for single texts")
    parser.add_argument("plain", type=Path, help="genuine bundle without functions and branches, to forge")
    parser.add_argument("--seconds", type=float, default=10, help="duration of each attack with costly requests")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        found: dict[str, list[Row]] = {"signals": [], "reloads": [], "costly requests": []}
        for seconds, second in ((2.0, None), (600.0, 0.5)):
            found["signals"].append(ended(arguments.bundle, seconds, second))
            print(json.dumps(found["signals"][-1]), flush=True)
        for key, rows in (
            ("reloads", reloads(make_bundles(arguments.plain, place / "made"), place)),
            ("costly requests", costly(arguments.bundle, arguments.seconds)),
        ):
            for row in rows:
                found[key].append(row)
                print(json.dumps(row), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    wrong = [row for rows in found.values() for row in rows if row["wrong"]]
    if wrong:
        raise SystemExit(f"{len(wrong)} of these are wrong.")


if __name__ == "__main__":
    main()
