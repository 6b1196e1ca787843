"""Worker threads that clients use in turn, however many requests each of them sends."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crosstune_export.serve.http_errors import HttpError, overloaded

_T = TypeVar("_T")


class FairPool:
    """Threads for the requests of many clients. The event loop decides whose turn it is, so there is no lock.

    Attributes:
        executor: The threads.
        timeout_s: Seconds that the calls of one request may run; None for any time.
    """

    def __init__(self, threads: int, name: str, timeout_s: float | None = None) -> None:
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.timeout_s = timeout_s
        self._closed = False
        self._idle = threads
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client; the first one is next

    async def run(self, client: str, *calls: Callable[[], _T]) -> list[_T]:
        """Make calls in one of the threads, each when it is the client's turn.

        Raises:
            TimeoutError: They run longer than ``timeout_s`` together. The thread of the last one is still busy.
            HttpError: 503, the pool was closed before the last call.
        """
        results = []
        ran_s = 0.0
        for call in calls:
            await self._turn(client)
            started = time.monotonic()
            try:
                running = self._start(call)
                left_s = None if self.timeout_s is None else max(0.0, self.timeout_s - ran_s)
                done, _ = await asyncio.wait({running}, timeout=left_s)
                if not done:
                    raise TimeoutError
                if running.cancelled():  # it waited for a thread when the pool was closed
                    raise _closed()
                results.append(running.result())
            finally:
                self._pass_on()
            ran_s += time.monotonic() - started
        return results

    def close(self) -> None:
        """Make no further calls, and wait for none. Any thread may call this."""
        self._closed = True
        self.executor.shutdown(wait=False, cancel_futures=True)

    def _start(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        try:
            return asyncio.get_running_loop().run_in_executor(self.executor, call)
        except RuntimeError:
            if not self._closed:
                raise
            raise _closed() from None

    async def _turn(self, client: str) -> None:
        if self._idle:
            self._idle -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        await turn

    def _pass_on(self) -> None:
        """Give the thread to the next client, which then is the last one."""
        while self._waiting:
            client = next(iter(self._waiting))
            turns = self._waiting.pop(client)
            turn = turns.popleft()
            if turns:
                self._waiting[client] = turns
            if not turn.done():  # cancelled while it waited
                turn.set_result(None)
                return
        self._idle += 1


def _closed() -> HttpError:
    return overloaded("server: it is shutting down. Send the request to another server, or later.")
