"""Lines and CSV records of a stream of bytes, numbered, never more than a row in memory."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

#: A row may have so many bytes; more is a bad row and not read into memory.
MAX_ROW_BYTES = 4 << 20
_BLOCK_BYTES = 1 << 20


class RawRow(NamedTuple):
    """One row as it stands in its file.

    Attributes:
        line: Number of its first line, from 1.
        offset: Bytes before it, after decompression.
        data: Its bytes, line end included; cut one byte beyond ``MAX_ROW_BYTES`` where it is longer.
    """

    line: int
    offset: int
    data: bytes


def numbered_lines(stream: BinaryIO) -> Iterator[RawRow]:
    r"""Lines that end in ``\n``, ``\r\n`` or ``\r``; a byte order mark at the start belongs to none.

    Example:
        >>> import io
        >>> [(row.line, row.offset, row.data) for row in numbered_lines(io.BytesIO(b"a\r\nb\rc"))]
        [(1, 0, b'a\r\n'), (2, 3, b'b\r'), (3, 5, b'c')]
    """
    number, offset, start, lost = 1, 0, b"", 0
    read = getattr(stream, "read1", stream.read)
    first = True
    while block := read(_BLOCK_BYTES):
        pieces = (start + block).splitlines(keepends=True)
        start = b"" if pieces[-1].endswith(b"\n") else pieces.pop()  # the end of a line may be in the next block
        for piece in pieces:
            yield _row(number, offset, piece, first)
            number, offset, lost, first = number + 1, offset + len(piece) + lost, 0, False
        if len(start) > MAX_ROW_BYTES + 1:
            keep = start[: MAX_ROW_BYTES + 1]
            lost += len(start) - len(keep)
            start = keep
    if start:
        yield _row(number, offset, start, first)


def _row(number: int, offset: int, data: bytes, first: bool) -> RawRow:
    if first and data.startswith(b"\xef\xbb\xbf"):
        return RawRow(number, offset + 3, data[3:])
    return RawRow(number, offset, data[: MAX_ROW_BYTES + 1])


def csv_records(lines: Iterable[RawRow], delimiter: str) -> Iterator[RawRow]:
    """Lines joined to records where a quoted field goes over several.

    Where quotes are never closed, or not closed as they should be, the first line stands alone and reading goes on with the
    next one: a stray quote costs one row, not the rest of the file.
    """
    source = iter(lines)
    waiting: deque[RawRow] = deque()

    def following() -> RawRow | None:
        return waiting.popleft() if waiting else next(source, None)

    while (first := following()) is not None:
        if b'"' not in first.data:
            yield first
            continue
        taken = [first]

        def more(taken: list[RawRow] = taken) -> Iterator[str]:
            size = len(taken[0].data)
            yield taken[0].data.decode("latin-1")  # the structure is ASCII in any encoding that UTF-8 texts may have
            while size <= MAX_ROW_BYTES and (line := following()) is not None:
                taken.append(line)
                size += len(line.data)
                yield line.data.decode("latin-1")

        try:
            parse_csv(more(), delimiter)
            yield RawRow(first.line, first.offset, b"".join(line.data for line in taken))
        except csv.Error:
            yield first
            waiting.extendleft(reversed(taken[1:]))


def parse_csv(lines: Iterable[str], delimiter: str) -> list[str]:
    """The first record of some lines, with our limit of a field in place of the interpreter's.

    Example:
        >>> parse_csv(['a,"b, c"'], ",")
        ['a', 'b, c']

    Raises:
        csv.Error: It is not a record.
    """
    limit = csv.field_size_limit(MAX_ROW_BYTES)
    try:
        return next(csv.reader(iter(lines), delimiter=delimiter, strict=True), [])
    finally:
        csv.field_size_limit(limit)
