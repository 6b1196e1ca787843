"""Outputs that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crosstune.errors import ConfigError, OutputExistsError, ResourceError


def check_output(path: Path, *, force: bool, what: str, owned_marker: str | None = None) -> None:
    """Refuse an output that must not be replaced, before any work is done.

    Args:
        path: The output.
        force: Whether an existing output may be replaced.
        what: What to call it in messages.
        owned_marker: For a folder: the file that shows what it is; a folder without it is never replaced.

    Raises:
        OutputExistsError: It is there and ``force`` is off, or it is not such an output.
        ConfigError: Its name cannot be used, or its parent folder cannot be written.
    """
    try:
        path.lstat()
        there = True
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be a {what} ({reason}). Choose another name.") from error
    if there:
        if not force:
            raise OutputExistsError(f"{path}: is already there. Choose another {what}, or pass --force to replace it.")
        if owned_marker is not None and not (path / owned_marker).is_file():
            raise OutputExistsError(
                f"{path}: is not a {what} (no {owned_marker}), --force will not replace it. Remove it yourself."
            )
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConfigError(f"{path}: {parent} cannot be written. Choose another place.")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        ResourceError: The disk refuses a write.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent))
        yield temporary
        for item in temporary.iterdir():
            _sync(item)
        temporary.chmod(0o755)
        _swap(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another place."
        ) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        ResourceError: The disk refuses a write.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise ResourceError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another place."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _swap(temporary: Path, path: Path) -> None:
    """Put ``temporary`` where ``path`` is; an old folder steps aside first, since no rename replaces a full one."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:80]}.", suffix=".old", dir=path.parent))
    aside.rmdir()
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
