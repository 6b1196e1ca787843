"""Reads the files of a bundle once, and hands out only bytes whose hashes are right."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crosstune.core.errors import BundleIntegrityError, ConfigError
from crosstune_export.bundle.archive import MEMBERS, ArchiveReader
from crosstune_export.bundle.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    SELFTEST_NAME,
    SIZE_LIMITS,
    TOKENIZER_NAME,
    BundleManifest,
    FileEntry,
    file_entry,
    parse_manifest,
)

_EXPECTED = "expected a bundle folder. Build one with crosstune-export build."


@dataclass(frozen=True)
class BundleFiles:
    """A bundle in memory, every byte checked against the manifest."""

    path: Path
    manifest: BundleManifest
    contents: Mapping[str, bytes]

    @property
    def model(self) -> bytes:
        """The ONNX graph."""
        return self.contents[MODEL_NAME]

    @property
    def tokenizer(self) -> bytes:
        """The tokenizer's JSON."""
        return self.contents[TOKENIZER_NAME]

    @property
    def selftest(self) -> bytes:
        """The self-test's JSON."""
        return self.contents[SELFTEST_NAME]

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(map(len, self.contents.values()))


def read_bundle(path: str | os.PathLike[str]) -> BundleFiles:
    """Read and check a bundle: a folder, or the one file that ``crosstune-export pack`` makes of it.

    Raises:
        BundleIntegrityError: A file is missing, foreign, not a regular file, too large, or not as built.
        BundleVersionError: The format is newer than this reader.
        BundleContentError: The manifest's fields are not usable.
    """
    place = Path(path)
    try:
        kind = stat.S_IFMT(place.stat().st_mode)
    except (OSError, ValueError):  # nothing there, no way there, or a NUL in the name
        kind = None
    if kind == stat.S_IFREG:
        return _read_packed(place)
    if kind != stat.S_IFDIR:
        raise BundleIntegrityError(f"{place}: found {'nothing' if kind is None else 'a file'}, {_EXPECTED}")
    _check_names(place)
    contents = {MANIFEST_NAME: _read(place, MANIFEST_NAME)}
    manifest = parse_manifest(contents[MANIFEST_NAME], str(place / MANIFEST_NAME))
    for name, expected in manifest.files.items():
        contents[name] = _read(place, name)
        _check_entry(contents[name], expected, place / name)
    return BundleFiles(place, manifest, contents)


def read_manifest(path: str | os.PathLike[str]) -> BundleManifest:
    """What a bundle says of itself, without a look at its other files.

    Raises:
        BundleError: There is no manifest that could be read.
    """
    place = Path(path)
    if place.is_file():
        with _open_regular(place.resolve()) as stream:
            data = ArchiveReader(stream, str(place)).read(MANIFEST_NAME)
    else:
        data = _read(place, MANIFEST_NAME)
    return parse_manifest(data, str(place / MANIFEST_NAME))


def require_outside(output: Path, bundle: str | os.PathLike[str], what: str) -> None:
    """Refuse an output inside a bundle's folder, which no reader would take any more.

    Args:
        output: The output.
        bundle: The bundle's folder, there or not yet.
        what: What to call the output in messages.

    Raises:
        ConfigError: It is inside.
    """
    if Path(os.path.realpath(bundle)) in Path(os.path.realpath(output)).parents:  # resolve() fails on links in a circle
        raise ConfigError(
            f"{output}: is inside the bundle {bundle}, which holds its five files alone. Choose another {what}."
        )


def _read_packed(path: Path) -> BundleFiles:
    with _open_regular(path.resolve()) as stream:
        archive = ArchiveReader(stream, str(path))
        contents = {MANIFEST_NAME: archive.read(MANIFEST_NAME)}
        manifest = parse_manifest(contents[MANIFEST_NAME], str(path / MANIFEST_NAME))
        for name in MEMBERS[1:]:
            contents[name] = archive.read(name)
            _check_entry(contents[name], manifest.files[name], path / name)
        archive.finish()
    return BundleFiles(path, manifest, contents)


def _check_entry(data: bytes, expected: FileEntry, path: Path) -> None:
    found = file_entry(data)
    if found.size_bytes != expected.size_bytes:
        raise BundleIntegrityError(
            f"{path}: {found.size_bytes} bytes, expected {expected.size_bytes}. Copy or build the bundle again."
        )
    if found.sha256 != expected.sha256:
        raise BundleIntegrityError(
            f"{path}: sha256 {found.sha256[:12]}…, expected {expected.sha256[:12]}…. Copy or build the bundle again."
        )


def _check_names(folder: Path) -> None:
    try:
        found = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise BundleIntegrityError(
            f"{folder}: cannot be listed ({error.strerror}), expected a bundle folder. Check its permissions."
        ) from error
    if MANIFEST_NAME not in found:
        raise BundleIntegrityError(f"{folder}: no {MANIFEST_NAME}, {_EXPECTED}")
    for name in sorted(set(SIZE_LIMITS) - found):
        raise BundleIntegrityError(
            f"{folder / name}: missing, expected in every bundle. Copy or build the bundle again."
        )
    for name in sorted(found - set(SIZE_LIMITS)):
        raise BundleIntegrityError(
            f"{folder / name}: a foreign file, expected only {', '.join(sorted(SIZE_LIMITS))}. Remove it or build the bundle again."
        )


def _read(folder: Path, name: str) -> bytes:
    path, limit = folder / name, SIZE_LIMITS[name]
    with _open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise BundleIntegrityError(f"{path}: {size} bytes, expected at most {limit}. Build the bundle again.")
        data = stream.read(limit + 1)
    if len(data) != size:
        raise BundleIntegrityError(f"{path}: changed while it was read. Load the bundle again.")
    return data


def _open_regular(path: Path) -> BinaryIO:
    """A file opened without following a link and without waiting for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise BundleIntegrityError(
            f"{path}: cannot be opened ({error.strerror}), expected a regular file. Copy or build the bundle again."
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleIntegrityError(f"{path}: not a regular file. Copy or build the bundle again.")
    return os.fdopen(descriptor, "rb")
