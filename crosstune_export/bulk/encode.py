"""Encode predictions as bytes of the output, one window at a time."""

from __future__ import annotations

import base64
import codecs
import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from crosstune.core.errors import DataError
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import replace_surrogates
from crosstune.rows.decode import Fields
from crosstune.rows.parquet import import_parquet
from crosstune_export.bulk.decode import Decoded, dictionaries
from crosstune_export.bulk.result_columns import ResultColumns
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction

#: Results for the texts of a window.
Predictions = Sequence[Prediction | Explanation]
OUTPUT_FORMATS = ("jsonl", "csv", "tsv", "parquet")
OUTPUT_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
}
TABLES = ("csv", "tsv")
#: Encodings of tables; the second begins with the byte order mark by which Excel recognises UTF-8.
OUTPUT_ENCODINGS = ("utf-8", "utf-8-sig")
#: Decimal places of the numbers in tables.
TABLE_DIGITS = 6
#: Rows in a row group of a Parquet output; chosen by hand: large groups compress and scan better, and one is held in memory.
ROW_GROUP_ROWS = 1 << 16
#: Input columns that get the prefix ``input_`` when an explanation adds the column ``words``.
_WORDS = re.compile("(input_)*words")
#: Start of a cell, or of a line within it, that a spreadsheet would run as a formula (OWASP, "CSV Injection").
_FORMULA = re.compile(r"(?:^|(?<=[\r\n]))(?=[ \u00a0]*[=+\-@\t\r])")


@dataclass(frozen=True)
class Encoder:
    """Turns the rows of a window into bytes; the result depends only on the window.

    Attributes:
        file_format: One of ``OUTPUT_FORMATS``.
        results: The columns that are added.
        columns: Carried columns of a table, in order. Unused for JSON Lines, which keep the columns of each row.
        spreadsheet_safe: Put an apostrophe before text that a spreadsheet would run as a formula.
        encoding: One of ``OUTPUT_ENCODINGS``.
        schema: Serialized Arrow schema of the carried columns; empty unless the format is Parquet.
    """

    file_format: str
    results: ResultColumns
    columns: tuple[str, ...] = ()
    spreadsheet_safe: bool = False
    encoding: str = "utf-8"
    schema: bytes = field(default=b"", repr=False)

    def header(self) -> bytes:
        """Return the bytes before the first row: a header line, an Arrow schema, or nothing."""
        if self.file_format == "parquet":
            return bytes(self.arrow_schema().serialize().to_pybytes())
        if self.file_format == "jsonl":
            return b""
        carried = map(self.results.carried_name, self.columns)
        mark = codecs.BOM_UTF8 if self.encoding == "utf-8-sig" else b""
        return mark + self._lines([[self._cell(name) for name in (*carried, *self.results.names)]])

    def encode(self, decoded: Decoded, predictions: Predictions) -> bytes:
        """Return the good rows of a window with their predictions; JSON Lines also hold the words of explanations.

        Args:
            decoded: N rows.
            predictions: N predictions or explanations.

        Raises:
            DataError: A value does not have the type of its column in a Parquet output.
        """
        if not predictions:
            return b""
        if self.file_format == "parquet":
            return self._record_batch(decoded, predictions)
        rows = (
            self._merge(fields, self.results.values(prediction))
            for fields, prediction in zip(dictionaries(decoded.carried), predictions, strict=True)
        )
        if self.file_format == "jsonl":
            return b"".join(_json(row).encode("utf-8", "backslashreplace") + b"\n" for row in rows)
        names = (*map(self.results.carried_name, self.columns), *self.results.names)
        return self._lines([[self._cell(row.get(name)) for name in names] for row in rows])

    def arrow_schema(self) -> Any:  # noqa: ANN401
        """Return the schema of a Parquet output: the carried columns and those of the results."""
        arrow, _ = import_parquet()
        carried = arrow.ipc.read_schema(arrow.py_buffer(self.schema))
        renamed = [field.with_name(self.results.carried_name(field.name)) for field in carried]
        return arrow.schema([*renamed, *self.results.arrow_fields()])

    def check_schema(self) -> None:
        """Refuse a Parquet output that could not be written, before any text is classified.

        Raises:
            DataError: A column has a type that Parquet does not have.
        """
        arrow, parquet = import_parquet()
        for column in self.arrow_schema():
            try:
                parquet.ParquetWriter(arrow.BufferOutputStream(), arrow.schema([column])).close()
            except arrow.ArrowException as error:
                raise DataError(
                    f"column {column.name!r}: {column.type} cannot be written as Parquet. Remove the column, or write JSON Lines."
                ) from error

    def _merge(self, fields: Fields, added: Mapping[str, Json]) -> Fields:
        """Return a row with its result; input columns with a name that the result has are renamed."""
        words = "words" in added
        kept = {
            f"input_{name}" if words and _WORDS.fullmatch(name) else self.results.carried_name(name): value
            for name, value in fields.items()
        }
        return {**kept, **added}

    def _lines(self, rows: list[list[str]]) -> bytes:
        sink = _Lines()
        csv.writer(sink, delimiter="\t" if self.file_format == "tsv" else ",", lineterminator="\r\n").writerows(rows)
        return replace_surrogates("".join(sink.lines)).encode("utf-8")

    def _cell(self, value: object) -> str:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return ""
        if isinstance(value, bytes):
            return _plain(value)
        if not isinstance(value, str):
            return _json(value)
        return _FORMULA.sub("'", value) if self.spreadsheet_safe else value

    def _record_batch(self, decoded: Decoded, predictions: Predictions) -> bytes:
        arrow, _ = import_parquet()
        schema = self.arrow_schema()
        names = arrow.ipc.read_schema(arrow.py_buffer(self.schema)).names
        kinds = schema.types[: len(names)]
        if isinstance(decoded.carried, list):
            carried = [
                _arrow_column(name, kind, [row.get(name) for row in decoded.carried], decoded.rows)
                for name, kind in zip(names, kinds, strict=True)
            ]
        else:
            present = {name: decoded.carried.column(name) for name in decoded.carried.schema.names}
            missing = [None] * len(predictions)
            try:
                carried = [
                    present[name].cast(kind) if name in present else arrow.array(missing, kind)
                    for name, kind in zip(names, kinds, strict=True)
                ]
            except arrow.ArrowException as error:
                raise DataError(f"row {decoded.rows[0]}: {_type_error(error)}") from error
        rows = [self.results.values(prediction) for prediction in predictions]
        added = [
            arrow.array([_map_items(row[field.name]) for row in rows], field.type)
            for field in self.results.arrow_fields()
        ]
        return bytes(arrow.record_batch([*carried, *added], schema=schema).serialize().to_pybytes())


