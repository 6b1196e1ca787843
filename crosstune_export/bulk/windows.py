"""Windows: up to about a thousand rows of one file, as raw bytes, always split at the same places.

Each window is decoded, classified and encoded independently of the others. The output is therefore the same for any number
of processes, for either engine, and after an interruption.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from crosstune.core.errors import DataError, MissingExtraError
from crosstune_export.bulk.lines import RawRow, csv_records, numbered_lines, parse_csv
from crosstune_export.bulk.sources import STANDARD_INPUT, Source

#: Limits of a window; chosen by hand: large enough for full batches, small enough to keep several in memory. Changing them
#: makes interrupted runs of earlier versions impossible to resume.
WINDOW_ROWS = 1024
WINDOW_BYTES = 4 << 20


@dataclass(frozen=True)
class Window:
    """Consecutive rows of one source.

    Attributes:
        source: The file.
        header: Column names of a CSV or TSV file, or of a Parquet file without rows; empty otherwise.
        rows: Raw rows; empty for Parquet and for a table without rows, whose only window holds the header.
        batch: Arrow IPC stream with one record batch, for Parquet; empty otherwise.
        first_row: Number of the first row of ``batch``, from 1.
        read_bytes: Bytes read from all sources so far (compressed bytes for compressed files); for progress only.
    """

    source: Source
    header: tuple[str, ...] = ()
    rows: tuple[RawRow, ...] = ()
    batch: bytes = b""
    first_row: int = 1
    read_bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether the window has no rows."""
        return not (self.rows or self.batch)

    def digest(self) -> bytes:
        """Return the SHA-256 of the window without ``read_bytes``."""
        digest = hashlib.sha256(repr((self.source.path, self.header, self.first_row)).encode())
        digest.update(self.batch)
        for row in self.rows:
            digest.update(b"%d %d " % (row.line, len(row.data)))
            digest.update(row.data)
        return digest.digest()


def read_windows(source: Source, text_column: str, before_bytes: int = 0) -> Iterator[Window]:
    """Split a source into windows.

    Args:
        source: File to read.
        text_column: Column that a table must have.
        before_bytes: Total size of the sources before this one, added to ``read_bytes``.

    Raises:
        DataError: The file cannot be read, changes while it is read, is damaged, or is a table without that column.
        MissingExtraError: The file is Parquet and pyarrow is not installed.
    """
    if source.file_format == "parquet":
        yield from _parquet_windows(source, text_column, before_bytes)
        return
    with _opened(source) as (stream, file):
        rows = numbered_lines(stream)
        header: tuple[str, ...] = ()
        if source.file_format in ("csv", "tsv"):
            rows = csv_records(rows, delimiter_of(source))
            header = _header(source, next(rows, None), text_column)
        pending: list[RawRow] = []
        size, only_header = 0, bool(header)
        for row in rows:
            pending.append(row)
            size += len(row.data)
            if len(pending) == WINDOW_ROWS or size >= WINDOW_BYTES:
                yield Window(source, header, tuple(pending), read_bytes=before_bytes + _position(file))
                pending, size, only_header = [], 0, False
        if pending or only_header:
            yield Window(source, header, tuple(pending), read_bytes=before_bytes + _position(file))


def delimiter_of(source: Source) -> str:
    """Return the separator of the fields of a table."""
    return "\t" if source.file_format == "tsv" else ","


@contextmanager
def _opened(source: Source) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a source: its decompressed contents and the underlying file, which must not change while it is read."""
    if source.path == STANDARD_INPUT:
        if sys.stdin is None:
            raise DataError("standard input: is closed, expected texts. Give a file.")
        yield sys.stdin.buffer, sys.stdin.buffer
        return
    try:
        with Path(source.path).open("rb") as file:
            before = os.fstat(file.fileno())
            if source.compressed:
                with gzip.open(file) as stream:
                    yield stream, file  # type: ignore[misc]
            else:
                yield file, file
            after = os.fstat(file.fileno())
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{source.name}: not a complete gzip file ({error}). Copy or compress it again.") from error
    except OSError as error:
        raise DataError(
            f"{source.name}: cannot be read ({error.strerror or error}), expected a file. Check the path."
        ) from error
    if stat.S_ISREG(before.st_mode) and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError(f"{source.name}: changed while it was read. Run again when nothing writes to it.")


def _position(file: BinaryIO) -> int:
    try:
        return file.tell()
    except OSError:
        return 0


def _header(source: Source, row: RawRow | None, text_column: str) -> tuple[str, ...]:
    if row is None:
        return ()
    try:
        names = parse_csv([row.data.decode("utf-8").rstrip("\r\n")], delimiter_of(source))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{source.name}:{row.line}: not a valid header ({error}). Name the columns in the first line."
        ) from error
    _check_columns(f"{source.name}:{row.line}", names)
    _check_column(source, names, text_column)
    return tuple(names)


def _check_columns(where: str, names: list[str]) -> None:
    duplicate = next((name for name, times in Counter(names).items() if times > 1), None)
    if duplicate is not None:
        raise DataError(f"{where}: column {duplicate!r} appears more than once. Name each column differently.")


def _check_column(source: Source, names: list[str], text_column: str) -> None:
    if text_column not in names:
        raise DataError(
            f"{source.name}: columns {', '.join(names) or 'none'}, expected {text_column}. "
            "Give the name of the column with --text-column."
        )


def _parquet_windows(source: Source, text_column: str, before_bytes: int) -> Iterator[Window]:
    arrow, parquet = import_parquet()
    if source.path == STANDARD_INPUT:
        raise DataError(
            "standard input: Parquet, expected lines. Give the path of the file: Parquet files are read from their end."
        )
    try:
        with parquet.ParquetFile(source.path) as file:
            names = list(file.schema_arrow.names)
            _check_columns(source.name, names)
            _check_column(source, names, text_column)
            first_row, total = 1, max(1, file.metadata.num_rows)
            for stored in file.iter_batches(batch_size=WINDOW_ROWS):
                batch = _without_dictionaries(stored)
                sink = arrow.BufferOutputStream()
                with arrow.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                done = before_bytes + source.size_bytes * (first_row + batch.num_rows) // total
                yield Window(source, batch=sink.getvalue().to_pybytes(), first_row=first_row, read_bytes=done)
                first_row += batch.num_rows
            if first_row == 1:
                yield Window(source, tuple(names), read_bytes=before_bytes + source.size_bytes)
    except (arrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{source.name}: not a Parquet file ({reason}). Check the format.") from error


def _without_dictionaries(batch: Any) -> Any:  # noqa: ANN401
    """Replace dictionary-encoded columns by plain ones, because a single record batch cannot hold a dictionary."""
    arrow, _ = import_parquet()
    for index, field in enumerate(batch.schema):
        if arrow.types.is_dictionary(field.type):
            kind = field.type.value_type
            batch = batch.set_column(index, field.with_type(kind), batch.column(index).cast(kind))
    return batch


def import_parquet() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow: not installed, expected for Parquet. Run: pip install 'crosstune-export[parquet]'"
        ) from error
    return pyarrow, parquet
