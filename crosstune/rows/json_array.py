"""The objects of a JSON array as rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from crosstune.core.errors import DataError
from crosstune.rows.first_bytes import encoding_advice
from crosstune.rows.lines import RawRow

_SPACE = re.compile(r"[ \t\r\n]*")


def is_array(head: bytes, encoding: str) -> bool:
    """Whether a file that begins so, without its byte order mark, holds an array."""
    return head.decode(encoding, "ignore").lstrip(" \t\r\n").startswith("[")


def array_rows(data: bytes, name: str) -> Iterator[RawRow]:
    r"""Yield each item of an array with the line that it starts in.

    Examples:
        >>> [(row.line, row.data) for row in array_rows(b'[{"text": "a"},\n {"text": "b"}]', "x.json")]
        [(1, b'{"text": "a"}'), (2, b'{"text": "b"}')]

    Raises:
        DataError: The file is not UTF-8, or not an array.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}:{line}: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8. "
            + encoding_advice(data[max(0, error.start - 200) : error.start + 200])
        ) from error
    decode = json.JSONDecoder().raw_decode
    line, counted = 1, 0
    position = _after_space(text, text.index("[") + 1)
    following: str | None = "]"  # an empty array may close at once
    while text[position : position + 1] != following:
        line += text.count("\n", counted, position)
        counted = position
        try:
            _, end = decode(text, position)
        except RecursionError as error:
            raise DataError(f"{name}:{line}: not valid JSON (nested too deeply). Correct it.") from error
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:80]
            raise DataError(f"{name}:{line}: not valid JSON ({reason}). Correct it.") from error
        yield RawRow(line, position, text[position:end].encode("utf-8", "surrogatepass"))
        position = _after_space(text, end)
        if text[position : position + 1] == ",":
            position, following = _after_space(text, position + 1), None
        elif text[position : position + 1] == "]":
            following = "]"
        else:
            raise DataError(f"{name}:{line}: not valid JSON (the array is not closed after this item). Correct it.")
    if text[position + 1 :].strip():
        raise DataError(
            f"{name}: more text after the array, expected its end. Give --input-format jsonl for JSON Lines."
        )


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()
