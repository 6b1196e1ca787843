"""Kills ``crosstune augment`` at random instants: no answer on disk may be lost, and none bought again but those under way.

    python benchmarks/kill_augment.py --kills 1000

A server on loopback answers and counts. The command is started, killed (SIGKILL) after a random time, its cache opened, and so
on until it ends by itself. What was in the cache must stay there; each kill may cost as many answers as were under way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from crosstune.augment.cache import AnswerCache

LABELS = {"shipping": "where a parcel is", "billing": "a charge or an invoice", "praise": "thanks and kind words"}
PER_LABEL = 400


class CountingServer:
    """Answers every chat after a random pause, and counts answers by the idempotency key of the request."""

    def __init__(self, pause_s: float) -> None:
        """Listen on a port that is free."""
        self.answers: Counter[str] = Counter()
        self._under_way = 0
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_POST(self) -> None:
                with outer._changed:
                    outer._under_way += 1
                try:
                    self.rfile.read(int(self.headers["content-length"]))
                    time.sleep(random.uniform(0, 2 * pause_s))
                    outer._answer(self, self.headers["idempotency-key"])
                except OSError:
                    self.close_connection = True
                finally:
                    with outer._changed:
                        outer._under_way -= 1
                        outer._changed.notify_all()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Killed clients reset their connections."""

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _answer(self, handler: BaseHTTPRequestHandler, key: str) -> None:
        draw = random.Random(key)
        texts = [" ".join(f"w{draw.randrange(10**6)}" for _ in range(6)) for _ in range(5)]
        choice = {"message": {"role": "assistant", "content": json.dumps({"texts": texts})}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        with self._changed:
            self.answers[key] += 1  # from here on it is paid for
            self._changed.notify_all()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def settle(self) -> None:
        """Wait until nothing is being answered."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout=60)

    def wait_for_an_answer(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until one more was given, or the process has ended."""
        with self._changed:
            seen = sum(self.answers.values())
            while sum(self.answers.values()) == seen and process.poll() is None:
                self._changed.wait(0.05)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def committed(cache: Path) -> set[bytes]:
    """Keys in the cache; opening it at all is part of the test."""
    if not cache.exists():
        return set()
    AnswerCache(cache).close()
    with contextlib.closing(sqlite3.connect(cache)) as table:
        return {key for (key,) in table.execute("SELECT key FROM answers")}


@dataclass
class Figures:
    """Over all runs: kills, whole runs, answers kept, answers lost, answers bought again, the most of one kill, texts missing."""

    kills: int = 0
    runs: int = 0
    answers: int = 0
    lost: int = 0
    bought_again: int = 0
    most_by_one_kill: int = 0
    texts_missing: int = 0


def one_run(
    folder: Path, concurrency: int, draw: random.Random, most_kills: int, figures: Figures, progress: Progress
) -> None:
    """Kill one run again and again, and let it end when there were kills enough."""
    (folder / "labels.json").write_text(json.dumps(LABELS), "utf-8")
    rows = [{"text": f"text {i} about {label}", "label": label} for label in LABELS for i in range(8)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    server = CountingServer(0.02)
    options = [
        "--train",
        "train.jsonl",
        "--labels",
        "labels.json",
        "--output",
        "g.jsonl",
        "--base-url",
        server.base_url,
    ]
    options += ["--model", "m", "--per-label", str(PER_LABEL), "--concurrency", str(concurrency)]
    code = "from crosstune_cli.train_app import main; main()"
    command = [sys.executable, "-c", code, "augment", *options]
    kept: set[bytes] = set()
    unkept = 0
    try:
        while True:
            process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            if figures.kills < most_kills and _killed(process, server, draw):
                figures.kills += 1
                progress.advance(progress.task_ids[0])
            _, said = process.communicate(timeout=300)
            server.settle()
            now = committed(folder / "g.answers.sqlite")
            figures.lost += len(kept - now)
            unkept_now = sum(server.answers.values()) - len(now)
            figures.most_by_one_kill = max(figures.most_by_one_kill, unkept_now - unkept)
            kept, unkept = now, unkept_now
            if process.returncode == 0:
                break
            if process.returncode != -signal.SIGKILL:
                raise SystemExit(f"the command ended with {process.returncode}: {said.decode()}")
    finally:
        server.close()
    figures.runs += 1
    figures.answers += len(kept)
    figures.bought_again += unkept
    figures.texts_missing += PER_LABEL * len(LABELS) - (folder / "g.jsonl").read_text("utf-8").count("\n")


def _killed(process: subprocess.Popen[bytes], server: CountingServer, draw: random.Random) -> bool:
    """Kill at a random instant, mostly while answers come in; False where the command was quicker."""
    if draw.random() < 0.9:
        server.wait_for_an_answer(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(draw.uniform(0, 0.6))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    return True


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seed", type=int, default=13)
    arguments = parser.parse_args()
    os.environ["OPENAI_API_KEY"] = "sk-nothing-to-see-here"
    draw, figures = random.Random(arguments.seed), Figures()
    with Progress(console=Console(stderr=True)) as progress:
        progress.add_task("kills", total=arguments.kills)
        while figures.kills < arguments.kills:
            with tempfile.TemporaryDirectory() as name:
                one_run(Path(name), arguments.concurrency, draw, arguments.kills, figures, progress)
    print(json.dumps(asdict(figures) | {"concurrency": arguments.concurrency}))
    if figures.lost or figures.texts_missing or figures.most_by_one_kill > arguments.concurrency:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
