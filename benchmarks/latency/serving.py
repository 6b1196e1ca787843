"""The HTTP server under load: throughput, overload, slow clients, SIGTERM, memory.

    apt-get install wrk
    python -m benchmarks.latency.serving --bundle out/tiny.bundle --bundle out/support.bundle --output benchmarks/results/serving.json

Every request is one text of the example data. wrk and the server share the processor cores. Situations that are compared
take turns, and the ratio of their medians is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil

EXAMPLES = Path(__file__).parents[2] / "examples" / "support_desk" / "test.jsonl"
TEXTS = [json.loads(line)["text"] for line in EXAMPLES.read_text("utf-8").splitlines()][:50]
BODIES = [json.dumps({"texts": [text], "top_k": 1}).encode() for text in TEXTS]
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}
PROGRAM = Path(sys.executable).with_name("crosstune-export")


class Server:
    """``crosstune-export serve`` in a process of its own, its log in a file."""

    def __init__(self, bundle: Path, *arguments: object) -> None:
        self._log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115
        command = [PROGRAM, "serve", bundle, "--port", "0", *arguments]
        self.process = subprocess.Popen([*map(str, command)], stderr=self._log)
        while not (lines := self.log()):
            assert self.process.poll() is None, "the server did not start"
            time.sleep(0.05)
        self.url = lines[0]["url"]
        self.address = (urlsplit(self.url).hostname, urlsplit(self.url).port)

    def log(self) -> list[dict[str, object]]:
        """The lines so far."""
        text = Path(self._log.name).read_text("utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def rss(self) -> int:
        """Resident bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    def stop(self) -> int:
        """The exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(bundle: Path, *arguments: object) -> Iterator[Server]:
    """A server for the block."""
    server = Server(bundle, *arguments)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            assert server.stop() == 0


def wrk(url: str, connections: int, seconds: float, pause_ms: int = 0) -> dict[str, float]:
    """One run of wrk: requests per second, latency percentiles, responses other than 2xx.

    With ``pause_ms`` a client waits so long after a 503 before its next request.
    """
    bodies = ",\n".join(f"[==[{body.decode('ascii')}]==]" for body in BODIES)
    pause = f"""
local refused = 0
response = function(status) if status == 503 then refused = refused + 1 end end
delay = function() if refused > 0 then refused = refused - 1; return {pause_ms} end return 0 end
"""
    lua = f"""
local bodies = {{ {bodies} }}
local i = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
{pause if pause_ms else ""}
request = function() i = i % #bodies + 1; return wrk.format(nil, nil, nil, bodies[i]) end
"""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(lua)
        script.flush()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--latency",
            "--timeout",
            "30s",
            "-s",
            script.name,
        ]
        out = subprocess.run([*command, f"{url}/v1/classify"], capture_output=True, text=True, check=True).stdout
    result = {"requests_per_s": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])}
    for percent, value, unit in re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(us|ms|s|m)\s*$", out, re.MULTILINE):
        result[f"p{percent}_ms"] = float(value) * MILLISECONDS[unit]
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    result["refused"] = int(errors[1]) if errors else 0
    result["requests"] = int(re.search(r"(\d+) requests in", out)[1])
    socket_errors = re.search(r"Socket errors: (.*)", out)
    assert socket_errors is None, socket_errors
    return result


def throughput(bundle: Path, rounds: int, seconds: float) -> dict[str, object]:
    """Medians at 1, 8 and 64 connections, which take turns."""
    runs: dict[int, list[dict[str, float]]] = {1: [], 8: [], 64: []}
    with serving(bundle) as server:
        wrk(server.url, 8, 1)
        for _ in range(rounds):
            for connections, results in runs.items():
                results.append(wrk(server.url, connections, seconds))
    return {str(connections): medians(results) for connections, results in runs.items()}


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of every figure."""
    return {name: round(statistics.median(run[name] for run in runs if name in run), 2) for name in runs[0]}


