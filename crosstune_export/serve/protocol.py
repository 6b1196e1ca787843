"""HTTP/1.1 as uvicorn speaks it with h11, and a clock on every connection.

uvicorn times idle connections only: a client that sends a byte now and then keeps one for ever. Here a connection is always in
one of three phases; the clock of a phase is absolute, so further bytes of the same phase do not wind it up again. h11 rather
than httptools, because h11 bounds the head of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from crosstune_export.serve.limits import MAX_HEAD_BYTES, MAX_PIECES, ServeLimits

#: After SIGTERM an idle connection is kept this long, so that a request that is on its way is still answered.
LINGER_S = 1.0


class Phase(Enum):
    """What a connection waits for."""

    IDLE = auto()  # the first byte of a request
    RECEIVING = auto()  # the rest of it
    ANSWERING = auto()  # us: no clock, for the work that is accepted is bounded


@dataclass
class Doorway:
    """What all connections share.

    Attributes:
        limits: The clocks and the number of connections.
        closed: Hears why a connection was closed before its request was answered: "full", "receive" or "send".
        draining: Set by SIGTERM: every answer is the last one of its connection.
    """

    limits: ServeLimits
    closed: Callable[[str], None]
    draining: bool = False


class _BoundedConnection(h11.Connection):
    """h11 that gives up on a body that comes in too many pieces: a chunk of one byte costs as much as one of a kilobyte."""

    _pieces = 0

    def next_event(self) -> Any:  # noqa: ANN401
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > MAX_PIECES:
                raise h11.RemoteProtocolError("too many pieces")
        elif isinstance(event, h11.Request):
            self._pieces = 0
        return event


class TimedProtocol(H11Protocol):
    """One connection."""

    def __init__(self, *, doorway: Doorway, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self._doorway = doorway
        self._phase = Phase.ANSWERING
        self._clock: asyncio.TimerHandle | None = None
        self._send_clock: asyncio.TimerHandle | None = None
        self.conn = _BoundedConnection(h11.SERVER, MAX_HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # then pause_writing means: something is not sent yet
        if len(self.connections) > self._doorway.limits.max_connections:
            self._doorway.closed("full")
            self._last_words(b"503 Service Unavailable\r\nretry-after: 1")
        else:
            self._enter(Phase.RECEIVING)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_clock()
        if self._send_clock is not None:
            self._send_clock.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; h11 gets them in slices, or one whole read could be one enormous head."""
        for start in range(0, len(data), MAX_HEAD_BYTES):
            if not self.transport.is_closing():
                super().data_received(data[start : start + MAX_HEAD_BYTES])

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP: say so, unless the answer is out already."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def handle_events(self) -> None:
        """Bytes came, or a request that waited behind another gets its turn."""
        if not self.transport.is_closing():
            super().handle_events()
            self._follow()

    def on_response_complete(self) -> None:
        """An answer was handed to the transport."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours replaces it
        self._follow()

    def pause_writing(self) -> None:
        """Something is not sent yet."""
        super().pause_writing()
        self._send_clock = self.loop.call_later(self._doorway.limits.send_timeout_s, self._cut)

    def resume_writing(self) -> None:
        """Everything is sent."""
        super().resume_writing()
        if self._send_clock is not None:
            self._send_clock.cancel()

    def shutdown(self) -> None:
        """The server stops: what was begun is finished, what is idle is closed after a moment."""
        if self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]:
            self._wind(Phase.IDLE, LINGER_S)

    def _follow(self) -> None:
        """Enter the phase that h11 is in."""
        theirs = self.conn.their_state
        if self.transport.is_closing():
            self._stop_clock()
        elif theirs is h11.IDLE and not self.conn.trailing_data[0]:
            self._enter(Phase.IDLE)
        elif theirs is h11.IDLE or theirs is h11.SEND_BODY:
            self._enter(Phase.RECEIVING)
        else:
            self._enter(Phase.ANSWERING)

    def _enter(self, phase: Phase) -> None:
        if phase is self._phase:
            return
        if phase is Phase.ANSWERING:
            self._phase = phase
            self._stop_clock()
        elif phase is Phase.RECEIVING:
            self._wind(phase, self._doorway.limits.receive_timeout_s)
        else:
            self._wind(phase, LINGER_S if self._doorway.draining else self._doorway.limits.keep_alive_s)

    def _wind(self, phase: Phase, seconds: float) -> None:
        self._stop_clock()
        self._phase = phase
        self._clock = self.loop.call_later(seconds, self._time_is_up)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    def _time_is_up(self) -> None:
        if self._phase is Phase.IDLE:
            self.transport.close()
            return
        self._doorway.closed("receive")
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._last_words(b"408 Request Timeout")
        else:  # refused early, and the rest of the body never came
            self.transport.close()

    def _last_words(self, status: bytes) -> None:
        """Answer without h11, which may be anywhere in a request, and close."""
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def _cut(self) -> None:
        self._doorway.closed("send")
        self.transport.abort()
