"""What a send that brought no answer means: whether to send again, whether it may have been billed, what to say."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

from crosstune.augmentation.endpoint import Endpoint

if TYPE_CHECKING:
    import openai

_OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class FailedSendError(Exception):
    """One send that brought no answer.

    Attributes:
        again: Whether another send may help.
        maybe_paid: Whether the server may have processed it.
        wait_s: Seconds that the server asks to wait, or None.
    """

    def __init__(self, reason: str, *, again: bool, maybe_paid: bool = False, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.maybe_paid, self.wait_s = again, maybe_paid, wait_s


def status_failure(error: openai.APIStatusError, endpoint: Endpoint, model: str, max_wait_s: float) -> FailedSendError:
    """What a status other than 200 means. The server's own words are shown, but for secrets."""
    status = error.status_code
    told = " ".join(endpoint.without_secrets(said(error)).split())[:160]
    found = f"{status} ({told})" if told else str(status)
    url = f"{endpoint.base_url}/chat/completions"
    if status == 402 or any(word in told for word in _OUT_OF_CREDIT):
        return FailedSendError(f"{found}: out of credit. Add credit, then run the command again.", again=False)
    if status in (401, 403):
        key = endpoint.key
        which = f" that ends in {key[-4:]}" if len(key) >= 16 else ""
        return FailedSendError(
            f"{found}, expected the key in {endpoint.key_name}{which} to be taken. Check the key and its rights.",
            again=False,
        )
    if status == 429:
        wait = _retry_after(error)
        asked = "" if wait is None else f", asks to wait {wait:.0f} s (--max-wait is {max_wait_s:g})"
        return FailedSendError(
            f"{found}: too many requests{asked}. Run the command again later.", again=True, wait_s=wait
        )
    if status in (408, 409, 425) or status >= 500:
        return FailedSendError(
            f"{found} for {url}, expected an answer. Run the command again later.",
            again=True,
            wait_s=_retry_after(error),
        )
    if 300 <= status < 400:
        return FailedSendError(
            f"{status}: a redirect, which is not followed. Give the address it leads to as --base-url.", again=False
        )
    return FailedSendError(
        f"{found} for model {model} at {url}, expected an answer. Check --base-url and --model.", again=False
    )


def connection_failure(error: openai.APIConnectionError) -> FailedSendError:
    """What a connection that was not made, or broke, means."""
    import httpx2

    cause = error.__cause__
    never_sent = isinstance(
        cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)
    )
    kind = type(cause).__name__ if cause is not None else "no connection"
    what = "cannot be reached" if never_sent else "the connection broke before the whole answer was there"
    return FailedSendError(
        f"{what} ({kind}). Check the network, then run the command again.", again=True, maybe_paid=not never_sent
    )


def said(error: openai.APIStatusError) -> str:
    """Code and message out of an error's JSON; nothing of a body that is no such JSON."""
    body = error.body if isinstance(error.body, dict) else {}
    parts = [body.get("code"), body.get("type"), body.get("param"), body.get("message")]
    return " ".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part))


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Seconds in the header Retry-After, given as a number or as a date."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
