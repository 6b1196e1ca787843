"""Where results go when they do not go into a file of their own: standard output, as they come."""

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
    """Bad rows as JSON Lines: ``file``, ``row``, ``reason``, and ``id`` where there is one."""
    lines = []
    for row in rows:
        entry: dict[str, object] = {"file": row.source, "row": row.row, "reason": row.reason}
        if row.row_id is not None:
            entry["id"] = row.row_id
        lines.append(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
    return "".join(lines).encode("utf-8", "backslashreplace")


class StandardOutput:
    """Writes a window as soon as it is classified; nothing can be taken up again."""

    def __init__(self, bad_rows: BinaryIO | None) -> None:
        """Look whether there is one.

        Raises:
            ConfigError: It is closed.
        """
        if sys.stdout is None or sys.__stdout__ is None:  # a program may have put something in its place
            raise ConfigError("standard output: is closed, expected a place for the answers. Give --output.")
        self._bad_rows = bad_rows
        self._tally = Tally()
        self._header = b""

    def begin(self, header: bytes) -> None:
        """Remember what stands before the first row: nothing is written before the first window is classified."""
        self._header = header

    def append(self, result: WindowResult) -> None:
        """Add a window."""
        self._write(result.encoded)
        if self._bad_rows is not None:
            self._bad_rows.write(bad_row_lines(result.bad))
        self._tally = self._tally.plus(result)

    def finish(self) -> Tally:
        """The counts of the run."""
        self._write(b"")
        return self._tally

    def _write(self, data: bytes) -> None:
        sys.stdout.buffer.write(self._header + data)
        sys.stdout.buffer.flush()
        self._header = b""
