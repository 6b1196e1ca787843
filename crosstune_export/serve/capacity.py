"""How much is accepted at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crosstune_export.serve.http_errors import Refusal, busy


class Admission:
    """Counts what is pending against a limit; used from the event loop alone, so it needs no lock."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what, self.pending = limit, what, 0

    def require_room(self) -> None:
        """Refuse early, before anything of a request is read.

        Raises:
            Refusal: 503, the limit is reached.
        """
        if self.pending >= self.limit:
            raise self._full()

    def add(self, amount: int) -> None:
        """Count an amount as pending.

        Raises:
            Refusal: 503, it would go beyond the limit; nothing is counted.
        """
        if self.pending + amount > self.limit:
            raise self._full()
        self.pending += amount

    def drop(self, amount: int) -> None:
        """Count it no longer."""
        self.pending -= amount

    @contextmanager
    def hold(self, amount: int) -> Iterator[None]:
        """Count an amount as pending inside the block.

        Raises:
            Refusal: 503, it would go beyond the limit.
        """
        self.add(amount)
        try:
            yield
        finally:
            self.drop(amount)

    def _full(self) -> Refusal:
        return busy(f"server: {self.pending} {self.what} are pending, expected at most {self.limit}. Try again later.")
