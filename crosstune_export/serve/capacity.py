"""Limits on the work that is pending at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crosstune_export.serve.http_errors import HttpError, overloaded


class Capacity:
    """Counts what is pending against a limit. Only the event loop uses it, so it needs no lock.

    Attributes:
        limit: The largest pending amount.
        unit: What is counted, in the plural, for messages.
        pending: The amount now.
    """

    def __init__(self, limit: int, unit: str) -> None:
        self.limit, self.unit, self.pending = limit, unit, 0

    def require_room(self) -> None:
        """Fail early, before anything of a request is read.

        Raises:
            HttpError: 503, the limit is reached.
        """
        if self.pending >= self.limit:
            raise self._exceeded()

    def acquire(self, amount: int) -> None:
        """Count an amount as pending.

        Raises:
            HttpError: 503, the amount would exceed the limit; nothing is counted.
        """
        if self.pending + amount > self.limit:
            raise self._exceeded()
        self.pending += amount

    def release(self, amount: int) -> None:
        """Stop counting an amount that was acquired."""
        self.pending -= amount

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Count an amount as pending inside the block.

        Raises:
            HttpError: 503, the amount would exceed the limit.
        """
        self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)

    def _exceeded(self) -> HttpError:
        return overloaded(
            f"server: {self.pending} {self.unit} are pending, expected at most {self.limit}. Try again later."
        )
