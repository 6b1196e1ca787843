"""Reads text, JSON and TOML strictly, so that every file can be understood in one way only.

Data, checkpoints and bundles are held to the same rules: UTF-8, no duplicate keys, no number that is not finite.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TypeAlias, cast

from crosstune.core.errors import CrossTuneError, DataError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


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
            f"Save the file as UTF-8, for example with: iconv -f {_likely_encoding(data)} -t utf-8"
        ) from error


def parse_strictly(text: str) -> Json:
    """Parse JSON that has no duplicate keys, no number that is not finite and no absurd depth.

    Example:
        >>> parse_strictly('{"a": [1, 2.5]}')
        {'a': [1, 2.5]}

    Raises:
        ValueError: The text is not such JSON.
        RecursionError: It is nested too deeply.
    """
    return cast(
        Json, json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite_number)
    )


def parse_json(text: str, where: str) -> Json:
    """Parse JSON as ``parse_strictly`` does, and name the line and column of what is wrong.

    Args:
        text: One line, or a whole file.
        where: What to call it in messages, usually ``path`` or ``path:line``.

    Raises:
        DataError: The text is not such JSON.
    """
    try:
        return parse_strictly(text)
    except RecursionError as error:
        raise DataError(f"{where}: not valid JSON (nested too deeply). Correct the line.") from error
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if "\n" in text else ""
        raise DataError(
            f"{where}{line}: not valid JSON ({error.msg} at column {error.colno}). Correct the line."
        ) from error
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON ({str(error)[:80]}). Correct the line.") from error


def parse_toml(text: str, where: str, error_class: type[CrossTuneError]) -> Json:
    """Parse TOML, on every supported Python.

    Raises:
        CrossTuneError: As ``error_class``, when the text is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return cast(Json, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise error_class(f"{where}: not valid TOML ({error}). Correct it.") from error
    except RecursionError as error:
        raise error_class(f"{where}: not valid TOML (nested too deeply). Correct it.") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise error_class(f"{where}: not valid TOML ({str(error)[:80]}). Correct it.") from error


def _unique(items: list[tuple[str, Json]]) -> dict[str, Json]:
    table = dict(items)
    if len(table) != len(items):
        counts = Counter(key for key, _ in items)
        raise ValueError(f"key {next(key for key in counts if counts[key] > 1)!r} twice")
    return table


def _no_constant(name: str) -> Json:
    raise ValueError(f"number {name}")


def _finite_number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"number {digits[:40]}")
    return value


def _likely_encoding(data: bytes) -> str:
    """The likely encoding of a file that is not UTF-8; spreadsheets write UTF-16 with a byte order mark."""
    return "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin1"
