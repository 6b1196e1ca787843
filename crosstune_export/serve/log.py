"""JSON lines on standard error. No text of a request is ever logged: only numbers, known names and request ids."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime, timezone


def write(event: str, **fields: str | int | float | None) -> None:
    """Write one line; JSON escapes line breaks inside a value."""
    at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"at": at, "event": event, **fields}) + "\n")
    sys.stderr.flush()


class JsonHandler(logging.Handler):
    """Writes the log records of libraries as JSON lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; of an exception only the class, since its message may quote a text."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        write("library", logger=record.name, message=record.getMessage().strip(), error=error)


@contextlib.contextmanager
def warnings_as_json() -> Iterator[None]:
    """Write the warnings of uvicorn and asyncio as JSON lines inside the block."""
    handler = JsonHandler(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
