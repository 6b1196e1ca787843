"""Numbered lines and CSV records of a byte stream, with at most one row in memory."""

from __future__ import annotations

import csv
import select
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

#: Maximum size of a row; longer ones are bad rows and are not read into memory. Chosen by hand: a text of a million
#: characters fits, each escaped in JSON.
MAX_ROW_BYTES = 8 << 20
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


class NumberedLines:
    r"""Iterates over the lines of a stream, which end in ``\n``, ``\r\n`` or ``\r``.

    Examples:
        >>> import io
        >>> [(row.line, row.offset, row.data) for row in NumberedLines(io.BytesIO(b"a\r\nb\rc"))]
        [(1, 0, b'a\r\n'), (2, 3, b'b\r'), (3, 5, b'c')]

    Args:
        stream: UTF-8 bytes.
        offset: Bytes before the first line.
    """

    def __init__(self, stream: BinaryIO, offset: int = 0) -> None:
        self._stream, self._offset = stream, offset
        self._more = False

    def __iter__(self) -> Iterator[RawRow]:
        number, offset, start, skipped_bytes = 1, self._offset, b"", 0
        read = getattr(self._stream, "read1", self._stream.read)
        while block := read(_BLOCK_BYTES):
            pieces = (start + block).splitlines(keepends=True)
            start = b"" if pieces[-1].endswith(b"\n") else pieces.pop()  # the line may continue in the next block
            for index, piece in enumerate(pieces, 1):
                self._more = index < len(pieces)
                yield RawRow(number, offset, piece[: MAX_ROW_BYTES + 1])
                number, offset, skipped_bytes = number + 1, offset + len(piece) + skipped_bytes, 0
            if len(start) > MAX_ROW_BYTES + 1:
                skipped_bytes += len(start) - (MAX_ROW_BYTES + 1)
                start = start[: MAX_ROW_BYTES + 1]
        if start:
            yield RawRow(number, offset, start[: MAX_ROW_BYTES + 1])

    def idle(self) -> bool:
        """Whether the next line would have to be waited for."""
        return not self._more and not select.select([self._stream.fileno()], [], [], 0)[0]


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
            yield record[0].data.decode("utf-8", "surrogateescape")  # what is not UTF-8 is refused later
            while size <= MAX_ROW_BYTES and (line := following()) is not None:
                record.append(line)
                size += len(line.data)
                yield line.data.decode("utf-8", "surrogateescape")

        try:
            parse_csv(decoded_lines(), delimiter)
            yield RawRow(first.line, first.offset, b"".join(line.data for line in record))
        except csv.Error:
            yield first
            waiting.extendleft(reversed(record[1:]))


def parse_csv(lines: Iterable[str], delimiter: str) -> list[str]:
    """Return the first record of some lines, with fields of up to ``MAX_ROW_BYTES`` instead of Python's default limit.

    Examples:
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
