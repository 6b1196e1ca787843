"""Atomic outputs: written under a temporary name next to the destination, then renamed."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from crosstune.core.errors import ConfigError, OutputExistsError, ResourceError


def check_output(path: Path, *, force: bool, what: str, owned_marker: str | None = None) -> None:
    """Refuse an output that must not be replaced, before any work is done.

    Args:
        path: File or folder to write.
        force: Whether an existing output may be replaced.
        what: Name of the output in messages.
        owned_marker: For a folder: name of a file that identifies it; a folder without this file is never replaced. None for a
            file, which never replaces a folder.

    Raises:
        OutputExistsError: The output exists and ``force`` is off, or is not of this kind.
        ConfigError: The name is invalid, or the parent folder cannot be written.
    """
    try:
        path.lstat()
        exists = True
    except (FileNotFoundError, NotADirectoryError):
        exists = False
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be the {what} ({reason}). Choose another name.") from error
    if owned_marker is not None:
        _require_name(path)
    if exists:
        if owned_marker is None and path.is_dir():
            raise OutputExistsError(f"{path}: is a folder, expected a file. Choose another {what}.")
        if _is_device(path):
            raise OutputExistsError(
                f"{path}: exists and is not a regular file, expected a file or nothing. Choose another {what}."
            )
        if not force:
            raise OutputExistsError(f"{path}: is already there. Choose another {what}, or pass --force to replace it.")
        if owned_marker is not None and not (path / owned_marker).is_file():
            raise OutputExistsError(
                f"{path}: is not a {what} (no {owned_marker}), --force will not replace it. Remove it yourself."
            )
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if reason := _closed(parent):
        raise ConfigError(f"{path}: {parent} cannot be written ({os.strerror(reason)}). Choose another place.")


def check_places(outputs: Mapping[str, Path | None], inputs: Sequence[Path | None]) -> None:
    """Refuse outputs that would overwrite an input or another output, even with ``--force``.

    Args:
        outputs: Outputs by their name in messages; None for outputs that are not written.
        inputs: Files and folders that are read, and into which nothing may be written.

    Raises:
        ConfigError: An output is an input or another output, is inside one, or contains an input.
    """
    taken: dict[Path, str] = {}
    sources = [(source, _real_path(source)) for source in inputs if source is not None]
    for name, path in outputs.items():
        if path is None:
            continue
        place = _real_path(path)
        for source, source_path in sources:
            if _same_file(place, source_path):
                raise ConfigError(f"{path}: is both input and output. Choose another output file.")
            if source_path in place.parents:
                raise ConfigError(f"{path}: is inside the input {source}. Choose another place.")
            if place in source_path.parents:
                raise ConfigError(
                    f"{path}: contains the input {source}, which would be replaced too. Choose another place."
                )
        if place in taken:
            raise ConfigError(f"{path}: is {taken[place]} and {name}. Give each its own file.")
        taken[place] = name
    for path in filter(None, outputs.values()):
        for around in taken.keys() & set(_real_path(path).parents):
            raise ConfigError(
                f"{path}: is in {taken[around]} {around}, which is replaced as a whole. Choose another place."
            )


def _is_device(path: Path) -> bool:
    """Whether a path is neither a file nor a folder, or a link into /proc such as /dev/stdout."""
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):
        return True
    return os.path.exists(path) and not (path.is_file() or path.is_dir())  # noqa: PTH110 - Path.exists fails for some names


def _same_file(a: Path, b: Path) -> bool:
    try:
        return a == b or a.samefile(b)
    except OSError:  # one of them does not exist
        return False


def _real_path(path: Path) -> Path:
    """Resolve all links of a path; circular links are kept."""
    return Path(os.path.realpath(path))


def cannot_write(path: Path | str, error: OSError) -> ConfigError | ResourceError:
    """Return the error for an output that cannot be written: a ``ConfigError`` for a wrong place, else a ``ResourceError``.

    Examples:
        >>> cannot_write("news.bundle", PermissionError(errno.EACCES, "Permission denied"))
        ConfigError('news.bundle: cannot be written (Permission denied). Choose another place.')
    """
    if error.errno in _NO_LOCKS:
        return ConfigError(
            f"{path}: cannot be locked ({error.strerror}), expected a file system with file locks. Choose another place."
        )
    message = f"{path}: cannot be written ({error.strerror or error})."
    if error.errno in _WRONG_PLACE:
        return ConfigError(f"{message} Choose another place.")
    return ResourceError(f"{message} Free some space or choose another place.")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder, which replaces ``path`` at the end of the block, or is removed after an error.

    Also removes temporary folders that a killed process has left.

    Raises:
        ConfigError: Nothing can be written at this place.
        ResourceError: Writing to the disk failed.
    """
    _require_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with _temporary(path, _make_folder) as (temporary, _):
            yield temporary
            for folder, _, names in os.walk(temporary, topdown=False):
                for name in names:
                    _sync(Path(folder, name))
                _sync(Path(folder))
            _swap(temporary, path)
            _sync(path.parent)
    except ConnectionError:  # not of this output: whoever reads another one went away
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file, which replaces ``path`` at the end of the block, or is removed after an error.

    Also removes temporary files that a killed process has left.

    Raises:
        ConfigError: Nothing can be written at this place.
        ResourceError: Writing to the disk failed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        with _temporary(path, _make_file) as (temporary, descriptor):
            with os.fdopen(descriptor, "wb", closefd=False) as stream:
                yield stream
                stream.flush()
                os.fsync(descriptor)
            temporary.replace(path)  # while it is locked, so that no other process removes it
            _sync(path.parent)
    except ConnectionError:  # not of this output: whoever reads another one went away
        raise
    except OSError as error:
        raise cannot_write(path, error) from error