def overload(bundle: Path, rounds: int, seconds: float, limit: int = 8, connections: int = 64) -> dict[str, object]:
    """As many connections as pending texts are allowed, and in turn eight times as many, with and without a pause after a 503.

    The pause is 100 ms, a tenth of what ``Retry-After`` says. Latencies are those of the server's log, from the head of a
    request to the end of its response.
    """
    situations = {"at_the_limit": (limit, 0), "over_it": (connections, 100), "hammered": (connections, 0)}
    runs: dict[str, list[dict[int, list[float]]]] = {name: [] for name in situations}
    with serving(bundle, "--max-pending-texts", limit, "--max-texts", 1) as server:
        wrk(server.url, limit, 1)
        for _ in range(rounds):
            for name, (count, pause_ms) in situations.items():
                before = len(server.log())
                wrk(server.url, count, seconds, pause_ms)
                lines = [line for line in server.log()[before:] if line["event"] == "request"]
                by_status = {
                    code: [float(line["ms"]) for line in lines if line["status"] == code] for code in (200, 503)
                }
                runs[name].append(by_status)
    report: dict[str, object] = {"limit_texts": limit, "connections": connections}
    base = statistics.median(percentile(run[200], 99) for run in runs["at_the_limit"])
    for name, parts in runs.items():
        accepted = statistics.median(percentile(run[200], 99) for run in parts)
        refusals = [ms for run in parts for ms in run[503]]
        report[name] = {
            "accepted": sum(len(run[200]) for run in parts),
            "accepted_p99_ms": accepted,
            "accepted_p99_ratio": round(accepted / base, 2),
            "refused": len(refusals),
            "refusal_p50_ms": percentile(refusals, 50) if refusals else None,
            "refusal_p99_ms": percentile(refusals, 99) if refusals else None,
            "refusal_worst_ms": max(refusals, default=None),
        }
    return report


def percentile(values: list[float], percent: float) -> float:
    """A percentile; NaN if there are no values."""
    return round(float(np.percentile(values, percent)), 2) if values else float("nan")


SLOW = """
import asyncio, sys
async def one(host, port, number):
    head = b"POST /v1/classify HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-type: application/json\\r\\ncontent-length: 10000\\r\\n\\r\\n"
    data = head + b" " * 10000
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
            at = 0 if number % 2 else len(head)
            writer.write(data[:at])
            while not reader.at_eof():
                writer.write(data[at:at + 1]); at += 1
                await writer.drain()
                await asyncio.sleep(1)
            writer.close()
        except OSError:
            await asyncio.sleep(0.1)
async def main(host, port, count):
    await asyncio.gather(*(one(host, port, number) for number in range(int(count))))
asyncio.run(main(*sys.argv[1:]))
"""


def slow_clients(bundle: Path, rounds: int, seconds: float, count: int = 500) -> dict[str, object]:
    """Eight ordinary connections, in turn without and with clients that send one byte per second and reconnect when cut off."""
    without, with_slow = [], []
    with serving(bundle) as server:
        wrk(server.url, 8, 1)
        for _ in range(rounds):
            without.append(wrk(server.url, 8, seconds))
            slow = subprocess.Popen([sys.executable, "-c", SLOW, *map(str, server.address), str(count)])
            while len(psutil.Process(server.process.pid).net_connections()) < count:
                time.sleep(0.1)
            with_slow.append(wrk(server.url, 8, seconds))
            slow.kill()
            slow.wait()
    first, second = medians(without), medians(with_slow)
    return {
        "slow_clients": count,
        "p99_ms_without": first["p99_ms"],
        "p99_ms_with": second["p99_ms"],
        "p99_ratio": round(second["p99_ms"] / first["p99_ms"], 2),
        "requests_per_s_without": first["requests_per_s"],
        "requests_per_s_with": second["requests_per_s"],
    }


def sigterm(bundle: Path, trials: int, connections: int = 32) -> dict[str, object]:
    """Stop under load. Count the requests that clients sent whole on an open connection, and those that were answered.

    In half of the trials clients stop at the first response that closes its connection, as those of a load balancer do that
    reads ``/ready``. In the other half they reconnect until the server refuses connections.
    """
    return {
        "connections": connections,
        "stopping_clients": _sigterm(bundle, trials, connections, reconnect=False),
        "reconnecting_clients": _sigterm(bundle, trials, connections, reconnect=True),
    }


def _sigterm(bundle: Path, trials: int, connections: int, *, reconnect: bool) -> dict[str, object]:
    sent = answered = 0
    codes, seconds = set(), []
    for trial in range(trials):
        server = Server(bundle)

        async def stop(server: Server = server, trial: int = trial) -> float:
            await asyncio.sleep(0.5 + 0.037 * trial)
            server.process.send_signal(signal.SIGTERM)
            return time.monotonic()

        async def load(server: Server = server, stop: Callable[[], Awaitable[float]] = stop) -> tuple[object, float]:
            clients = (client(server.address, reconnect) for _ in range(connections))
            return await asyncio.gather(asyncio.gather(*clients), stop())

        counts, stopped = asyncio.run(load())
        codes.add(server.process.wait(60))
        seconds.append(time.monotonic() - stopped)
        sent += sum(count for count, _ in counts)
        answered += sum(count for _, count in counts)
    return {
        "trials": trials,
        "sent": sent,
        "answered_200": answered,
        "dropped": sent - answered,
        "exit_codes": sorted(codes),
        "median_seconds_to_exit": round(statistics.median(seconds), 2),
    }


