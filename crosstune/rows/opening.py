"""Open a file of rows as a stream of UTF-8 bytes."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from crosstune.core.errors import DataError
from crosstune.rows.first_bytes import GZIP, encoding_of, refuse_binary
from crosstune.rows.sources import STANDARD_INPUT, Source

#: Bytes in which the format and the encoding are recognised; chosen by hand.
_SAMPLE_BYTES = 1 << 16


class Opened(NamedTuple):
    """An open source.

    Attributes:
        stream: Its contents, decompressed and as UTF-8, without a byte order mark.
        file: The underlying file, whose position shows the progress.
        head: First bytes of ``stream``, before they were converted to UTF-8.
        encoding: Its encoding; ``utf-8-sig`` for UTF-8 with a byte order mark.
        offset: Bytes of its byte order mark.
    """

    stream: BinaryIO
    file: BinaryIO
    head: bytes
    encoding: str
    offset: int


@contextmanager
def opened(source: Source) -> Iterator[Opened]:
    """Open a source of a text format; gzip is recognised by its first bytes.

    Raises:
        DataError: It cannot be read, is not what its name says, or changes while it is read.
    """
    if source.path == STANDARD_INPUT:
        if sys.stdin is None:
            raise DataError("standard input: is closed, expected texts. Give a file.")
        with _gzip_errors(source):
            yield _decoded(source, sys.stdin.buffer)
        return
    try:
        with Path(source.path).open("rb", buffering=_SAMPLE_BYTES) as file, _gzip_errors(source):
            before = os.fstat(file.fileno())
            yield _decoded(source, file)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(
            f"{source.name}: cannot be read ({error.strerror or error}), expected a file. Check the path."
        ) from error
    if stat.S_ISREG(before.st_mode) and (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DataError(f"{source.name}: changed while it was read. Run again when nothing writes to it.")


@contextmanager
def _gzip_errors(source: Source) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{source.name}: not a complete gzip file ({error}). Copy or compress it again.") from error


def _decoded(source: Source, file: BinaryIO) -> Opened:
    stream, head = _peeked(file)
    if head.startswith(GZIP) or source.compressed:
        stream, head = _peeked(cast(BinaryIO, gzip.GzipFile(fileobj=stream)))
    refuse_binary(head, source.name, source.file_format)
    encoding, mark = encoding_of(head, source.options.encoding, source.name)
    stream.read(mark)
    if encoding != "utf-8":
        stream = cast(BinaryIO, _AsUtf8(stream, encoding, source.name))
    return Opened(stream, file, head[mark:], "utf-8-sig" if encoding == "utf-8" and mark else encoding, mark)


def _peeked(stream: BinaryIO) -> tuple[BinaryIO, bytes]:
    """Return a stream and its first bytes, which stay in it."""
    if not hasattr(stream, "peek"):
        stream = cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, stream)))
    return stream, stream.peek(_SAMPLE_BYTES)  # type: ignore[attr-defined]


class _AsUtf8:
    """Converts a stream of another encoding; bytes that it does not have are kept and make their row a bad one."""

    def __init__(self, stream: BinaryIO, encoding: str, name: str) -> None:
        self._stream, self._encoding, self._name = stream, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")

    def read1(self, size: int) -> bytes:
        """Return some bytes; none only at the end."""
        while True:
            block = cast(io.BufferedReader, self._stream).read1(size)
            try:
                data = self._decoder.decode(block, not block).encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise DataError(
                    f"{self._name}: not {self._encoding} ({error.reason if isinstance(error, UnicodeDecodeError) else error}). "
                    "Give its encoding with --encoding, or save the file as UTF-8."
                ) from error
            if data or not block:
                return data

    def read(self) -> bytes:
        """Return all bytes."""
        return b"".join(iter(lambda: self.read1(_SAMPLE_BYTES), b""))

    def fileno(self) -> int:
        """Return the descriptor of the underlying file."""
        return self._stream.fileno()
