"""Split files into windows, always at the same places.

Each window is decoded, classified and encoded independently of the others. The output is therefore the same for any number
of processes, for either engine, and after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

from crosstune.core.errors import DataError
from crosstune.rows.excel import excel_rows
from crosstune.rows.first_bytes import encoding_advice
from crosstune.rows.header import delimiter_line, parse_header
from crosstune.rows.json_array import array_rows, is_array
from crosstune.rows.lines import MAX_ROW_BYTES, NumberedLines, RawRow, csv_records
from crosstune.rows.opening import opened
from crosstune.rows.parquet import parquet_windows
from crosstune.rows.sources import Source
from crosstune.rows.window import WINDOW_BYTES, WINDOW_ROWS, Window


def read_windows(source: Source, needed: Sequence[str], before_bytes: int = 0) -> Iterator[Window]:
    """Split a source into windows.

    Args:
        source: File to read.
        needed: Columns that a table must have.
        before_bytes: Total size of the sources before this one, added to ``read_bytes``.

    Raises:
        DataError: The file cannot be read, changes while it is read, is damaged, or is a table without these columns.
        MissingExtraError: The file is Parquet or Excel, and pyarrow or openpyxl is not installed.
    """
    if source.file_format == "parquet":
        yield from parquet_windows(source, needed, before_bytes)
    elif source.file_format == "xlsx":
        yield from _table_windows(source, excel_rows(source), needed, before_bytes)
    else:
        with opened(source) as (stream, file, head, encoding, offset):
            position = _position_of(file, before_bytes)
            if source.file_format == "json" and is_array(head, encoding):
                yield from _windows(Window(source), array_rows(stream.read(), source.name), position)
                return
            lines = NumberedLines(stream, offset)
            idle = lines.idle if source.live else _never
            if source.file_format in ("csv", "tsv"):
                yield from _table_windows(source, lines, needed, before_bytes, encoding, position, idle)
            else:
                yield from _windows(Window(source, encoding=encoding), lines, position, idle)


def _never() -> bool:
    return False


def _position_of(file: BinaryIO, before_bytes: int) -> Callable[[], int]:
    def position() -> int:
        try:
            return before_bytes + file.tell()
        except OSError:
            return before_bytes

    return position


def _table_windows(
    source: Source,
    lines: Iterable[RawRow],
    needed: Sequence[str],
    before_bytes: int,
    encoding: str = "utf-8",
    position: Callable[[], int] | None = None,
    idle: Callable[[], bool] = _never,
) -> Iterator[Window]:
    remaining = iter(lines)
    usual = "\t" if source.file_format == "tsv" else ","
    given = source.options.delimiter
    header = _header_record(remaining)
    if header is not None and (named := delimiter_line(header.data.decode("utf-8", "replace"))) is not None:
        given, header = named, _header_record(remaining)
    if header is None:
        return
    where = f"{source.name}:{header.line}"
    try:
        text = header.data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte 0x{header.data[error.start]:02x} in the header is not {encoding}. "
            + encoding_advice(header.data)
        ) from error
    delimiter, names = parse_header(text, needed, source.options, usual, given, where)
    frame = Window(source, names, delimiter=delimiter, encoding=encoding)
    rows = csv_records(remaining, delimiter)
    yield from _windows(frame, rows, position or (lambda: before_bytes + source.size_bytes), idle)


def _header_record(lines: Iterator[RawRow]) -> RawRow | None:
    """Return the first line that is not blank, with those that a quoted column name continues in."""
    for first in lines:
        if not first.data.strip():
            continue
        data = first.data
        while data.count(b'"') % 2 and len(data) < MAX_ROW_BYTES and (line := next(lines, None)) is not None:
            data += line.data
        return RawRow(first.line, first.offset, data)
    return None


def _windows(
    frame: Window, rows: Iterable[RawRow], position: Callable[[], int], idle: Callable[[], bool] = _never
) -> Iterator[Window]:
    """Yield windows like ``frame`` with these rows; one without rows if a table has none."""
    pending: list[RawRow] = []
    size, only_header = 0, bool(frame.header)

    def window(early: bool = False) -> Window:
        return Window(
            frame.source,
            frame.header,
            tuple(pending),
            read_bytes=position(),
            delimiter=frame.delimiter,
            encoding=frame.encoding,
            early=early,
        )

    for row in rows:
        pending.append(row)
        size += len(row.data)
        if (waits := idle()) or len(pending) == WINDOW_ROWS or size >= WINDOW_BYTES:
            yield window(early=waits)
            pending, size, only_header = [], 0, False
    if pending or only_header:
        yield window()
