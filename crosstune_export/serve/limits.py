"""The limits and timeouts of the server, in one place."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from crosstune.core.errors import ConfigError


@dataclass(frozen=True)
class ServeLimits:
    """Limits and timeouts of the server. In brackets: the status of a request that exceeds one.

    Attributes:
        max_body_bytes: Size of one request body (413).
        max_texts: Texts in one request (422).
        max_characters: Characters of one text (422).
        max_pending_texts: Texts queued or running, over all requests (503).
        explain: Whether requests may ask for explanations (422).
        max_explain_tokens: Tokens that one explanation may run: those of the text, once for each word (422).
        max_pending_explain_tokens: The same, queued or running, over all explanations (503). They have a thread of their own.
        max_buffered_bytes: Bytes of request bodies that are being received, over all connections (503).
        max_connections: Open connections; while there are more, every request gets a 503 and its connection is closed.
        receive_timeout_s: From the end of a request's head to the end of its body (408).
        send_timeout_s: For a client to accept bytes of a response; then its connection is cut (Linux only).
        keep_alive_s: An idle connection is closed after this, in whole seconds.
        drain_delay_s: From SIGTERM until the server stops accepting connections.
        drain_timeout_s: From SIGTERM until the process ends, whatever is still running.
        run_timeout_s: For the model to answer one request, without the time it waits; then the process is ended, which is
            for those that another process restarts (503). None for any time.
        reload_timeout_s: For the process that tries a bundle before a reload; then the bundle is refused.
    """

    max_body_bytes: int = 2 << 20
    max_texts: int = 32
    max_characters: int = 16_384
    max_pending_texts: int = 128
    explain: bool = True
    max_explain_tokens: int = 32_768
    max_pending_explain_tokens: int = 131_072
    max_buffered_bytes: int = 64 << 20
    max_connections: int = 2_000
    receive_timeout_s: float = 10.0
    send_timeout_s: float = 10.0
    keep_alive_s: int = 30
    drain_delay_s: float = 1.0
    drain_timeout_s: float = 30.0
    reload_timeout_s: float = 120.0
    run_timeout_s: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "explain" or value is None:
                continue
            if field.name == "drain_delay_s":
                if not (math.isfinite(value) and value >= 0):
                    raise ConfigError(f"{field.name}: found {value}, expected 0 or more.")
            elif not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{field.name}: found {value}, expected more than 0.")
        if self.max_pending_texts < self.max_texts:
            raise ConfigError(
                f"max_pending_texts: found {self.max_pending_texts}, expected at least max_texts, {self.max_texts}: "
                "a full request could never be accepted."
            )
        if self.max_pending_explain_tokens < self.max_explain_tokens:
            raise ConfigError(
                f"max_pending_explain_tokens: found {self.max_pending_explain_tokens}, expected at least max_explain_tokens, "
                f"{self.max_explain_tokens}: a long text could never be explained."
            )
        if self.drain_delay_s > self.drain_timeout_s:
            raise ConfigError(
                f"drain_delay_s: found {self.drain_delay_s:g}, expected at most drain_timeout_s, "
                f"{self.drain_timeout_s:g}."
            )


#: Headers of one request (431), bytes of its target (414), bytes of all its headers (431; 400 if they arrive in pieces).
MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 << 10
MAX_HEAD_BYTES = 16 << 10
