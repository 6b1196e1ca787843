"""JSON lines on standard error. No text of a request ever gets here: lines hold numbers, known names and request ids."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone


def write(event: str, **facts: str | int | float | None) -> None:
    """Write one line; line breaks inside a fact are escaped by JSON."""
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"at": at, "event": event, **facts}) + "\n")
    sys.stderr.flush()


class JsonHandler(logging.Handler):
    """Brings the warnings of libraries into the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; of an exception the class alone, since its message may hold a text."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        write("library", logger=record.name, message=record.getMessage().strip(), error=error)
