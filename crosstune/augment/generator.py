"""Sends one request and brings its answer: a deadline, retries that know what may have been paid, and a place in the cache."""

from __future__ import annotations

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from crosstune.augment.answers import Answer, answer_from_body
from crosstune.augment.budget import TOKENS_AROUND_MESSAGE, Budget, Price
from crosstune.augment.cache import AnswerCache
from crosstune.augment.endpoint import Endpoint
from crosstune.augment.plan import GenerationRequest
from crosstune.errors import DataError, GenerationError
from crosstune.text_files import Json, parse_json

if TYPE_CHECKING:
    import openai

#: Sends of one request that the server turned away unprocessed.
MAX_SENDS = 6
#: Sends of one request of which nobody knows whether they were processed, and so billed.
MAX_UNSURE_SENDS = 2
#: Seconds before the second send, doubled each time; a random part of it is waited.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
#: Parameters that not every server takes; one that a server refuses by name is left out from then on.
_OPTIONAL = ("response_format", "seed", "temperature", "max_tokens")
_OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


@dataclass(frozen=True)
class Limits:
    """Patience: seconds for a whole request, and the longest wait that a server may ask for, in seconds."""

    timeout_s: float
    max_wait_s: float


@dataclass
class Tally:
    """What was sent, counted while it happens; ``prompt_tokens`` and ``answer_tokens`` by the server's count."""

    bought: int = 0
    from_cache: int = 0
    retries: int = 0
    unsure: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    dropped_parameters: list[str] = field(default_factory=list)