async def client(address: tuple[str, int], reconnect: bool) -> tuple[int, int]:
    """Send requests without a pause: the number of requests sent whole, and the number answered with 200."""
    sent = answered = 0
    while True:
        try:
            reader, writer = await asyncio.open_connection(*address)
        except OSError:
            return sent, answered
        closing = False
        while not closing:
            body = BODIES[sent % len(BODIES)]
            writer.write(
                b"POST /v1/classify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body
            )  # fmt: skip
            sent += 1
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            except (asyncio.IncompleteReadError, ConnectionError):
                break  # dropped: sent and not answered
            answered += head.startswith(b"HTTP/1.1 200 ")
            closing = b"connection: close" in head
        writer.close()
        if not reconnect:
            return sent, answered


def memory(bundle: Path, requests: int, warm: int) -> dict[str, object]:
    """Growth of the resident memory between the first ``warm`` requests and the last."""
    with serving(bundle) as server:
        done = 0
        while done < warm:
            done += int(wrk(server.url, 8, 2)["requests"])
        start, first = server.rss(), done
        while done < requests:
            done += int(wrk(server.url, 8, 5)["requests"])
        end = server.rss()
    return {
        "requests": done,
        "rss_mb_after_warming": round(start / 1e6, 1),
        "warming_requests": first,
        "rss_mb": round(end / 1e6, 1),
        "growth_mb": round((end - start) / 1e6, 1),
    }


def tables(report: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """The two tables of docs/serving.md."""
    rows = ["| bundle | connections | requests/s | p50 ms | p99 ms |", "|---|---|---|---|---|"]
    for bundle, parts in report.items():
        for connections, row in parts.get("throughput", {}).items():
            figures = f"{row['requests_per_s']:.0f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f}"
            rows.append(f"| {bundle} | {connections} | {figures} |")
    rows += ["", "| measure | " + " | ".join(report) + " |", "|---" * (len(report) + 1) + "|"]
    cells: list[tuple[str, str, Callable[..., str]]] = [
        ("overload, 100 ms pause after a 503: p99 of accepted requests", "overload", _accepted("over_it")),
        ("overload, no pause: p99 of accepted requests", "overload", _accepted("hammered")),
        ("503 responses, 100 ms pause: p50, p99, worst", "overload", _refused("over_it")),
        ("503 responses, no pause: p50, p99, worst", "overload", _refused("hammered")),
        ("p99 with 500 slow clients", "slow_clients", "{p99_ratio:.2f}x".format_map),
        ("SIGTERM, clients that stop when told to", "sigterm", _dropped("stopping_clients")),
        ("SIGTERM, clients that reconnect", "sigterm", _dropped("reconnecting_clients")),
        ("growth of resident memory", "memory", "{growth_mb:+.1f} MB ({requests} requests)".format_map),
    ]
    for measure, part, cell in cells:
        values = [cell(parts[part]) if part in parts else "" for parts in report.values()]
        rows.append(f"| {measure} | " + " | ".join(values) + " |")
    return "\n".join(rows)


def _accepted(situation: str) -> Callable[..., str]:
    return lambda row: f"{row[situation]['accepted_p99_ratio']:.2f}x"


def _refused(situation: str) -> Callable[..., str]:
    names = ("refusal_p50_ms", "refusal_p99_ms", "refusal_worst_ms")
    return lambda row: ", ".join(f"{row[situation][name]:.1f}" for name in names) + " ms"


def _dropped(clients: str) -> Callable[..., str]:
    return lambda row: "{dropped} of {sent} dropped, {trials} stops".format_map(row[clients])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="bundle to measure; default: only print the tables"
    )
    parser.add_argument("--parts", default="throughput,overload,slow_clients,sigterm,memory", help="measurements")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each situation, in turns")
    parser.add_argument("--seconds", type=float, default=4, help="seconds per run of wrk")
    parser.add_argument("--trials", type=int, default=20, help="stops with SIGTERM")
    parser.add_argument("--requests", type=int, default=100_000, help="requests of the memory test")
    parser.add_argument(
        "--output", type=Path, default=Path("out/serving.json"), help="JSON file of results, continued if it exists"
    )
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk: not installed. Run: apt-get install wrk")
    report = json.loads(arguments.output.read_text("utf-8")) if arguments.output.is_file() else {}
    jobs = {
        "throughput": lambda bundle: throughput(bundle, arguments.rounds, arguments.seconds),
        "overload": lambda bundle: overload(bundle, arguments.rounds, arguments.seconds),
        "slow_clients": lambda bundle: slow_clients(bundle, arguments.rounds, arguments.seconds),
        "sigterm": lambda bundle: sigterm(bundle, arguments.trials),
        "memory": lambda bundle: memory(bundle, arguments.requests, arguments.requests // 10),
    }
    for bundle in arguments.bundle:
        for part in arguments.parts.split(","):
            result = jobs[part](bundle)
            report.setdefault(bundle.stem, {})[part] = result
            print(bundle.stem, part, json.dumps(result), file=sys.stderr, flush=True)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(tables(report))


if __name__ == "__main__":
    main()
