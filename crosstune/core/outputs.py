"""Outputs that are whole or not there: written beside their place, then renamed."""

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
        path: The output.
        force: Whether an existing output may be replaced.
        what: What to call it in messages.
        owned_marker: For a folder: the file that shows what it is; a folder without it is never replaced, nor is any by a file.

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
        raise ConfigError(f"{path}: cannot be the {what} ({reason}). Choose another name.") from error
    if owned_marker is not None:
        _require_name(path)
    if there:
        if owned_marker is None and path.is_dir():
            raise OutputExistsError(f"{path}: is a folder, expected a file. Choose another {what}.")
        if _is_device(path):
            raise OutputExistsError(
                f"{path}: is no file that could be replaced, expected one or nothing. Choose another {what}."
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
    """Refuse an output that would replace or spoil an input or another output, whatever ``--force`` says.

    Args:
        outputs: By what to call them in messages; None where there is none.
        inputs: Files and folders that are read; nothing may be written into such a folder either.

    Raises:
        ConfigError: An output is an input or another output, stands in the folder of one, or holds an input.
    """
    taken: dict[Path, str] = {}
    sources = [(source, _real_path(source)) for source in inputs if source is not None]
    for name, path in outputs.items():
        if path is None:
            continue
        place = _real_path(path)
        for source, there in sources:
            if _same_file(place, there):
                raise ConfigError(f"{path}: is both input and output. Choose another output file.")
            if there in place.parents:
                raise ConfigError(f"{path}: is inside the input {source}. Choose another place.")
            if place in there.parents:
                raise ConfigError(f"{path}: holds the input {source}, which would go with it. Choose another place.")
        if place in taken:
            raise ConfigError(f"{path}: is {taken[place]} and {name}. Give each a file of its own.")
        taken[place] = name
    for path in filter(None, outputs.values()):
        for around in taken.keys() & set(_real_path(path).parents):
            raise ConfigError(
                f"{path}: is in {taken[around]} {around}, which is replaced as a whole. Choose another place."
            )


def _is_device(path: Path) -> bool:
    """Whether something stands there that is neither file nor folder, or that the system makes up for a process."""
    if path.is_symlink() and str(path.readlink()).startswith("/proc/"):  # /dev/stdout
        return True
    return os.path.exists(path) and not (path.is_file() or path.is_dir())  # noqa: PTH110 - the other fails on some names


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there
        return False


def _real_path(path: Path) -> Path:
    """Where a path leads, by way of all links; a link that leads round in a circle stays as it is."""
    return Path(os.path.realpath(path))


def cannot_write(path: Path | str, error: OSError) -> ConfigError | ResourceError:
    """What to say of an output that the system refuses: a place to leave, or a disk to look after.

    Example:
        >>> cannot_write("news.bundle", PermissionError(errno.EACCES, "Permission denied"))
        ConfigError('news.bundle: cannot be written (Permission denied). Choose another place.')
    """
    message = f"{path}: cannot be written ({error.strerror or error})."
    if error.errno in _WRONG_PLACE:
        return ConfigError(f"{message} Choose another place.")
    return ResourceError(f"{message} Free some space or choose another place.")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    What a process that was killed has left beside ``path`` vanishes as well.

    Raises:
        ConfigError: The place is one where nothing can be written.
        ResourceError: The disk refuses a write.
    """
    _require_name(path)
    temporary: Path | None = None
    descriptor = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _begin(path)
        temporary, descriptor = _temporary(path, _make_folder)
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
    finally:
        try:
            if descriptor >= 0:
                os.close(descriptor)
        finally:
            if temporary is not None:
                _remove(temporary)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        ConfigError: The place is one where nothing can be written.
        ResourceError: The disk refuses a write.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _begin(path)
        temporary, descriptor = _temporary(path, _make_file)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(path)  # while it is locked: nobody sweeps it
        temporary = None
        _sync(path.parent)
    except ConnectionError:  # not of this output: whoever reads another one went away
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


#: Why a place will not do, however much room there is.
_WRONG_PLACE = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
_SUFFIX = ".tmp"
#: What stands between prefix and suffix.
_RANDOM = "[a-z0-9_]{8}"
#: How often another name is tried where one is taken, or swept before it was locked.
_ATTEMPTS = 100
_CURRENT_FOLDER, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
#: Outputs that this process has begun: a signal may come before a temporary's name is known, or while it is removed.
_begun: set[Path] = set()
os.register_at_fork(after_in_child=_begun.clear)


def _require_name(folder: Path) -> None:
    if folder.name in ("", ".."):
        raise ConfigError(
            f"{folder}: is a folder seen from inside, which cannot be exchanged. Go outside and give its name."
        )


def _begin(path: Path) -> None:
    _sweep(path)
    _begun.add(path.absolute())


@atexit.register
def _sweep_what_was_begun() -> None:
    for path in _begun:
        with contextlib.suppress(OSError):
            _sweep(path)


def _closed(folder: Path) -> int | None:
    """Why nothing can be made in a folder, as an ``errno``."""
    if not folder.is_dir():
        return errno.ENOTDIR
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    return errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES


def _prefix(path: Path) -> str:
    return f".{path.name[:80]}."


def _temporary(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """What ``make`` makes beside ``path``, and its descriptor, locked; another one where a sweep came before the lock."""
    for _ in range(_ATTEMPTS):
        temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(4)}{_SUFFIX}"
        with contextlib.suppress(FileExistsError, FileNotFoundError), contextlib.ExitStack() as stack:
            descriptor = make(temporary)
            stack.callback(os.close, descriptor)
            stack.callback(_remove, temporary)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            temporary.lstat()  # a sweep that came first held the lock, and has removed it
            stack.pop_all()
            return temporary, descriptor
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))


def _make_folder(path: Path) -> int:
    path.mkdir()  # as all folders are made, so that umask and the parent's rules hold
    return os.open(path, os.O_RDONLY)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _sweep(path: Path) -> None:
    """Remove the temporaries of this output whose makers are gone: a maker that lives holds a lock on its own."""
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
    """Put ``temporary`` where ``path`` is, which then stands in its place; where a system cannot, the old one steps aside first."""
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


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at one instant, so that there is none at which either is missing; False where that cannot be had."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_CURRENT_FOLDER, os.fsencode(one), _CURRENT_FOLDER, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
