"""Sends requests with a deadline, with retries that account for possible billing, and with a cache."""

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
from crosstune.augmentation.failures import FailedSendError, connection_failure, message_of, status_failure
from crosstune.augmentation.plan import GenerationRequest
from crosstune.core.errors import DataError, GenerationError
from crosstune.core.strict_text import Json, parse_json

if TYPE_CHECKING:
    import openai

#: Maximum sends of a request if the server rejects it without processing it; chosen by hand.
MAX_SENDS = 6
#: Maximum sends of a request if it may have been processed, and so billed; chosen by hand.
MAX_UNSURE_SENDS = 2
#: Exponential backoff with full jitter: first and longest upper bound of the random pause, in seconds. Chosen by hand.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
#: Parameters that some servers do not support; a parameter that the server rejects by name is omitted from then on.
_OPTIONAL = ("response_format", "seed", "temperature", "max_tokens")


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds: of a whole request, and of a wait that the server requests."""

    timeout_s: float
    max_wait_s: float


@dataclass
class Usage:
    """Counts of a run.

    Attributes:
        bought: Answers from the server.
        from_cache: Answers from the cache.
        retries: Repeated sends.
        unsure: Sends without an answer that may have been billed.
        uncounted: Answers without a token count.
        prompt_tokens: Tokens of prompts, as counted by the server.
        answer_tokens: Tokens of answers, as counted by the server.
        dropped_parameters: Parameters that the server rejected.
    """

    bought: int = 0
    from_cache: int = 0
    retries: int = 0
    unsure: int = 0
    uncounted: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    dropped_parameters: list[str] = field(default_factory=list)


class Generator:
    """Gets answers from the cache, or else from the endpoint."""

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
        """Open a client; nothing is sent yet.

        Args:
            endpoint: The server.
            model: Name of the model on the server.
            temperature: Sampling temperature, at least 0.
            cache: Stores answers before they are used.
            budget: Budget of the run.
            price: Price of the model; None if unknown, which counts as 0.
            limits: Time limits.
            sleep: Waits between two sends.
        """
        self.endpoint, self.model, self.temperature = endpoint, model, temperature
        self.cache, self.budget, self.price, self.limits = cache, budget, price, limits
        self.usage = Usage()
        from crosstune.augmentation.client import open_client

        self._client = open_client(endpoint)
        self._sleep = sleep

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def answer(self, request: GenerationRequest) -> Answer | None:
        """Return the answer to a request; None if it would exceed the budget.

        Raises:
            AnswerCacheError: The cache is damaged.
            GenerationError: The server failed, or too often.
            ResourceError: The cache cannot be written.
        """
        key = request.cache_key(self.model, self.temperature, self.endpoint.base_url)
        cached = self.cache.get(key)
        if cached is not None:
            self.usage.from_cache += 1
            return cached
        sends = unsure = 0
        while True:
            max_cost = self.max_cost(request)
            if not await self.budget.reserve(max_cost):
                return None
            cost = Decimal(0)
            try:
                answer = await asyncio.wait_for(self._send(request, key), self.limits.timeout_s)
                cost = self._cost(answer, max_cost)
                return answer
            except asyncio.TimeoutError:
                reason = (
                    f"no complete answer within {self.limits.timeout_s:g} s. Raise --timeout, or run the command again."
                )
                failed = FailedSendError(reason, again=True, maybe_paid=True)
                cost = max_cost  # it may have been billed, and the cap must hold
            except FailedSendError as error:
                failed = error
                cost = max_cost if error.maybe_paid else cost
            finally:
                await self.budget.settle(max_cost, cost)
            sends += 1
            if failed.maybe_paid:
                unsure += not failed.answered  # a server that says it failed is asked again more often
                self.usage.unsure += 1
            pause = self._pause(failed, sends)
            if not failed.again or pause is None or sends >= MAX_SENDS or unsure >= MAX_UNSURE_SENDS:
                raise GenerationError(f"{self.endpoint.host}: {failed}") from None  # a cause could show the key
            self.usage.retries += 1
            await self._sleep(pause)

    def max_cost(self, request: GenerationRequest) -> Decimal:
        """Return the maximum cost of a request in US dollars."""
        tokens = request.prompt_bytes + TOKENS_AROUND_MESSAGE * (len(request.messages) + 1)
        return self.price.cost(tokens, request.max_tokens) if self.price else Decimal(0)

    def _cost(self, answer: Answer, max_cost: Decimal) -> Decimal:
        self.usage.bought += 1
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            self.usage.uncounted += 1
            return max_cost
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.answer_tokens += answer.completion_tokens
        return self.price.cost(answer.prompt_tokens, answer.completion_tokens) if self.price else Decimal(0)

    def _pause(self, failed: FailedSendError, sends: int) -> float | None:
        """Return the seconds until the next send, as requested by the server or by backoff; None if that is too long."""
        if failed.wait_s is not None:
            return None if failed.wait_s > self.limits.max_wait_s else failed.wait_s + random.random()
        return random.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (sends - 1)))

    async def _send(self, request: GenerationRequest, key: bytes) -> Answer:
        """Send a request, again without parameters that the server rejects, and store the answer in the cache."""
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
                    reason = f"{error.status} with a body that is {error}, expected a short uncompressed one. Check --base-url."
                    raise FailedSendError(reason, again=True) from None
                return self._store(key, Answer(None, "oversized", False, None, None))
            except openai.APIConnectionError as error:
                raise connection_failure(error) from None
            return self._store(key, self._parse(response.http_response.content))

    def _store(self, key: bytes, answer: Answer) -> Answer:
        """Store an answer; nothing is awaited between the end of the response and here, so it cannot get lost."""
        self.cache.put(key, answer)
        return answer

    def _body(self, request: GenerationRequest, key: bytes) -> dict[str, object]:
        texts = {"type": "array", "items": {"type": "string"}, "minItems": request.count, "maxItems": request.count}
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
        body = {name: value for name, value in optional.items() if name not in self.usage.dropped_parameters}
        if "max_tokens" in self.usage.dropped_parameters:
            body["max_completion_tokens"] = request.max_tokens  # its name on newer servers; a limit is always sent
        return body | {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "extra_headers": {"Idempotency-Key": key.hex()},
        }

    def _parse(self, content: bytes) -> Answer:
        try:
            body: Json = parse_json(self.endpoint.without_secrets(content.decode("utf-8")), "answer")
        except (UnicodeDecodeError, DataError):
            body = None
        answer = answer_from_body(body)
        if answer is None:
            raise FailedSendError(
                f"200 with {len(content)} bytes that are not a chat completion, expected JSON with choices. Check --base-url.",
                again=True,
                maybe_paid=True,
            )
        return answer

    def _dropped_parameter(self, error: openai.APIStatusError, body: dict[str, object]) -> bool:
        """Whether the server rejects an optional parameter by name, which later sends then omit."""
        message = message_of(error) if error.status_code in (400, 422) else ""
        refused = [name for name in _OPTIONAL if name in body and re.search(rf"\b{name}\b", message)]
        self.usage.dropped_parameters += [name for name in refused if name not in self.usage.dropped_parameters]
        return bool(refused)
