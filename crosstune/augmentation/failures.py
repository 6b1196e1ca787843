"""Failed sends: whether to retry, whether they may have been billed, and their messages."""

from __future__ import annotations

import email.utils
import time
from typing import TYPE_CHECKING

from crosstune.augmentation.endpoint import Endpoint

if TYPE_CHECKING:
    import openai

_OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class FailedSendError(Exception):
    """A request was sent without getting an answer.

    Attributes:
        again: Whether to send the request again.
        maybe_paid: Whether the server may have processed and billed it.
        answered: Whether the server sent a status.
        wait_s: Seconds to wait as requested by the server; None if it requests none.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool,
        maybe_paid: bool = False,
        answered: bool = False,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.again, self.maybe_paid, self.answered, self.wait_s = again, maybe_paid, answered, wait_s


def status_failure(error: openai.APIStatusError, endpoint: Endpoint, model: str, max_wait_s: float) -> FailedSendError:
    """Return the failure for a status other than 200; the message quotes the server without secrets."""
    status = error.status_code
    detail = " ".join(endpoint.without_secrets(message_of(error)).split())[:160]
    found = f"{status} ({detail})" if detail else str(status)
    url = f"{endpoint.base_url}/chat/completions"
    if status == 402 or any(word in detail for word in _OUT_OF_CREDIT):
        return FailedSendError(f"{found}: out of credit. Add credit, then run the command again.", again=False)
    if status in (401, 403):
        key = endpoint.key
        ending = f" that ends in {key[-4:]}" if len(key) >= 16 else ""
        return FailedSendError(
            f"{found}, expected the key in {endpoint.key_name}{ending} to be accepted. Check the key and its permissions.",
            again=False,
        )
    if status == 429:
        wait = _retry_after(error)
        requested_wait = "" if wait is None else f", asks to wait {wait:.0f} s (--max-wait is {max_wait_s:g})"
        return FailedSendError(
            f"{found}: too many requests{requested_wait}. Run the command again later.", again=True, wait_s=wait
        )
    if status in (408, 409, 425) or status >= 500:
        return FailedSendError(
            f"{found} for {url}, expected an answer. Run the command again later.",
            again=True,
            maybe_paid=status >= 500,  # a gateway may fail after the model was run
            answered=True,
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
    """Return the failure for a connection that could not be made, or that broke."""
    import httpx2

    cause = error.__cause__
    never_sent = isinstance(
        cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)
    )
    kind = type(cause).__name__ if cause is not None else "no connection"
    what = "cannot be reached" if never_sent else "the connection broke before the answer was complete"
    return FailedSendError(
        f"{what} ({kind}). Check the network, then run the command again.", again=True, maybe_paid=not never_sent
    )


def message_of(error: openai.APIStatusError) -> str:
    """Return code and message of an error's JSON body; empty for other bodies."""
    body = error.body if isinstance(error.body, dict) else {}
    parts = [body.get("code"), body.get("type"), body.get("param"), body.get("message")]
    return " ".join(dict.fromkeys(part for part in parts if isinstance(part, str) and part))


def _retry_after(error: openai.APIStatusError) -> float | None:
    """Return the seconds of the header Retry-After, which is a number or a date; None without one."""
    value = error.response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
