"""JSON that can be understood in one way only. Standard library only."""

from __future__ import annotations

import json
from typing import TypeAlias, cast

from crosstune_export.errors import BundleContentError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def strict_json(data: bytes, where: str) -> Json:
    """Parse JSON that has no duplicate keys, no NaN or Infinity and no absurd depth.

    Raises:
        BundleContentError: The bytes are not such JSON.
    """

    def pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(items)
        if len(found) != len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise ValueError(f"key {twice!r} twice")
        return found

    def constant(name: str) -> Json:
        raise ValueError(f"number {name}")

    try:
        return cast(Json, json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant))
    except (ValueError, RecursionError) as error:
        raise BundleContentError(f"{where}: not valid JSON ({error}). Build the bundle again.") from error
