"""Count what a gateway bills that charges for requests and then fails every third one: never more than ``--max-cost``.

    python -m benchmarks.robustness.paid_gateway --json FILE

The gateway runs on this machine. It charges every request at once for as many tokens as it could have: a token for each byte of the
prompt, and the longest answer. Then it fails every third one, in one of several ways. ``crosstune augment`` asks it for more texts than
the cap pays for, with one request at a time and with 32. The benchmark fails if a bill exceeds the cap, or is below half of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from tests.fixtures.llm_server import LlmServer, Reply, Request, completion, failure, good_texts

_EXAMPLES = Path(__file__).parents[2] / "examples" / "support_desk"
#: US dollars per million tokens.
_PROMPT, _ANSWER = Decimal(1), Decimal(10)
_MODEL = "writer"
_FAILURES: dict[str, Callable[[], Reply]] = {
    "500": lambda: failure(500),
    "503": lambda: failure(503),
    "502 with a page": lambda: Reply(502, b"<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
    "connection cut in the answer": lambda: Reply(200, b'{"id": "x", ', announced=1000),
    "no answer in time": lambda: Reply(200, b"", announced=1000, hang=True),
}


class Gateway:
    """Charges for every request, then fails every third."""

    def __init__(self, how: str) -> None:
        self.billed = Decimal(0)
        self._how, self._lock = how, threading.Lock()

    def answer(self, number: int, request: Request) -> Reply:
        """The reply to a request."""
        prompt, longest = len((request.system + request.user).encode()), int(request.body["max_tokens"])
        with self._lock:
            self.billed += (_PROMPT * prompt + _ANSWER * longest) / 1_000_000
        time.sleep(0.02)
        if number % 3 == 2:
            return _FAILURES[self._how]()
        return completion(json.dumps({"texts": good_texts(request)}), usage=(prompt, longest))


def bill(place: Path, how: str, concurrency: int, cap: Decimal) -> dict[str, object]:
    """One run of ``augment`` and its bill."""
    prices = place / "prices.toml"
    prices.write_text(f"[{_MODEL}]\nprompt = {_PROMPT}\nanswer = {_ANSWER}\n", "utf-8")
    gateway = Gateway(how)
    with LlmServer(gateway.answer) as server:
        command: list[object] = [
            Path(sys.executable).with_name("crosstune"), "augment", "--train", _EXAMPLES / "train.jsonl",
            "--labels", _EXAMPLES / "labels.json", "--base-url", server.base_url, "--model", _MODEL, "--prices", prices,
            "--max-cost", cap, "--per-label", 200,
            "--concurrency", concurrency, "--timeout", 2, "--output", place / "more.jsonl", "--cache", place / "answers.sqlite",
        ]  # fmt: skip
        environment = os.environ | {"OPENAI_API_KEY": "x", "NO_COLOR": "1"}
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, check=False)
        requests = len(server.requests)
    return {
        "failure": how,
        "concurrency": concurrency,
        "code": done.returncode,
        "requests": requests,
        "billed": float(gateway.billed),
        "cap": float(cap),
        "wrong": not cap / 2 < gateway.billed <= cap or done.returncode not in (0, 4),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-cost", type=Decimal, default=Decimal("0.2"), help="the cap, in US dollars")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    rows = []
    print("| every third request | at once | requests | billed | cap | code |\n|---|---|---|---|---|---|")
    for how in _FAILURES:
        for concurrency in (1, 32):
            with tempfile.TemporaryDirectory() as name:
                row = bill(Path(name), how, concurrency, arguments.max_cost)
            rows.append(row)
            print(
                f"| {how} | {row['concurrency']} | {row['requests']} | ${row['billed']:.4f} | ${row['cap']:.2f} | {row['code']} |",
                flush=True,
            )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    if any(row["wrong"] for row in rows):
        raise SystemExit("A bill is above the cap, or far below it.")


if __name__ == "__main__":
    main()
