"""Decode raw rows into columns, and say why a row is bad."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence

from crosstune.core.errors import DataError
from crosstune.core.strict_text import parse_strictly
from crosstune.core.texts import control_problem
from crosstune.rows.first_bytes import encoding_advice
from crosstune.rows.lines import MAX_ROW_BYTES, RawRow, parse_csv
from crosstune.rows.parquet import import_parquet
from crosstune.rows.window import Window

Fields = dict[str, object]


class RowError(Exception):
    """Reason why a row is bad, with a next step."""


def rows_of(window: Window, names: Sequence[str]) -> Iterator[tuple[int, Fields]]:
    """Yield the number and the columns of each row; of Parquet only the columns ``names``.

    Raises:
        DataError: A row is bad; the message names it.
    """
    if window.batch:
        arrow, _ = import_parquet()
        batch = arrow.ipc.open_stream(window.batch).read_next_batch()
        present = batch.select([name for name in batch.schema.names if name in names])
        try:
            yield from enumerate(present.to_pylist(), window.first_row)
        except UnicodeDecodeError as error:
            raise DataError(f"{window.source.name}: text that is not UTF-8. Write the file again.") from error
        return
    for raw in window.rows:
        try:
            fields = fields_of(window, raw)
        except RowError as error:
            raise DataError(f"{window.source.name}:{raw.line}: {error}") from error
        if fields is not None:
            yield raw.line, fields


def fields_of(window: Window, raw: RawRow) -> Fields | None:
    """Return the columns of a row; None for a blank line. A row of empty fields counts as a row.

    Raises:
        RowError: The row is bad.
    """
    if len(raw.data) > MAX_ROW_BYTES:
        raise RowError(f"a row of more than {MAX_ROW_BYTES} bytes, expected at most that. Shorten or split it.")
    try:
        text = raw.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError(_not_decoded(window, raw, error.start)) from error
    if not text.strip() and not (window.header and window.delimiter in text):
        return None
    if window.source.file_format in ("jsonl", "json"):
        return _json_object(text.rstrip("\r\n"), window.source.options.text_column)
    if window.source.file_format == "text":
        return {window.source.options.text_column: text.rstrip("\r\n")}
    return _table_row(text, window.header, window.delimiter)


def text_value(fields: Mapping[str, object], name: str, needed: Sequence[str]) -> str:
    """Return the text in a column; it may be empty.

    Args:
        fields: Columns of the row.
        name: The column.
        needed: All columns that a row must have.

    Raises:
        RowError: There is none, or it has a control character.
    """
    value = fields.get(name)
    if isinstance(value, bytes):  # Parquet writers that do not mark strings as such
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"{name} is bytes that are not UTF-8, expected a string. Write the file again.") from error
    if not isinstance(value, str):
        raise RowError(
            _missing(fields, name, needed) or f"{name} is {value!r:.80}, expected a string. Put it in quotes."
        )
    if problem := control_problem(value):
        raise RowError(f"{name} {problem}")
    return value


def label_value(fields: Mapping[str, object], name: str, needed: Sequence[str]) -> str:
    """Return the label in a column; integers and booleans are written as JSON writes them.

    Raises:
        RowError: There is none.
    """
    value = fields.get(name)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if value is not None and not isinstance(value, (str, bytes)):
        raise RowError(f"{name} is {value!r:.80}, expected a string or an integer. Put it in quotes.")
    return text_value(fields, name, needed)


def _missing(fields: Mapping[str, object], name: str, needed: Sequence[str]) -> str | None:
    if name not in fields:
        present = ", ".join(map(repr, fields)) or "none"
        return f"no field {name!r}, found {present}. Give every row {' and '.join(needed)}."
    return f"{name} is null, expected a string. Remove the row or fill it in." if fields[name] is None else None


def _not_decoded(window: Window, raw: RawRow, start: int) -> str:
    byte = f"byte 0x{raw.data[start]:02x}"
    if window.encoding == "utf-8-sig":
        return f"{byte} at offset {raw.offset + start} is not UTF-8, as the byte order mark says. Correct the row."
    if window.encoding != "utf-8":  # its rows were converted, and the bytes it does not have were kept
        return f"{byte} is not {window.encoding}. Correct the row, or give another --encoding."
    return f"{byte} at offset {raw.offset + start} is not UTF-8. {encoding_advice(raw.data)}"


def _json_object(text: str, text_column: str) -> Fields:
    try:
        row = parse_strictly(text)
    except RecursionError as error:
        raise RowError("not valid JSON (nested too deeply). Correct the line.") from error
    except json.JSONDecodeError as error:
        raise RowError(f"not valid JSON ({error.msg} at column {error.colno}). Correct the line.") from error
    except ValueError as error:
        raise RowError(f"not valid JSON ({str(error)[:80]}). Correct the line.") from error
    if isinstance(row, dict):
        return dict(row)
    advice = " For an array of objects give --input-format json." if isinstance(row, list) else ""
    raise RowError(
        f'found {type(row).__name__}, expected an object such as {{"{text_column}": "…"}}. Correct the line.{advice}'
    )


def _table_row(text: str, header: Sequence[str], delimiter: str) -> Fields:
    try:
        values = parse_csv([text], delimiter)
    except csv.Error as error:
        raise RowError(f"not a valid row ({error}). Correct its quotes.") from error
    while len(values) > len(header) and not values[-1]:
        values.pop()
    if len(values) != len(header):
        raise RowError(
            f"{len(values)} columns, expected {len(header)} ({' '.join(', '.join(header).split())}). Quote texts that hold the separator."
        )
    return dict(zip(header, values, strict=True))