class _Lines:
    """Collects the lines of a CSV writer and ends them with a line feed.

    The writer itself ends lines with CR LF, because only then it quotes fields that contain a carriage return.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """Add one row."""
        self.lines.append(line.removesuffix("\r\n") + "\n")


def write_parquet(batches: BinaryIO, sink: BinaryIO, row_group_rows: int) -> None:
    """Convert an Arrow IPC stream to Parquet with row groups of at least ``row_group_rows`` rows (the last may be smaller)."""
    arrow, parquet = import_parquet()
    with arrow.ipc.open_stream(batches) as reader, parquet.ParquetWriter(sink, reader.schema) as writer:
        group, rows = [], 0
        for batch in reader:
            group.append(batch)
            rows += batch.num_rows
            if rows >= row_group_rows:
                writer.write_table(arrow.Table.from_batches(group), row_group_size=rows)
                group, rows = [], 0
        if group:
            writer.write_table(arrow.Table.from_batches(group), row_group_size=rows)


def make_encoder(
    file_format: str,
    results: ResultColumns,
    carried: Any,  # noqa: ANN401
    names: Sequence[str],
    *,
    spreadsheet_safe: bool,
    encoding: str,
) -> Encoder:
    """Return an encoder whose columns, for formats with fixed columns, are those of the first window.

    Args:
        file_format: One of ``OUTPUT_FORMATS``.
        results: The columns that are added.
        carried: ``Decoded.carried`` of the first window.
        names: Columns to use if that window has no good row.
        spreadsheet_safe: See ``Encoder``.
        encoding: See ``Encoder``.

    Raises:
        MissingExtraError: The format is Parquet and pyarrow is not installed.
        DataError: A column has a type that the format does not have.
    """
    carried_names = (name for row in carried for name in row) if isinstance(carried, list) else carried.schema.names
    columns = tuple(dict.fromkeys(carried_names)) or tuple(names)
    schema = _carried_schema(carried, columns) if file_format == "parquet" else b""
    encoder = Encoder(file_format, results, columns, spreadsheet_safe, encoding, schema)
    if file_format == "parquet":
        encoder.check_schema()
    else:
        next(dictionaries(carried), None)
    return encoder


def _carried_schema(rows: Any, columns: Sequence[str]) -> bytes:  # noqa: ANN401
    arrow, _ = import_parquet()
    if not isinstance(rows, list):
        return bytes(rows.schema.remove_metadata().serialize().to_pybytes())
    kinds = []
    for name in columns:
        values = [row.get(name) for row in rows]
        try:
            kind = arrow.infer_type([None if isinstance(value, (dict, list)) else value for value in values])
        except arrow.ArrowException:  # numbers and strings in one column
            kind = arrow.string()
        nested = any(isinstance(value, (dict, list)) for value in values)
        kinds.append(arrow.field(name, arrow.string() if nested or arrow.types.is_null(kind) else kind))
    return bytes(arrow.schema(kinds).serialize().to_pybytes())


def _arrow_column(name: str, kind: Any, values: list[object], rows: Sequence[int]) -> Any:  # noqa: ANN401
    """Return values as one Arrow column; in a string column, values of other types are written as JSON."""
    arrow, _ = import_parquet()
    if arrow.types.is_string(kind):
        values = [
            value if value is None else replace_surrogates(value) if isinstance(value, str) else _json(value)
            for value in values
        ]
    try:
        return arrow.array(values, kind)
    except (arrow.ArrowException, TypeError, OverflowError):
        for value, row in zip(values, rows, strict=True):
            try:
                arrow.array([value], kind)
            except (arrow.ArrowException, TypeError, OverflowError) as error:
                raise DataError(f"row {row}: column {name!r}: {_type_error(error)}") from error
        raise


def _type_error(error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return f"type differs from that of the first rows ({reason}). Write JSON Lines, or give every row the same type."


def _map_items(value: Json) -> object:
    return list(value.items()) if isinstance(value, dict) else value


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:  # NaN from a Parquet file, which JSON cannot express
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
