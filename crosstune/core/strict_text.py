"""Reads text and JSON strictly: UTF-8 with or without a byte order mark, and a line and offset in every complaint.

``crosstune_export.bundle.strict_json`` holds bundles to the same rules; neither package may import the other for it
(docs/development/README.md).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TypeAlias, cast

from crosstune.core.errors import DataError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def whole_text(text: str) -> str:
    r"""A text with U+FFFD in place of unpaired surrogates, which UTF-8 cannot hold: file names may have them.

    Example:
        >>> whole_text("caf\udce9.bundle")
        'caf�.bundle'
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a file. Check the path.") from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        DataError: The file cannot be read or is not UTF-8.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        offset = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        line = data.count(b"\n", 0, offset) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{data[offset]:02x} at offset {offset} is not UTF-8. "
            f"Save the file as UTF-8, for example with: iconv -f {_encoding(data)} -t utf-8"
        ) from error


def parse_json(text: str, where: str) -> Json:
    """Parse JSON that has no duplicate keys, no number that is not finite and no absurd depth.

    Raises:
        DataError: The text is not such JSON.
    """

    def pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(items)
        if len(found) != len(items):
            times = Counter(key for key, _ in items)
            raise ValueError(f"key {next(key for key in times if times[key] > 1)!r} twice")
        return found

    def constant(name: str) -> Json:
        raise ValueError(f"number {name}")

    def finite(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"number {digits[:40]}")
        return value

    try:
        return cast(Json, json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=finite))
    except RecursionError as error:
        raise DataError(f"{where}: not valid JSON (nested too deeply). Correct the line.") from error
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if "\n" in text else ""
        raise DataError(
            f"{where}{line}: not valid JSON ({error.msg} at column {error.colno}). Correct the line."
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({str(error)[:80]}). Correct the line.") from error


def _encoding(data: bytes) -> str:
    """What a file that is not UTF-8 most likely is; spreadsheets write UTF-16 with a mark in front."""
    return "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
