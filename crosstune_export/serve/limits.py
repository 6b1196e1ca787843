"""What the server takes and how long it waits, in one place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from crosstune.core.errors import ConfigError


@dataclass(frozen=True)
class ServeLimits:
    """Bounds of the server; each is refused beyond with the status in brackets.

    Attributes:
        max_body_bytes: Of one request (413).
        max_texts: In one request (422).
        max_characters: Of one text (422).
        max_pending_texts: Accepted and not yet answered, over all requests (503).
        max_buffered_bytes: Of bodies that are being received, over all connections (503).
        max_connections: Open at the same time; further ones are closed with a 503.
        receive_timeout_s: From the first byte of a request, or from the connection, to its last byte (408).
        send_timeout_s: For the client to take an answer; then the connection is cut.
        keep_alive_s: An idle connection is closed after this.
        drain_timeout_s: For accepted requests to be answered after SIGTERM.
    """

    max_body_bytes: int = 2 << 20
    max_texts: int = 32
    max_characters: int = 16_384
    max_pending_texts: int = 128
    max_buffered_bytes: int = 64 << 20
    max_connections: int = 2_000
    receive_timeout_s: float = 10.0
    send_timeout_s: float = 10.0
    keep_alive_s: float = 30.0
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{field.name}: found {value}, expected more than 0.")
        if self.max_pending_texts < self.max_texts:
            raise ConfigError(
                f"max_pending_texts: found {self.max_pending_texts}, expected at least max_texts, {self.max_texts}: "
                "a full request could never be accepted."
            )


#: Headers of one request (431), bytes of its target (414), bytes of its whole head (400).
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 << 10
MAX_HEAD_BYTES = 16 << 10

#: Of the body of one request: chunks, or reads of the socket (400).
MAX_PIECES = 4_000