#: Errors of a wrong place, for which free space does not help.
_WRONG_PLACE = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
#: Errors of ``flock`` on a file system without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_SUFFIX = ".tmp"
#: Random part of a temporary name, as a pattern.
_RANDOM = "[a-z0-9_]{8}"
#: Attempts to create a temporary whose name is free and that is not removed before it is locked; chosen by hand.
_ATTEMPTS = 100
_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
#: Temporaries of this process. What a signal has left of them, at whatever instant it came, is removed at exit.
_made: set[Path] = set()
os.register_at_fork(after_in_child=_made.clear)


def _require_name(folder: Path) -> None:
    if folder.name in ("", ".."):
        raise ConfigError(
            f"{folder}: cannot be replaced while it is the working directory. Run the command from another directory."
        )


@atexit.register
def _remove_at_exit() -> None:
    for temporary in _made:
        with contextlib.suppress(OSError):
            _remove(temporary)


def _closed(folder: Path) -> int | None:
    """Return the ``errno`` for which nothing can be created in a folder; None if it is writable."""
    if not folder.is_dir():
        return errno.ENOTDIR
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    return errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES


def _prefix(path: Path) -> str:
    return f".{path.name[:80]}."


@contextlib.contextmanager
def _temporary(path: Path, make: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    """Create a temporary next to ``path`` with ``make``, yield it with its locked descriptor, and remove what is left of it."""
    for _ in range(_ATTEMPTS):
        temporary = path.parent.absolute() / f"{_prefix(path)}{secrets.token_hex(4)}{_SUFFIX}"
        descriptor = -1
        _made.add(temporary)  # before it is there, because a signal may come at any instant
        try:
            try:
                descriptor = make(temporary)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                temporary.lstat()  # fails if another process removed it before it was locked
            except FileExistsError:
                _made.discard(temporary)  # somebody else's
                continue
            except FileNotFoundError:
                continue
            yield temporary, descriptor
            return
        finally:
            if descriptor >= 0:
                os.close(descriptor)
            if temporary in _made:
                _remove(temporary)
                _made.discard(temporary)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))


def _make_folder(path: Path) -> int:
    path.mkdir()  # not mkdtemp, so that umask and the rules of the parent apply
    return os.open(path, os.O_RDONLY)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _sweep(path: Path) -> None:
    """Remove temporaries of this output that are not locked, because their processes have ended."""
    name = re.compile(re.escape(_prefix(path)) + _RANDOM + re.escape(_SUFFIX))
    for item in path.parent.iterdir():
        if not name.fullmatch(item.name):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(item, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(item)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _swap(temporary: Path, path: Path) -> None:
    """Replace ``path`` by ``temporary``, by an atomic exchange or, if the system has none, after moving the old one aside."""
    if not path.exists():
        temporary.rename(path)
        return
    if _exchange(temporary, path):
        return
    aside = Path(tempfile.mkdtemp(prefix=_prefix(path), suffix=".old", dir=path.parent))
    aside.rmdir()
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    _remove(aside)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names atomically; return False if the system does not support it."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_CURRENT_FOLDER, os.fsencode(a), _CURRENT_FOLDER, os.fsencode(b), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(b))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
