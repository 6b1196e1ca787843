"""Write results to standard output as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import BinaryIO

from crosstune.core.errors import ConfigError
from crosstune_export.bulk.decode import BadRow
from crosstune_export.bulk.tally import Tally
from crosstune_export.bulk.window_classifier import WindowResult


def bad_row_lines(rows: Iterable[BadRow]) -> bytes:
    """Return bad rows as JSON Lines with ``file``, ``row``, ``reason``, and ``id`` if the row has one."""
    lines = []
    for row in rows:
        entry: dict[str, object] = {"file": row.source, "row": row.row, "reason": row.reason}
        if row.row_id is not None:
            entry["id"] = row.row_id
        lines.append(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
    return "".join(lines).encode("utf-8", "backslashreplace")


class StandardOutput:
    """Writes each window as soon as it is classified; such a run cannot be resumed."""

    def __init__(self, bad_rows: BinaryIO | None) -> None:
        """Check that standard output is open.

        Args:
            bad_rows: File for bad rows; None if they are not recorded.

        Raises:
            ConfigError: Standard output is closed.
        """
        if sys.stdout is None or sys.__stdout__ is None:  # the command line replaces a closed sys.stdout
            raise ConfigError("standard output: is closed, expected an open stream. Give --output.")
        self._bad_rows = bad_rows
        self._tally = Tally()
        self._header = b""

    def begin(self, header: bytes) -> None:
        """Keep the header until the first window is classified, so that an early error leaves the output empty."""
        self._header = header

    def append(self, result: WindowResult) -> None:
        """Write the rows of a window."""
        self._write(result.encoded)
        if self._bad_rows is not None:
            self._bad_rows.write(bad_row_lines(result.bad))
        self._tally = self._tally.plus(result)

    def finish(self) -> Tally:
        """Write the header if no window came, and return the counts of the run."""
        self._write(b"")
        return self._tally

    def _write(self, data: bytes) -> None:
        sys.stdout.buffer.write(self._header + data)
        sys.stdout.buffer.flush()
        self._header = b""
