"""Sends one request and brings its answer: a deadline, retries that know what may have been paid, and a place in the cache."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from crosstune.augmentation.answers import Answer, answer_from_body
from crosstune.augmentation.budget import TOKENS_AROUND_MESSAGE, Budget, Price
from crosstune.augmentation.cache import AnswerCache
from crosstune.augmentation.endpoint import Endpoint
from crosstune.augmentation.failures import FailedSendError, connection_failure, said, status_failure
from crosstune.augmentation.plan import GenerationRequest
from crosstune.core.errors import DataError, GenerationError
from crosstune.core.strict_text import Json, parse_json

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
        from crosstune.augmentation.client import open_client

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
                failed = FailedSendError(reason, again=True, maybe_paid=True)
                cost = most  # as if it had been billed: the cap must hold either way
            except FailedSendError as error:
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

    def _pause(self, failed: FailedSendError, sends: int) -> float | None:
        """Seconds until the next send: what the server asks, else a random part of a doubling time; None: too long."""
        if failed.wait_s is not None:
            return None if failed.wait_s > self.limits.max_wait_s else failed.wait_s + random.random()
        return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (sends - 1)))

    async def _send(self, request: GenerationRequest, key: bytes) -> Answer:
        """One send, again at once where the server refuses a parameter by name; the answer is cached when this returns."""
        import openai

        from crosstune.augmentation.client import OversizedBodyError

        while True:
            body = self._body(request, key)
            try:
                response = await self._client.chat.completions.with_raw_response.create(**body)
            except openai.APIStatusError as error:
                if self._dropped_parameter(error, body):
                    continue
                raise status_failure(error, self.endpoint, self.model, self.limits.max_wait_s) from None
            except OversizedBodyError as error:
                if error.status != 200:
                    reason = (
                        f"{error.status} with a body that is {error}, expected a short plain one. Check --base-url."
                    )
                    raise FailedSendError(reason, again=True) from None
                return self._kept(key, Answer(None, "oversized", False, None, None))
            except openai.APIConnectionError as error:
                raise connection_failure(error) from None
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
            raise FailedSendError(
                f"200 with {len(content)} bytes that are no chat completion, expected JSON with choices. Check --base-url.",
                again=True,
                maybe_paid=True,
            )
        return answer

    def _dropped_parameter(self, error: openai.APIStatusError, body: dict[str, object]) -> bool:
        """Whether the server refuses a parameter by its name that the next send can do without."""
        told = said(error) if error.status_code in (400, 422) else ""
        refused = [name for name in _OPTIONAL if name in body and re.search(rf"\b{name}\b", told)]
        self.tally.dropped_parameters += [name for name in refused if name not in self.tally.dropped_parameters]
        return bool(refused)
