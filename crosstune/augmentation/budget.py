"""Prices from the user's file, and a budget that concurrent requests never exceed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.strict_text import Json, parse_toml, read_text

MILLION = Decimal(1_000_000)
#: Upper bound for the tokens that a server adds to each message of a chat; chosen by hand.
TOKENS_AROUND_MESSAGE = 16


@dataclass(frozen=True)
class Price:
    """Price of a model in US dollars per million tokens of prompt and of answer."""

    prompt: Decimal
    answer: Decimal

    def cost(self, prompt_tokens: int, answer_tokens: int) -> Decimal:
        """Return the cost of a request in US dollars.

        Examples:
            >>> Price(Decimal("0.5"), Decimal("1.5")).cost(1_000_000, 200_000)
            Decimal('0.8')
        """
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / MILLION


FREE = Price(Decimal(0), Decimal(0))


def read_prices(path: Path) -> dict[str, Price]:
    """Read prices from TOML: a table per model, with ``prompt`` and ``answer`` in US dollars per million tokens.

    Raises:
        ConfigError: The file cannot be read, or a price is not a number from 0 to 1,000,000.
    """
    try:
        body = parse_toml(read_text(path), str(path), ConfigError)
    except DataError as error:
        raise ConfigError(str(error)) from error
    prices = {}
    for model, table in (body if isinstance(body, dict) else {}).items():
        if not isinstance(table, dict) or sorted(table) != ["answer", "prompt"]:
            raise ConfigError(
                f"{path}: model {model!r}, expected a table of prompt and answer, in US dollars per million tokens."
            )
        prices[model] = Price(*(_amount(table[key], f"{path}: {model}: {key}") for key in ("prompt", "answer")))
    return prices


def price_of(model: str, prices: Mapping[str, Price], *, on_this_machine: bool) -> Price | None:
    """Return the price of a model: from the file, or 0 for a server on this machine, or None if it is unknown."""
    return prices.get(model, FREE if on_this_machine else None)


class Budget:
    """Budget of a run. Each request reserves its maximum cost before it is sent, so the cap is never exceeded.

    Examples:
        >>> async def two_of_three():
        ...     budget = Budget(Decimal("1.00"))
        ...     first, second = await budget.reserve(Decimal("0.40")), await budget.reserve(Decimal("0.40"))
        ...     await budget.settle(Decimal("0.40"), Decimal("0.35"))
        ...     await budget.settle(Decimal("0.40"), Decimal("0.35"))
        ...     return first, second, await budget.reserve(Decimal("0.40"))
        >>> asyncio.run(two_of_three())
        (True, True, False)
    """

    def __init__(self, cap: Decimal | None) -> None:
        """Start with nothing spent.

        Args:
            cap: Maximum cost in US dollars; None for no cap.
        """
        self.cap = cap
        self.spent = Decimal(0)
        self._reserved = Decimal(0)
        self._changed = asyncio.Condition()

    async def reserve(self, max_cost: Decimal) -> bool:
        """Reserve the maximum cost of a request, waiting for running requests if necessary.

        Args:
            max_cost: Maximum cost of the request in US dollars.

        Returns:
            Whether the budget suffices.
        """
        async with self._changed:
            while self.cap is not None and self.spent + self._reserved + max_cost > self.cap:
                if not self._reserved:
                    return False
                await self._changed.wait()
            self._reserved += max_cost
            return True

    async def settle(self, max_cost: Decimal, cost: Decimal) -> None:
        """Release a reservation and spend the actual cost, both in US dollars."""
        async with self._changed:
            self._reserved -= max_cost
            self.spent += cost
            self._changed.notify_all()


def read_cap(amount: str | None) -> Decimal | None:
    """Read the cap from the command line, in US dollars.

    Raises:
        ConfigError: The cap is not a number from 0 to 1,000,000.
    """
    return None if amount is None else _amount(amount, "max-cost")


def _amount(value: Json, where: str) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal(-1)
    if isinstance(value, bool) or not amount.is_finite() or not 0 <= amount <= MILLION:
        raise ConfigError(f"{where}: found {value!r:.40}, expected US dollars, 0 to {MILLION}.")
    return amount
