"""Strict parsers of text, JSON and TOML, which accept only unambiguous files.

The same rules apply to data, checkpoints and bundles: UTF-8, no duplicate keys, and only finite numbers.
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
    """Read the bytes of a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a file. Check the path.") from error


def read_text(path: Path) -> str:
    """Read a UTF-8 file, without its byte order mark.

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
            f"Save the file as UTF-8, for example with: iconv -f {_likely_encoding(data)} -t utf-8 {path}"
        ) from error


def parse_strictly(text: str) -> Json:
    """Parse JSON, and refuse duplicate keys, numbers that are not finite, and excessive nesting.

    Examples:
        >>> parse_strictly('{"a": [1, 2.5]}')
        {'a': [1, 2.5]}

    Raises:
        ValueError: The text is not valid JSON, or breaks one of these rules.
        RecursionError: The JSON is nested too deeply.
    """
    return cast(
        Json,
        json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite_number,
            parse_int=_finite_integer,
        ),
    )


def parse_json(text: str, where: str) -> Json:
    """Parse JSON as ``parse_strictly`` does; errors name line and column.

    Args:
        text: A line or a file.
        where: Name of the text in messages, usually ``path`` or ``path:line``.

    Raises:
        DataError: The text is not valid JSON, or breaks a rule of ``parse_strictly``.
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
    """Parse TOML.

    Args:
        text: Contents of a file.
        where: Name of the file in messages.
        error_class: Class of the error to raise.

    Raises:
        CrossTuneError: The text is not valid TOML; raised as ``error_class``.
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


def _finite_integer(digits: str) -> int:
    if len(digits) > 300:  # beyond float64, and beyond what Python converts
        _finite_number(digits)
    return int(digits)


def _likely_encoding(data: bytes) -> str:
    """Guess the encoding of a file that is not UTF-8: UTF-16 by its byte order mark, else that of Windows."""
    return "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp1252"


def read_object(source: Path, entries: str) -> dict[str, Json]:
    """Read an object from a .json or .toml file.

    Args:
        source: The file; what does not end in .toml is read as JSON.
        entries: What to call its entries in messages, such as ``label and description``.

    Raises:
        DataError: The file cannot be read, or holds no object.
    """
    text = read_text(source)
    is_toml = source.suffix.lower() == ".toml"
    body = parse_toml(text, str(source), DataError) if is_toml else parse_json(text, str(source))
    if not isinstance(body, dict):
        raise DataError(f"{source}: found {type(body).__name__}, expected an object of {entries}. Correct it.")
    return body
