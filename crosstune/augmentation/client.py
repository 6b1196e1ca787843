"""The openai SDK with its defaults for interactive use off. It takes a second to import: import this module when it is used."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import openai

from crosstune.augmentation.endpoint import Endpoint, is_on_this_machine

#: Largest body of a response; the longest answer that is asked for is a hundredth of it.
MAX_BODY_BYTES = 4 << 20


class OversizedBodyError(Exception):
    """A response that is compressed or longer than ``MAX_BODY_BYTES``; never leaves this package.

    Attributes:
        status: Of the response.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class CappedStream(httpx2.AsyncByteStream):  # type: ignore[misc]
    """The bytes of a response, up to ``MAX_BODY_BYTES``."""

    def __init__(self, inner: httpx2.AsyncByteStream, status: int) -> None:
        self._inner, self._status = inner, status

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._inner:
            seen += len(chunk)
            if seen > MAX_BODY_BYTES:
                raise OversizedBodyError(f"longer than {MAX_BODY_BYTES} bytes", self._status)
            yield chunk

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()


def open_client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """A client that sends once, follows no redirect, reads no more than it must and says nothing of this machine."""

    async def say_little(request: httpx2.Request) -> None:
        for name in list(request.headers):  # what machine this is, and whose account another program uses
            if name.startswith(("x-stainless", "openai-")) and name != "x-stainless-raw-response":  # the SDK reads that
                del request.headers[name]
        request.headers["user-agent"] = "crosstune"
        if not endpoint.key:
            request.headers.pop("authorization", None)

    http = openai.DefaultAsyncHttpxClient(
        follow_redirects=False,
        timeout=None,  # one deadline for the whole request is set outside
        trust_env=not is_on_this_machine(endpoint.base_url),
        event_hooks={"request": [say_little], "response": [_cap]},
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
        raise OversizedBodyError("compressed, though it was asked for plain", response.status_code)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = CappedStream(response.stream, response.status_code)
