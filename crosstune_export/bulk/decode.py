"""From a window of raw rows to texts, the other columns, and the rows that are bad, each with its reason."""

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
#: The columns that an answer adds to a row.
ANSWER_COLUMNS = ("label", "prob", "probs", "truncated")
_TAKEN = re.compile(rf"(input_)*({'|'.join(ANSWER_COLUMNS)})")


class BadRow(NamedTuple):
    """A row that cannot be classified.

    Attributes:
        source: What its file is called.
        row: Line of a file of lines, row of a Parquet file; from 1.
        reason: What is wrong and what to do.
        row_id: What stands in the id column, None where there is none.
    """

    source: str
    row: int
    reason: str
    row_id: object = None

    def __str__(self) -> str:
        return f"{self.source}:{self.row}: {self.reason}"


@dataclass(frozen=True)
class Columns:
    """Which columns mean what.

    Attributes:
        text: The text, or the first of a pair; the second is ``text_pair``.
        text_pair: Whether the bundle takes pairs.
        row_id: A column that every row must have, written first; None where rows have no ids.
        known: The only columns that an output with fixed columns takes, by their names in the output; None where any will do.
    """

    text: str = "text"
    text_pair: bool = False
    row_id: str | None = None
    known: frozenset[str] | None = None


@dataclass(frozen=True)
class Decoded:
    """The good rows of a window, N of them, and the bad ones.

    Attributes:
        texts: What to classify.
        rows: Where each stands, as in ``BadRow.row``.
        carried: The columns of each as dictionaries, or as one Arrow record batch; by their names in the output.
        bad: The other rows, in order.
    """

    texts: Sequence[Text]
    rows: Sequence[int]
    carried: Any
    bad: tuple[BadRow, ...]

    def take(self, indices: Sequence[int], bad: Sequence[BadRow]) -> Decoded:
        """Only some of the good rows, and some more of the bad ones."""
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
    """What an input's column is called in the output, where the answer's own names are taken.

    Example:
        >>> output_name("topic"), output_name("label"), output_name("input_label")
        ('topic', 'input_label', 'input_input_label')
    """
    return f"input_{column}" if _TAKEN.fullmatch(column) else column


def decode(window: Window, columns: Columns) -> Decoded:
    """Make rows of a window's bytes."""
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
            kept = _carried(fields, columns)
        except _RowError as error:
            row_id = None if fields is None or columns.row_id is None else fields.get(columns.row_id)
            bad.append(BadRow(window.source.name, raw.line, str(error), row_id))
            continue
        texts.append(text)
        rows.append(raw.line)
        carried.append(kept)
    return Decoded(texts, rows, carried, tuple(bad))


_NOT_WHOLE = "a value that is not what its column says, such as text that is not UTF-8. Write the file anew."


class _RowError(Exception):
    """What is wrong with one row."""


def _fields(window: Window, raw: RawRow, columns: Columns) -> Fields | None:
    """The columns of a row; None where it is blank: fields that are all empty are a row all the same."""
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
        raise _RowError(f"not a row ({error}). Correct its quotes.") from error
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
            found = ", ".join(map(repr, fields)) or "none"
            raise _RowError(f"no string {name!r}, found fields {found}. Give every row {' and '.join(names)}.")
        values.append(value)
    return (values[0], values[1]) if columns.text_pair else values[0]


def _carried(fields: Fields, columns: Columns) -> Fields:
    if columns.row_id is not None and fields.get(columns.row_id) in (None, ""):
        raise _RowError(f"no {columns.row_id!r}, expected one in every row. Fill it in, or leave --id-column out.")
    kept = {output_name(name): value for name, value in fields.items()}
    if columns.known is not None and not kept.keys() <= columns.known:
        extra = next(name for name in kept if name not in columns.known)
        raise _RowError(
            f"column {extra!r} is not among the columns of the first rows, which the output has. "
            "Write JSON Lines, or give every row the same columns."
        )
    if columns.row_id is not None:
        name = output_name(columns.row_id)
        kept = {name: kept[name]} | kept
    return kept


def _decode_batch(window: Window, columns: Columns) -> Decoded:
    arrow, _ = import_parquet()
    batch = arrow.ipc.open_stream(window.batch).read_next_batch()
    names = list(batch.schema.names)
    needed = {name for name in (columns.text, "text_pair", columns.row_id) if name in names}
    texts, good, bad = [], [], []
    whole = _whole_rows(batch)
    readable = batch if len(whole) == batch.num_rows else batch.take(arrow.array(whole, arrow.int32()))
    rows = dict(zip(whole, readable.select([name for name in names if name in needed]).to_pylist(), strict=True))
    for index in range(batch.num_rows):
        if index not in rows:
            bad.append(BadRow(window.source.name, window.first_row + index, _NOT_WHOLE))
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
    first = sorted(names, key=lambda name: name != columns.row_id)
    carried = batch.select(first).rename_columns([output_name(name) for name in first])
    if len(good) < batch.num_rows:
        carried = carried.take(arrow.array(good, arrow.int32()))
    return Decoded(texts, [window.first_row + index for index in good], carried, tuple(bad))


def _whole_rows(batch: Any) -> list[int]:  # noqa: ANN401
    """The rows of which Arrow finds nothing wrong, text that is not UTF-8 above all."""
    arrow, _ = import_parquet()

    def sound(part: Any) -> bool:  # noqa: ANN401
        try:
            part.validate(full=True)
        except arrow.ArrowInvalid:
            return False
        return True

    every = list(range(batch.num_rows))
    return every if sound(batch) else [i for i in every if sound(batch.take(arrow.array([i], arrow.int32())))]


def dictionaries(carried: Any) -> Iterator[Fields]:  # noqa: ANN401
    """The columns of each row as dictionaries; what JSON has no word for becomes text."""
    if isinstance(carried, list):
        yield from carried
        return
    columns = []
    for column in carried.columns:
        kind = _in_words(column.type)
        columns.append((column if kind == column.type else column.cast(kind)).to_pylist())
    for values in zip(*columns, strict=True):
        yield dict(zip(carried.schema.names, values, strict=True))


def _in_words(kind: Any) -> Any:  # noqa: ANN401
    """An Arrow type with text in the place of dates, times and decimals, at any depth: Python's own lose nanoseconds."""
    arrow, _ = import_parquet()
    types = arrow.types
    if types.is_temporal(kind) or types.is_decimal(kind):
        return arrow.string()
    if types.is_map(kind):
        return arrow.map_(_in_words(kind.key_type), _in_words(kind.item_type))
    if types.is_struct(kind):
        return arrow.struct([field.with_type(_in_words(field.type)) for field in kind])
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return arrow.large_list(_in_words(kind.value_type))
    return kind
