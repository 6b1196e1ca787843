"""Opens files that others wrote: regular ones only, without waiting for a pipe or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from crosstune.core.errors import CrossTuneError


def open_regular(path: Path, error_class: type[CrossTuneError], next_step: str) -> BinaryIO:
    """Open a file to read, without following a link and without waiting for a pipe.

    Args:
        path: The file.
        error_class: Class of the error to raise.
        next_step: Last sentence of its message.

    Raises:
        CrossTuneError: It cannot be opened or is not a regular file; raised as ``error_class``.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise error_class(
            f"{path}: cannot be opened ({error.strerror}), expected a regular file. {next_step}"
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise error_class(f"{path}: not a regular file. {next_step}")
    return os.fdopen(descriptor, "rb")
