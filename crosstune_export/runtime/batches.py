"""Which rows run together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crosstune.core.token_layout import TokenRow


def batches_in_order(rows: Sequence[TokenRow], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of row indices in their order, for kernels that skip padding."""
    for start in range(0, len(rows), batch_size):
        yield list(range(start, min(start + batch_size, len(rows))))


def batches_of_equal_length(rows: Sequence[TokenRow], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of row indices with equal token counts, which need no padding and are batch invariant."""
    by_length: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_length.setdefault(len(row.ids), []).append(index)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
