"""A client of the openai SDK without retries, redirects and telemetry. The import takes a second, so import it late."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import openai

from crosstune.augmentation.endpoint import Endpoint, is_on_this_machine

#: Maximum body of a response; chosen by hand, about a hundred times the longest answer that is requested.
MAX_BODY_BYTES = 4 << 20


class OversizedBodyError(Exception):
    """A response is compressed or longer than ``MAX_BODY_BYTES``; caught in ``Generator``.

    Attributes:
        status: HTTP status of the response.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class CappedStream(httpx2.AsyncByteStream):  # type: ignore[misc]
    """Body of a response that fails after ``MAX_BODY_BYTES``."""

    def __init__(self, inner: httpx2.AsyncByteStream, status: int) -> None:
        self._inner, self._status = inner, status

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._inner:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise OversizedBodyError(f"longer than {MAX_BODY_BYTES} bytes", self._status)
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


def open_client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """Return a client without retries and redirects, which limits responses and sends no information about this machine."""

    async def strip_headers(request: httpx2.Request) -> None:
        for name in list(request.headers):  # system information, and an account configured for other programs
            if name.startswith(("x-stainless", "openai-")) and name != "x-stainless-raw-response":  # needed by the SDK
                del request.headers[name]
        request.headers["user-agent"] = "crosstune"
        if not endpoint.key:
            request.headers.pop("authorization", None)

    http = openai.DefaultAsyncHttpxClient(
        follow_redirects=False,
        timeout=None,  # Generator sets one deadline for the whole request
        trust_env=not is_on_this_machine(endpoint.base_url),
        event_hooks={"request": [strip_headers], "response": [_cap]},
    )
    return openai.AsyncOpenAI(
        api_key=endpoint.key or "none",
        base_url=endpoint.base_url,
        max_retries=0,
        timeout=None,
        default_headers={"Accept-Encoding": "identity"},
        http_client=http,
    )


async def _cap(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise OversizedBodyError("compressed, though no compression was requested", response.status_code)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = CappedStream(response.stream, response.status_code)
