"""A scripted server on loopback that speaks enough of the chat completions interface, and every way of going wrong."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = [
    "amber",
    "bridge",
    "candle",
    "drift",
    "ember",
    "forest",
    "garden",
    "harbor",
    "island",
    "jacket",
    "kettle",
    "lantern",
    "meadow",
    "needle",
    "orchard",
    "paper",
    "quarry",
    "river",
    "saddle",
    "timber",
    "umbrella",
    "valley",
    "window",
    "yellow",
    "zipper",
    "anchor",
    "basket",
    "copper",
    "dolphin",
    "engine",
    "feather",
    "gravel",
    "hammer",
    "inkwell",
    "juniper",
    "kernel",
    "ladder",
    "magnet",
    "nectar",
    "oyster",
    "pebble",
    "quiver",
    "ribbon",
    "silver",
    "tunnel",
    "urchin",
    "velvet",
    "walnut",
]


@dataclass(frozen=True)
class Request:
    """What arrived: path, headers in lower case, and the JSON body."""

    path: str
    headers: dict[str, str]
    body: dict

    @property
    def asked(self) -> int:
        return int(re.search(r"Write (\d+) new texts", self.user)[1])

    @property
    def label(self) -> str:
        return json.loads(re.search(r"^Name of the class, as a JSON string: (.*)$", self.user, re.MULTILINE)[1])

    @property
    def system(self) -> str:
        return self.body["messages"][0]["content"]

    @property
    def user(self) -> str:
        return self.body["messages"][1]["content"]


@dataclass(frozen=True)
class Reply:
    """What to send. ``announced`` bytes are promised in the header; with fewer in the body the connection is cut or hangs."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    hang: bool = False


def completion(content, finish="stop", usage=(100, 50), **message) -> Reply:
    """A whole chat completion; ``usage`` None leaves the count of tokens out."""
    body = {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Reply(body=json.dumps(body).encode())


def failure(status, message="no", headers=None, **error) -> Reply:
    """An error in the shape that the SDK knows."""
    return Reply(status, json.dumps({"error": {"message": message} | error}).encode(), headers or {})


def good_texts(request: Request) -> list[str]:
    """As many texts as were asked for, each unlike all others; the same request gets the same ones."""
    draw = random.Random(json.dumps(request.body["messages"]) + str(request.body.get("seed")))
    return [" ".join(draw.sample(WORDS, 8)) for _ in range(request.asked)]


def good(request: Request) -> Reply:
    """A right answer."""
    return completion(json.dumps({"texts": good_texts(request)}))


class LlmServer:
    """Runs in a thread; ``script`` makes the reply to each request, given its number from 0. Close it to end what hangs."""

    def __init__(self, script: Callable[[int, Request], Reply] = lambda number, request: good(request)) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Condition()
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments) -> None:
                pass

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_GET

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address) -> None:
                """Clients that are killed reset their connections."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"http://{self.host}/v1"

    def wait_for(self, count: int) -> None:
        """Wait until so many requests have come in all."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.requests) >= count, timeout=300)

    def settle(self) -> None:
        """Wait until nothing is being answered."""
        with self._lock:
            assert self._lock.wait_for(lambda: not self._at_once, timeout=300)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> LlmServer:
        return self

    def __exit__(self, *trace) -> None:
        self.close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        data = handler.rfile.read(length)
        if len(data) < length:
            handler.close_connection = True  # killed while it sent
            return
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Request(handler.path, headers, json.loads(data) if data else {})
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self._lock.notify_all()
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self._reply(handler, self.script(number, request))
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
        finally:
            with self._lock:
                self._at_once -= 1
                self._lock.notify_all()

    def _reply(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.send_response(reply.status)
        for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body) if reply.announced is None else reply.announced))
        handler.end_headers()
        handler.wfile.write(reply.body)
        handler.wfile.flush()
        if reply.hang:
            self._closing.wait(60)
        if reply.announced is not None or reply.hang:
            handler.close_connection = True
