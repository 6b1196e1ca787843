"""From answers to the bytes of the output, a window at a time."""

from __future__ import annotations

import base64
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
from crosstune_export.bulk.decode import ANSWER_COLUMNS, Decoded, Fields, dictionaries
from crosstune_export.bulk.windows import import_parquet
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction

#: What is said of the texts of a window.
Answers = Sequence[Prediction | Explanation]
OUTPUT_FORMATS = ("jsonl", "csv", "tsv", "parquet")
ROW_GROUP_ROWS = 1 << 16
#: The columns of an input that make room for the words of an explanation.
_WORDS = re.compile("(input_)*words")
#: The start of a cell, or of a line in one, that a spreadsheet takes for a formula (OWASP, CSV injection).
_FORMULA = re.compile(r"(?:^|(?<=[\r\n]))(?=[ \u00a0]*[=+\-@\t\r])")


@dataclass(frozen=True)
class Encoder:
    """Turns the rows of a window into bytes; what it does depends on nothing but the window.

    Attributes:
        file_format: Out of ``OUTPUT_FORMATS``.
        labels: L names, in the order of the probabilities.
        columns: The carried columns of a table, in order; JSON Lines carry whatever a row has.
        top_k: How many labels ``probs`` names, the most probable first; None for all, in the order of the labels.
        spreadsheet_safe: Put an apostrophe before what a spreadsheet would take for a formula.
        schema: The Arrow schema of the carried columns, serialized; Parquet alone has it.
    """

    file_format: str
    labels: tuple[str, ...]
    columns: tuple[str, ...] = ()
    top_k: int | None = None
    spreadsheet_safe: bool = False
    schema: bytes = field(default=b"", repr=False)

    def header(self) -> bytes:
        """What stands before the first row."""
        if self.file_format == "parquet":
            return bytes(self.arrow_schema().serialize().to_pybytes())
        if self.file_format == "jsonl":
            return b""
        return self._lines([[self._cell(name) for name in (*self.columns, *ANSWER_COLUMNS)]])

    def encode(self, decoded: Decoded, answers: Answers) -> bytes:
        """The good rows of a window with their answers; in JSON Lines also with the words that speak for them.

        Raises:
            DataError: A value is of another type than its column in a Parquet output.
        """
        if not answers:
            return b""
        if self.file_format == "parquet":
            return self._record_batch(decoded, answers)
        rows = (
            _with_answer(fields, answer.to_json(self.labels, self.top_k))
            for fields, answer in zip(dictionaries(decoded.carried), answers, strict=True)
        )
        if self.file_format == "jsonl":
            return b"".join(_json(row).encode("utf-8", "backslashreplace") + b"\n" for row in rows)
        names = (*self.columns, *ANSWER_COLUMNS)
        return self._lines([[self._cell(row.get(name)) for name in names] for row in rows])

    def arrow_schema(self) -> Any:  # noqa: ANN401
        """The schema of a Parquet output, answers included."""
        arrow, _ = import_parquet()
        carried = arrow.ipc.read_schema(arrow.py_buffer(self.schema))
        answers = [
            ("label", arrow.string()),
            ("prob", arrow.float32()),
            ("probs", arrow.map_(arrow.string(), arrow.float32())),
            ("truncated", arrow.bool_()),
        ]
        return arrow.schema([*carried, *(arrow.field(name, kind) for name, kind in answers)])

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

    def _record_batch(self, decoded: Decoded, answers: Answers) -> bytes:
        arrow, _ = import_parquet()
        schema = self.arrow_schema()
        names = schema.names[: -len(ANSWER_COLUMNS)]
        kinds = schema.types[: len(names)]
        if isinstance(decoded.carried, list):
            carried = [
                _arrow_column(name, kind, [row.get(name) for row in decoded.carried], decoded.rows)
                for name, kind in zip(names, kinds, strict=True)
            ]
        else:
            found = {name: decoded.carried.column(name) for name in decoded.carried.schema.names}
            nothing = [None] * len(answers)
            try:
                carried = [
                    found[name].cast(kind) if name in found else arrow.array(nothing, kind)
                    for name, kind in zip(names, kinds, strict=True)
                ]
            except arrow.ArrowException as error:
                raise DataError(f"row {decoded.rows[0]}: {_not_the_type(error)}") from error
        rows = [answer.to_json(self.labels, self.top_k) for answer in answers]
        values: list[list[Any]] = [[row[name] for row in rows] for name in ANSWER_COLUMNS]
        values[2] = [list(probs.items()) for probs in values[2]]
        answered = [arrow.array(column, kind) for column, kind in zip(values, schema.types[len(names) :], strict=True)]
        return bytes(arrow.record_batch([*carried, *answered], schema=schema).serialize().to_pybytes())


class _Lines:
    """What a CSV writer writes, with plain line ends: told of them, the writer would leave a carriage return unquoted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        """One row."""
        self.lines.append(line.removesuffix("\r\n") + "\n")


def write_parquet(batches: BinaryIO, sink: BinaryIO, row_group_rows: int) -> None:
    """Turn an Arrow IPC stream into Parquet, some windows to a row group."""
    arrow, parquet = import_parquet()
    with arrow.ipc.open_stream(batches) as reader, parquet.ParquetWriter(sink, reader.schema) as writer:
        kept, rows = [], 0
        for batch in reader:
            kept.append(batch)
            rows += batch.num_rows
            if rows >= row_group_rows:
                writer.write_table(arrow.Table.from_batches(kept), row_group_size=rows)
                kept, rows = [], 0
        if kept:
            writer.write_table(arrow.Table.from_batches(kept), row_group_size=rows)


def make_encoder(
    file_format: str,
    labels: tuple[str, ...],
    carried: Any,  # noqa: ANN401
    names: Sequence[str],
    *,
    top_k: int | None,
    spreadsheet_safe: bool,
) -> Encoder:
    """The encoder of an output whose columns, where they are fixed, are those of the first window.

    Args:
        file_format: Out of ``OUTPUT_FORMATS``.
        labels: L names.
        carried: The good rows of the first window, as ``decode.Decoded`` has them.
        names: The columns where there is none.
        top_k: See ``Encoder``.
        spreadsheet_safe: See ``Encoder``.

    Raises:
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    found = (name for row in carried for name in row) if isinstance(carried, list) else carried.schema.names
    columns = tuple(dict.fromkeys(found)) or tuple(names)
    schema = _carried_schema(carried, columns) if file_format == "parquet" else b""
    return Encoder(file_format, labels, columns, top_k, spreadsheet_safe, schema)


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
    """Values as one column; those of a column of text that are no text stand there as JSON."""
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
                raise DataError(f"row {row}: column {name!r}: {_not_the_type(error)}") from error
        raise


def _not_the_type(error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return f"not of the type that the first rows have ({reason}). Write JSON Lines, or give every row the same type."


def _with_answer(fields: Fields, answer: Mapping[str, Json]) -> Fields:
    """A row and its answer; the row's own columns of that name make room."""
    if "words" in answer:
        fields = {f"input_{name}" if _WORDS.fullmatch(name) else name: value for name, value in fields.items()}
    return {**fields, **answer}


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:  # a NaN of a Parquet file, which JSON has no word for
        return json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)


def _plain(value: object) -> str:
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
