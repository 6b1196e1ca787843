"""Decode a window of raw rows into texts, the other columns, and the bad rows with a reason for each."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crosstune.core.strict_text import parse_strictly
from crosstune.core.token_layout import Text
from crosstune_export.bulk.lines import MAX_ROW_BYTES, RawRow, parse_csv
from crosstune_export.bulk.windows import Window, delimiter_of, import_parquet

Fields = dict[str, object]
#: Columns that are added to each row.
RESULT_COLUMNS = ("label", "prob", "probs", "truncated", "similarity")
_RESERVED = re.compile(rf"(input_)*({'|'.join(RESULT_COLUMNS)})")


class BadRow(NamedTuple):
    """A row that cannot be classified.

    Attributes:
        source: Name of the file, for messages.
        row: Line number in a text file or row number in a Parquet file, from 1.
        reason: Description of the error, with a next step.
        row_id: Value of the id column; None without an id column.
    """

    source: str
    row: int
    reason: str
    row_id: object = None

    def __str__(self) -> str:
        return f"{self.source}:{self.row}: {self.reason}"


@dataclass(frozen=True)
class Columns:
    """Roles of the input columns.

    Attributes:
        text: Column of the text, or of the first text of a pair; the second is in ``text_pair``.
        text_pair: Whether the bundle classifies pairs of texts.
        row_id: Column that every row must fill and that is written first; None if rows have no ids.
        known: Output names of the columns that the output has room for; None if it takes any column.
    """

    text: str = "text"
    text_pair: bool = False
    row_id: str | None = None
    known: frozenset[str] | None = None


@dataclass(frozen=True)
class Decoded:
    """The N good rows of a window, and the bad ones.

    Attributes:
        texts: N texts or pairs to classify.
        rows: N row numbers, as in ``BadRow.row``.
        carried: Input columns under their output names: N dictionaries, or one Arrow record batch of N rows.
        bad: Bad rows, in input order.
    """

    texts: Sequence[Text]
    rows: Sequence[int]
    carried: Any
    bad: tuple[BadRow, ...]

    def take(self, indices: Sequence[int], bad: Sequence[BadRow]) -> Decoded:
        """Return a copy with only the good rows at ``indices`` and with further bad rows."""
        if isinstance(self.carried, list):
            carried = [self.carried[i] for i in indices]
        else:
            arrow, _ = import_parquet()
            carried = self.carried.take(arrow.array(indices, arrow.int32()))
        return Decoded(
            [self.texts[i] for i in indices],
            [self.rows[i] for i in indices],
            carried,
            tuple(sorted((*self.bad, *bad), key=lambda row: row.row)),
        )


def output_name(column: str) -> str:
    """Return the output name of an input column: names in ``RESULT_COLUMNS`` get the prefix ``input_``.

    Example:
        >>> output_name("topic"), output_name("label"), output_name("input_label")
        ('topic', 'input_label', 'input_input_label')
    """
    return f"input_{column}" if _RESERVED.fullmatch(column) else column


def decode(window: Window, columns: Columns) -> Decoded:
    """Decode the rows of a window."""
    if window.batch:
        return _decode_batch(window, columns)
    texts, rows, carried, bad = [], [], [], []
    for raw in window.rows:
        fields: Fields | None = None
        try:
            fields = _fields(window, raw, columns)
            if fields is None:
                continue
            text = _text(fields, columns)
            other_columns = _carried(fields, columns)
        except _RowError as error:
            row_id = None if fields is None or columns.row_id is None else fields.get(columns.row_id)
            bad.append(BadRow(window.source.name, raw.line, str(error), row_id))
            continue
        texts.append(text)
        rows.append(raw.line)
        carried.append(other_columns)
    return Decoded(texts, rows, carried, tuple(bad))


_INVALID_VALUE = "a value that is invalid for its column type, such as text that is not UTF-8. Write the file again."


class _RowError(Exception):
    """Reason why a row is bad."""


def _fields(window: Window, raw: RawRow, columns: Columns) -> Fields | None:
    """Return the columns of a row; None for a blank line. A row of empty fields counts as a row."""
    if len(raw.data) > MAX_ROW_BYTES:
        raise _RowError(f"a row of more than {MAX_ROW_BYTES} bytes, expected at most that. Shorten or split it.")
    try:
        text = raw.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RowError(
            f"byte 0x{raw.data[error.start]:02x} at offset {raw.offset + error.start} is not UTF-8. "
            "Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8"
        ) from error
    if not text.strip() and not (window.header and delimiter_of(window.source) in text):
        return None
    if window.source.file_format == "jsonl":
        return _json_object(text)
    if window.source.file_format == "text":
        if columns.text_pair:
            raise _RowError("a line of text, expected a pair. Give JSON Lines with text and text_pair.")
        return {columns.text: text.rstrip("\r\n")}
    return _table_row(text, window.header, delimiter_of(window.source))


def _json_object(text: str) -> Fields:
    try:
        row = parse_strictly(text)
    except RecursionError as error:
        raise _RowError("not valid JSON (RecursionError). Correct the line.") from error
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)[:80]
        raise _RowError(f"not valid JSON ({reason}). Correct the line.") from error
    return dict(row) if isinstance(row, dict) else {}


def _table_row(text: str, header: Sequence[str], delimiter: str) -> Fields:
    try:
        values = parse_csv([text], delimiter)
    except csv.Error as error:
        raise _RowError(f"not a valid row ({error}). Correct its quotes.") from error
    if len(values) != len(header):
        raise _RowError(
            f"{len(values)} columns, expected {len(header)} ({', '.join(header)}). Quote texts that hold the separator."
        )
    return dict(zip(header, values, strict=True))


def _text(fields: Mapping[str, object], columns: Columns) -> Text:
    names = (columns.text, "text_pair") if columns.text_pair else (columns.text,)
    values = []
    for name in names:
        value = fields.get(name)
        if not isinstance(value, str):
            present = ", ".join(map(repr, fields)) or "none"
            raise _RowError(f"no string {name!r}, found fields {present}. Give every row {' and '.join(names)}.")
        values.append(value)
    return (values[0], values[1]) if columns.text_pair else values[0]


def _carried(fields: Fields, columns: Columns) -> Fields:
    if columns.row_id is not None and fields.get(columns.row_id) in (None, ""):
        raise _RowError(f"no {columns.row_id!r}, expected one in every row. Fill it in, or omit --id-column.")
    carried = {output_name(name): value for name, value in fields.items()}
    if columns.known is not None and not carried.keys() <= columns.known:
        extra = next(name for name in carried if name not in columns.known)
        raise _RowError(
            f"column {extra!r} is new, expected only the columns of the first rows. "
            "Write JSON Lines, or give every row the same columns."
        )
    if columns.row_id is not None:
        name = output_name(columns.row_id)
        carried = {name: carried[name]} | carried
    return carried


def _decode_batch(window: Window, columns: Columns) -> Decoded:
    arrow, _ = import_parquet()
    batch = arrow.ipc.open_stream(window.batch).read_next_batch()
    names = list(batch.schema.names)
    needed = {name for name in (columns.text, "text_pair", columns.row_id) if name in names}
    texts, good, bad = [], [], []
    valid = _valid_rows(batch)
    readable = batch if len(valid) == batch.num_rows else batch.take(arrow.array(valid, arrow.int32()))
    rows = dict(zip(valid, readable.select([name for name in names if name in needed]).to_pylist(), strict=True))
    for index in range(batch.num_rows):
        if index not in rows:
            bad.append(BadRow(window.source.name, window.first_row + index, _INVALID_VALUE))
            continue
        fields = rows[index]
        try:
            row = {name: fields.get(name, "") for name in names}
            text = _text(row, columns)
            _carried(row, columns)
        except _RowError as error:
            row_id = fields.get(columns.row_id) if columns.row_id else None
            bad.append(BadRow(window.source.name, window.first_row + index, str(error), row_id))
            continue
        texts.append(text)
        good.append(index)
    ordered = sorted(names, key=lambda name: name != columns.row_id)  # the id column first
    carried = batch.select(ordered).rename_columns([output_name(name) for name in ordered])
    if len(good) < batch.num_rows:
        carried = carried.take(arrow.array(good, arrow.int32()))
    return Decoded(texts, [window.first_row + index for index in good], carried, tuple(bad))


def _valid_rows(batch: Any) -> list[int]:  # noqa: ANN401
    """Return the indices of the rows that pass Arrow's full validation, which mostly finds text that is not UTF-8."""
    arrow, _ = import_parquet()

    def is_valid(part: Any) -> bool:  # noqa: ANN401
        try:
            part.validate(full=True)
        except arrow.ArrowInvalid:
            return False
        return True

    indices = list(range(batch.num_rows))
    return indices if is_valid(batch) else [i for i in indices if is_valid(batch.take(arrow.array([i], arrow.int32())))]


def dictionaries(carried: Any) -> Iterator[Fields]:  # noqa: ANN401
    """Yield the columns of each row as a dictionary; dates, times and decimals become text."""
    if isinstance(carried, list):
        yield from carried
        return
    columns = []
    for column in carried.columns:
        kind = _json_type(column.type)
        columns.append((column if kind == column.type else column.cast(kind)).to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(carried.schema.names, values, strict=True))


def _json_type(kind: Any) -> Any:  # noqa: ANN401
    """Return an Arrow type with string in place of dates, times and decimals at any depth (Python's lose nanoseconds)."""
    arrow, _ = import_parquet()
    types = arrow.types
    if types.is_temporal(kind) or types.is_decimal(kind):
        return arrow.string()
    if types.is_map(kind):
        return arrow.map_(_json_type(kind.key_type), _json_type(kind.item_type))
    if types.is_struct(kind):
        return arrow.struct([field.with_type(_json_type(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return arrow.large_list(_json_type(kind.value_type))
    return kind