class _FailedError(Exception):
    """One send that brought no answer.

    Attributes:
        again: Whether another send may help.
        maybe_paid: Whether the server may have processed it.
        wait_s: Seconds that the server asks to wait, or None.
    """

    def __init__(self, reason: str, *, again: bool, maybe_paid: bool = False, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.maybe_paid, self.wait_s = again, maybe_paid, wait_s


class Generator:
    """Buys answers from an endpoint, each at most once."""

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        temperature: float,
        cache: AnswerCache,
        budget: Budget,
        price: Price | None,
        limits: Limits,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Set up; nothing is sent.

        Args:
            endpoint: The server.
            model: Its model.
            temperature: Sampling temperature, at least 0.
            cache: Where answers are kept before they are used.
            budget: Holds the cap.
            price: Of the model; None when unknown, and then nothing is charged.
            limits: How long to wait.
            sleep: Waits between two sends.
        """
        self.endpoint, self.model, self.temperature = endpoint, model, temperature
        self.cache, self.budget, self.price, self.limits = cache, budget, price, limits
        self.tally = Tally()
        from crosstune.augment.client import open_client

        self._client = open_client(endpoint)
        self._sleep = sleep

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def answer(self, request: GenerationRequest) -> Answer | None:
        """The answer, from the cache or bought; None when the budget does not reach.

        Raises:
            GenerationError: The server gave up, or has to be given up.
            ResourceError: The cache cannot be written.
        """
        key = request.cache_key(self.model, self.temperature, self.endpoint.base_url)
        cached = self.cache.get(key)
        if cached is not None:
            self.tally.from_cache += 1
            return cached
        sends = unsure = 0
        while True:
            most = self.most(request)
            if not await self.budget.reserve(most):
                return None
            cost = Decimal(0)
            try:
                answer = await asyncio.wait_for(self._send(request, key), self.limits.timeout_s)
                cost = self._cost(answer, most)
                return answer
            except asyncio.TimeoutError:
                reason = (
                    f"no whole answer within {self.limits.timeout_s:g} s. Raise --timeout, or run the command again."
                )
                failed = _FailedError(reason, again=True, maybe_paid=True)
                cost = most  # as if it had been billed: the cap must hold either way
            except _FailedError as error:
                failed = error
                cost = most if error.maybe_paid else cost
            finally:
                await self.budget.settle(most, cost)
            sends += 1
            if failed.maybe_paid:
                unsure += 1
                self.tally.unsure += 1
            pause = self._pause(failed, sends)
            if not failed.again or pause is None or sends >= MAX_SENDS or unsure >= MAX_UNSURE_SENDS:
                raise GenerationError(f"{self.endpoint.host}: {failed}") from None  # a cause could show the key
            self.tally.retries += 1
            await self._sleep(pause)

    def most(self, request: GenerationRequest) -> Decimal:
        """US dollars that a request can cost at most."""
        tokens = request.prompt_bytes + TOKENS_AROUND_MESSAGE * (len(request.messages) + 1)
        return self.price.cost(tokens, request.max_tokens) if self.price else Decimal(0)

    def _cost(self, answer: Answer, most: Decimal) -> Decimal:
        self.tally.bought += 1
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self.tally.uncounted += 1
            return most
        self.tally.prompt_tokens += answer.prompt_tokens
        self.tally.answer_tokens += answer.completion_tokens
        return self.price.cost(answer.prompt_tokens, answer.completion_tokens) if self.price else Decimal(0)

    def _pause(self, failed: _FailedError, sends: int) -> float | None:
        """Seconds until the next send: what the server asks, else a random part of a doubling time; None: too long."""
        if failed.wait_s is not None:
            return None if failed.wait_s > self.limits.max_wait_s else failed.wait_s + random.random()
        return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (sends - 1)))

    async def _send(self, request: GenerationRequest, key: bytes) -> Answer:
        """One send, again at once where the server refuses a parameter by name; the answer is cached when this returns."""
        import openai

        from crosstune.augment.client import OversizedBodyError

        while True:
            body = self._body(request, key)
            try:
                response = await self._client.chat.completions.with_raw_response.create(**body)
            except openai.APIStatusError as error:
                if self._dropped_parameter(error, body):
                    continue
                raise self._status_failure(error) from None
            except OversizedBodyError as error:
                if error.status != 200:
                    reason = (
                        f"{error.status} with a body that is {error}, expected a short plain one. Check --base-url."
                    )
                    raise _FailedError(reason, again=True) from None
                return self._kept(key, Answer(None, "oversized", False, None, None))
            except openai.APIConnectionError as error:
                raise self._connection_failure(error) from None
            return self._kept(key, self._parsed(response.http_response.content))

    def _kept(self, key: bytes, answer: Answer) -> Answer:
        """Into the cache; nothing is awaited between the end of the body and here."""
        self.cache.put(key, answer)
        return answer

    def _body(self, request: GenerationRequest, key: bytes) -> dict[str, object]:
        texts = {"type": "array", "items": {"type": "string"}, "minItems": request.asked, "maxItems": request.asked}
        schema = {
            "type": "object",
            "properties": {"texts": texts},
            "required": ["texts"],
            "additionalProperties": False,
        }
        optional: dict[str, object] = {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "texts", "schema": schema, "strict": True},
            },
            "seed": request.seed,
            "temperature": self.temperature,
            "max_tokens": request.max_tokens,
        }
        body = {name: value for name, value in optional.items() if name not in self.tally.dropped_parameters}
        if "max_tokens" in self.tally.dropped_parameters:
            body["max_completion_tokens"] = request.max_tokens  # its name at newer servers; never without a limit
        return body | {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "extra_headers": {"Idempotency-Key": key.hex()},
        }

    def _parsed(self, content: bytes) -> Answer:
        try:
            body: Json = parse_json(self.endpoint.without_secrets(content.decode("utf-8")), "answer")
        except (UnicodeDecodeError, DataError):
            body = None
        answer = answer_from_body(body)
        if answer is None:
            raise _FailedError(
                f"200 with {len(content)} bytes that are no chat completion, expected JSON with choices. Check --base-url.",
                again=True,
                maybe_paid=True,
            )
        return answer

    def _dropped_parameter(self, error: openai.APIStatusError, body: dict[str, object]) -> bool:
        """Whether the server refuses a parameter by its name that the next send can do without."""
        said = _said(error) if error.status_code in (400, 422) else ""
        refused = [name for name in _OPTIONAL if name in body and re.search(rf"\b{name}\b", said)]
        self.tally.dropped_parameters += [name for name in refused if name not in self.tally.dropped_parameters]
        return bool(refused)

    def _status_failure(self, error: openai.APIStatusError) -> _FailedError:
        status = error.status_code
        said = " ".join(self.endpoint.without_secrets(_said(error)).split())[:160]
        said = f"{status} ({said})" if said else str(status)
        url, model = f"{self.endpoint.base_url}/chat/completions", self.model
        if status == 402 or any(word in said for word in _OUT_OF_CREDIT):
            return _FailedError(f"{said}: out of credit. Add credit, then run the command again.", again=False)
        if status in (401, 403):
            key = self.endpoint.key
            which = f" that ends in {key[-4:]}" if len(key) >= 16 else ""
            return _FailedError(
                f"{said}, expected the key in {self.endpoint.key_name}{which} to be taken. Check the key and its rights.",
                again=False,
            )
        if status == 429:
            wait = _retry_after(error)
            asked = "" if wait is None else f", asks to wait {wait:.0f} s (--max-wait is {self.limits.max_wait_s:g})"
            return _FailedError(
                f"{said}: too many requests{asked}. Run the command again later.", again=True, wait_s=wait
            )
        if status in (408, 409, 425) or status >= 500:
            return _FailedError(
                f"{said} for {url}, expected an answer. Run the command again later.",
                again=True,
                wait_s=_retry_after(error),
            )
        if 300 <= status < 400:
            return _FailedError(
                f"{status}: a redirect, which is not followed. Give the address it leads to as --base-url.", again=False
            )
        return _FailedError(
            f"{said} for model {model} at {url}, expected an answer. Check --base-url and --model.", again=False
        )

    def _connection_failure(self, error: openai.APIConnectionError) -> _FailedError:
        import httpx2

        cause = error.__cause__
        never_sent = isinstance(
            cause, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol)
        )
        kind = type(cause).__name__ if cause is not None else "no connection"
        what = "cannot be reached" if never_sent else "the connection broke before the whole answer was there"
        return _FailedError(
            f"{what} ({kind}). Check the network, then run the command again.", again=True, maybe_paid=not never_sent
        )


def _said(error: openai.APIStatusError) -> str:
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
