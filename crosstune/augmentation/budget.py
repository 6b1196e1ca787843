"""What texts cost: prices from the user's file, an estimate before, and a cap that holds while several requests are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.strict_text import Json, parse_toml, read_text

MILLION = Decimal(1_000_000)
#: Tokens that a server may put around each message of a chat.
TOKENS_AROUND_MESSAGE = 16


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens of prompt and of answer."""

    prompt: Decimal
    answer: Decimal

    def cost(self, prompt_tokens: int, answer_tokens: int) -> Decimal:
        """US dollars.

        Example:
            >>> Price(Decimal("0.5"), Decimal("1.5")).cost(1_000_000, 200_000)
            Decimal('0.8')
        """
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / MILLION


FREE = Price(Decimal(0), Decimal(0))


def read_prices(path: Path) -> dict[str, Price]:
    """Read prices by model from TOML: a table a model, ``prompt`` and ``answer`` in US dollars for a million tokens.

    Raises:
        ConfigError: The file cannot be read, or a price is no number of at least 0.
    """
    try:
        body = parse_toml(read_text(path), str(path), ConfigError)
    except DataError as error:
        raise ConfigError(str(error)) from error
    prices = {}
    for model, table in (body if isinstance(body, dict) else {}).items():
        if not isinstance(table, dict) or sorted(table) != ["answer", "prompt"]:
            raise ConfigError(
                f"{path}: model {model!r}, expected a table of prompt and answer, in US dollars for a million tokens."
            )
        prices[model] = Price(*(_amount(table[key], f"{path}: {model}: {key}") for key in ("prompt", "answer")))
    return prices


def price_of(model: str, prices: Mapping[str, Price], *, on_this_machine: bool) -> Price | None:
    """The price of a model: from the file, nothing for a server on this machine, and None when it is not known."""
    return prices.get(model, FREE if on_this_machine else None)


class Budget:
    """Money for a run. A request sets its highest possible cost aside before it is sent, so the cap holds at every instant.

    Example:
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
        """Begin with nothing spent; no cap when None."""
        self.cap = cap
        self.spent = Decimal(0)
        self._held = Decimal(0)
        self._changed = asyncio.Condition()

    async def reserve(self, most: Decimal) -> bool:
        """Set money aside, waiting for requests under way to give some back; False when it can never be had.

        Args:
            most: US dollars, the highest that the request can cost.
        """
        async with self._changed:
            while self.cap is not None and self.spent + self._held + most > self.cap:
                if not self._held:
                    return False
                await self._changed.wait()
            self._held += most
            return True

    async def settle(self, most: Decimal, cost: Decimal) -> None:
        """Give back what was set aside, and spend what it cost."""
        async with self._changed:
            self._held -= most
            self.spent += cost
            self._changed.notify_all()


def read_cap(amount: str | None) -> Decimal | None:
    """US dollars from the command line.

    Raises:
        ConfigError: It is no number of at least 0.
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
