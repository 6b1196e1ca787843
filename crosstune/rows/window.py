"""A window: up to about a thousand rows of one file, as raw bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from crosstune.rows.lines import RawRow
from crosstune.rows.sources import Source

#: Limits of a window; chosen by hand: large enough for full batches, small enough to keep several in memory. Changing them
#: makes interrupted runs of earlier versions impossible to resume.
WINDOW_ROWS = 1024
WINDOW_BYTES = 4 << 20


@dataclass(frozen=True)
class Window:
    """Consecutive rows of one source.

    Attributes:
        source: The file.
        header: Column names of a table, or of a Parquet file without rows; empty otherwise.
        rows: Raw rows; empty for Parquet and for a table without rows, whose only window holds the header.
        batch: Arrow IPC stream with one record batch, for Parquet; empty otherwise.
        first_row: Number of the first row of ``batch``, from 1.
        read_bytes: Bytes read from all sources so far (compressed bytes for compressed files); for progress only.
        delimiter: Character between the fields of a table.
        encoding: Encoding of the file; ``rows`` are UTF-8.
        early: Whether the row after it, of a live source, would have to be waited for.
    """

    source: Source
    header: tuple[str, ...] = ()
    rows: tuple[RawRow, ...] = ()
    batch: bytes = b""
    first_row: int = 1
    read_bytes: int = 0
    delimiter: str = ","
    encoding: str = "utf-8"
    early: bool = False

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
