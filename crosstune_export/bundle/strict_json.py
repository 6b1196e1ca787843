"""JSON that can be understood in one way only. Standard library only.

``crosstune.core.strict_text`` holds data and checkpoints to the same rules; neither package may import the other for it
(docs/development/README.md).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TypeAlias, cast

from crosstune_export.errors import BundleContentError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def strict_json(data: bytes, where: str) -> Json:
    """What ``parse_strictly`` makes of a file of a bundle.

    Raises:
        BundleContentError: The bytes are not such JSON.
    """
    try:
        return parse_strictly(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleContentError(f"{where}: not valid JSON ({error}). Build the bundle again.") from error


def parse_strictly(text: str) -> Json:
    """Parse JSON that has no duplicate keys, no number that is not finite and no absurd depth.

    Raises:
        ValueError: The text is not such JSON.
        RecursionError: It is too deep.
    """
    return cast(Json, json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite))


def _unique(items: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(items)
    if len(found) != len(items):
        times = Counter(key for key, _ in items)
        raise ValueError(f"key {next(key for key in times if times[key] > 1)!r} twice")
    return found


def _no_constant(name: str) -> Json:
    raise ValueError(f"number {name}")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {text[:40]}")
    return value
