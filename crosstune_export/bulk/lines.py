"""Numbered lines and CSV records of a byte stream, with at most one row in memory."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

#: Maximum size of a row; longer ones are bad rows and are not read into memory. Chosen by hand, far above any real text.
MAX_ROW_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 20


class RawRow(NamedTuple):
    """One undecoded row of a file.

    Attributes:
        line: Number of its first line, from 1.
        offset: Bytes before it, after decompression.
        data: Its bytes with the line end; a longer row is truncated one byte after ``MAX_ROW_BYTES``.
    """

    line: int
    offset: int
    data: bytes


def numbered_lines(stream: BinaryIO) -> Iterator[RawRow]:
    r"""Yield lines that end in ``\n``, ``\r\n`` or ``\r``, without a byte order mark at the start of the stream.

    Example:
        >>> import io
        >>> [(row.line, row.offset, row.data) for row in numbered_lines(io.BytesIO(b"a\r\nb\rc"))]
        [(1, 0, b'a\r\n'), (2, 3, b'b\r'), (3, 5, b'c')]
    """
    number, offset, start, skipped_bytes = 1, 0, b"", 0
    read = getattr(stream, "read1", stream.read)
    first = True
    while block := read(_BLOCK_BYTES):
        pieces = (start + block).splitlines(keepends=True)
        start = b"" if pieces[-1].endswith(b"\n") else pieces.pop()  # the line may continue in the next block
        for piece in pieces:
            yield _row(number, offset, piece, first)
            number, offset, skipped_bytes, first = number + 1, offset + len(piece) + skipped_bytes, 0, False
        if len(start) > MAX_ROW_BYTES + 1:
            skipped_bytes += len(start) - (MAX_ROW_BYTES + 1)
            start = start[: MAX_ROW_BYTES + 1]
    if start:
        yield _row(number, offset, start, first)


def _row(number: int, offset: int, data: bytes, first: bool) -> RawRow:
    if first and data.startswith(b"\xef\xbb\xbf"):
        return RawRow(number, offset + 3, data[3:])
    return RawRow(number, offset, data[: MAX_ROW_BYTES + 1])


def csv_records(lines: Iterable[RawRow], delimiter: str) -> Iterator[RawRow]:
    """Join lines into records, since a quoted field may span several lines.

    If a quote is never closed, or closed wrongly, the first line becomes a record by itself and reading continues with the
    next line, so a stray quote costs one row and not the rest of the file.
    """
    source = iter(lines)
    waiting: deque[RawRow] = deque()

    def following() -> RawRow | None:
        return waiting.popleft() if waiting else next(source, None)

    while (first := following()) is not None:
        if b'"' not in first.data:
            yield first
            continue
        record = [first]

        def decoded_lines(record: list[RawRow] = record) -> Iterator[str]:
            size = len(record[0].data)
            yield record[0].data.decode(
                "latin-1"
            )  # quotes and separators are ASCII, so invalid UTF-8 does not matter here
            while size <= MAX_ROW_BYTES and (line := following()) is not None:
                record.append(line)
                size += len(line.data)
                yield line.data.decode("latin-1")

        try:
            parse_csv(decoded_lines(), delimiter)
            yield RawRow(first.line, first.offset, b"".join(line.data for line in record))
        except csv.Error:
            yield first
            waiting.extendleft(reversed(record[1:]))


def parse_csv(lines: Iterable[str], delimiter: str) -> list[str]:
    """Return the first record of some lines, with fields of up to ``MAX_ROW_BYTES`` instead of Python's default limit.

    Example:
        >>> parse_csv(['a,"b, c"'], ",")
        ['a', 'b, c']

    Raises:
        csv.Error: The lines are not a valid record.
    """
    limit = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        return next(csv.reader(iter(lines), delimiter=delimiter, strict=True), [])
    finally:
        csv.field_size_limit(limit)
