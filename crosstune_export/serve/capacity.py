"""Limits on the work that is pending at the same time, shared between clients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from crosstune_export.serve.http_errors import HttpError, overloaded

#: Clients with nothing or little pending are admitted beyond the limit, up to so many times it.
_OVERFLOW = 2


class Capacity:
    """Counts what is pending against a limit. Only the event loop uses it, so it needs no lock.

    One client may use all of it. A client with less than its share, the limit divided by the number of clients, is admitted even
    then, so that no client can lock out the others.

    Attributes:
        limit: The largest pending amount.
        unit: What is counted, in the plural, for messages.
        pending: The amount now.
    """

    def __init__(self, limit: int, unit: str) -> None:
        self.limit, self.unit, self.pending = limit, unit, 0
        self._by_client: Counter[str] = Counter()

    def require_room(self, client: str) -> None:
        """Fail early, before anything of a request is read.

        Raises:
            HttpError: 503, the limit is reached.
        """
        if not self._fits(client, 1):
            raise self._exceeded()

    def acquire(self, client: str, amount: int) -> None:
        """Count an amount of a client as pending.

        Raises:
            HttpError: 503, the amount would exceed the limit; nothing is counted.
        """
        if not self._fits(client, amount):
            raise self._exceeded()
        self.pending += amount
        self._by_client[client] += amount

    def release(self, client: str, amount: int) -> None:
        """Stop counting an amount that was acquired."""
        self.pending -= amount
        self._by_client[client] -= amount
        if not self._by_client[client]:
            del self._by_client[client]

    @contextmanager
    def hold(self, client: str, amount: int) -> Iterator[None]:
        """Count an amount as pending inside the block.

        Raises:
            HttpError: 503, the amount would exceed the limit.
        """
        self.acquire(client, amount)
        try:
            yield
        finally:
            self.release(client, amount)

    def _fits(self, client: str, amount: int) -> bool:
        if self.pending + amount <= self.limit:
            return True
        clients = len(self._by_client) + (client not in self._by_client)
        within_share = (self._by_client[client] + amount) * clients <= self.limit
        return within_share and self.pending + amount <= _OVERFLOW * self.limit

    def _exceeded(self) -> HttpError:
        return overloaded(
            f"server: {self.pending} {self.unit} are pending, expected at most {self.limit}. Try again later."
        )
