"""Decode a window of raw rows into texts, the other columns, and the bad rows with a reason for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crosstune.core.errors import DataError
from crosstune.core.token_layout import Text
from crosstune.rows.decode import Fields, RowError, fields_of, text_value
from crosstune.rows.parquet import import_parquet, plain_type
from crosstune.rows.window import Window

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
        text: Column of the text, or of the first text of a pair.
        pair: Column of the second text of a pair; None if the bundle classifies single texts.
        row_id: Column that every row must fill and that is written first; None if rows have no ids.
        known: Output names of the columns that the output has room for; None if it takes any column.
    """

    text: str = "text"
    pair: str | None = None
    row_id: str | None = None
    known: frozenset[str] | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that hold texts."""
        return (self.text,) if self.pair is None else (self.text, self.pair)


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

    Examples:
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
            fields = fields_of(window, raw)
            if fields is None:
                continue
            if columns.pair is not None and window.source.file_format == "text":
                raise RowError("a line of text, expected a pair. Give JSON Lines with text and text_pair.")
            text = _text(fields, columns)
            other_columns = _carried(fields, columns)
        except RowError as error:
            row_id = None if fields is None or columns.row_id is None else fields.get(columns.row_id)
            bad.append(BadRow(window.source.name, raw.line, str(error), row_id))
            continue
        texts.append(text)
        rows.append(raw.line)
        carried.append(other_columns)
    return Decoded(texts, rows, carried, tuple(bad))


_INVALID_VALUE = "a value that is invalid for its column type, such as text that is not UTF-8. Write the file again."


def _text(fields: Mapping[str, object], columns: Columns) -> Text:
    values = [text_value(fields, name, columns.needed) for name in columns.needed]
    return values[0] if columns.pair is None else (values[0], values[1])


def _carried(fields: Fields, columns: Columns) -> Fields:
    if columns.row_id is not None and fields.get(columns.row_id) in (None, ""):
        raise RowError(f"no {columns.row_id!r}, expected one in every row. Fill it in, or omit --id-column.")
    carried = {output_name(name): value for name, value in fields.items()}
    if columns.known is not None and not carried.keys() <= columns.known:
        extra = next(name for name in carried if name not in columns.known)
        raise RowError(
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
    needed = {name for name in (*columns.needed, columns.row_id) if name in names}
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
            row: Fields = {name: fields.get(name, "") for name in names}
            text = _text(row, columns)
            _carried(row, columns)
        except RowError as error:
            row_id = fields.get(columns.row_id) if columns.row_id else None
            bad.append(BadRow(window.source.name, window.first_row + index, str(error), row_id))
            continue
        texts.append(text)
        good.append(index)
    ordered = sorted(names, key=lambda name: name != columns.row_id)  # the id column first
    carried = batch.select(ordered).rename_columns([output_name(name) for name in ordered])
    if len(good) < batch.num_rows:
        carried = carried.take(arrow.array(good, arrow.int32()))
    for position, name in enumerate(ordered):  # bytes that were read as text are written as text
        if name in columns.needed and not arrow.types.is_string(batch.schema.field(name).type):
            carried = carried.set_column(position, output_name(name), carried.column(position).cast(arrow.string()))
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
    """Yield the columns of each row as a dictionary; dates, times, durations and decimals become text.

    Raises:
        DataError: A column has a type that cannot be written as text.
    """
    if isinstance(carried, list):
        yield from carried
        return
    columns = [_plain_values(name, carried.column(name)) for name in carried.schema.names]
    for values in zip(*columns, strict=True):
        yield dict(zip(carried.schema.names, values, strict=True))


def _plain_values(name: str, column: Any) -> list[Any]:  # noqa: ANN401
    arrow, _ = import_parquet()
    kind = plain_type(column.type, _plain_leaf)
    try:
        values: list[Any] = (column if kind == column.type else column.cast(kind)).to_pylist()
    except arrow.ArrowException as error:
        raise DataError(
            f"column {name!r}: {column.type} cannot be written as text. Remove the column, or write Parquet."
        ) from error
    if "duration" not in str(column.type):
        return values
    return [_with_durations(value, column.type) for value in values]


def _plain_leaf(kind: Any) -> Any:  # noqa: ANN401
    """Return the type that holds dates, times and decimals as text, and durations as counts (Python's lose nanoseconds)."""
    arrow, _ = import_parquet()
    if arrow.types.is_duration(kind):
        return arrow.int64()
    return arrow.string() if arrow.types.is_temporal(kind) or arrow.types.is_decimal(kind) else kind


def _with_durations(value: Any, kind: Any) -> Any:  # noqa: ANN401
    """Write the counts of durations at any depth as ISO 8601 has them, such as PT1.5S."""
    arrow, _ = import_parquet()
    if value is None:
        return None
    if arrow.types.is_duration(kind):
        digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
        seconds, rest = divmod(abs(value), 10**digits)
        fraction = f".{rest:0{digits}d}".rstrip("0") if rest else ""
        return f"{'-' if value < 0 else ''}PT{seconds}{fraction}S"
    if arrow.types.is_struct(kind):
        return {field.name: _with_durations(value[field.name], field.type) for field in kind}
    if arrow.types.is_map(kind):
        return [(_with_durations(key, kind.key_type), _with_durations(item, kind.item_type)) for key, item in value]
    if isinstance(value, list):
        return [_with_durations(item, kind.value_type) for item in value]
    return value
