"""Reads the files of a bundle once and returns only bytes whose hashes match the manifest."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crosstune.core.errors import BundleIntegrityError, ConfigError
from crosstune.core.regular_files import open_regular
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

_AGAIN = "Copy or build the bundle again."
_EXPECTED = "expected a bundle folder. Build one with crosstune-export build."


@dataclass(frozen=True)
class BundleFiles:
    """A bundle in memory, with every byte checked against the manifest.

    Attributes:
        path: Folder or packed bundle.
        manifest: The parsed manifest.
        contents: Contents of the five files by name.
    """

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
        """Total size of all files, in bytes."""
        return sum(map(len, self.contents.values()))


def read_bundle(path: str | os.PathLike[str]) -> BundleFiles:
    """Read and check a bundle: a folder, or a file written by ``crosstune-export pack``.

    Raises:
        BundleIntegrityError: A file is missing, unexpected, not a regular file, too large, or changed since the build.
        BundleVersionError: The format is newer than this reader.
        BundleContentError: A field of the manifest is missing or invalid.
    """
    place = Path(path)
    try:
        kind = stat.S_IFMT(place.stat().st_mode)
    except (OSError, ValueError):  # missing, in an unreadable folder, or a name with a NUL
        kind = None
    if kind == stat.S_IFREG:
        return _read_packed(place)
    if kind != stat.S_IFDIR:
        raise BundleIntegrityError(f"{place}: found {'nothing' if kind is None else 'a file'}, {_EXPECTED}")
    _check_names(place)
    return checked_bundle(place, lambda name, _: _read(place, name))


def checked_bundle(place: Path, read: Callable[[str, int | None], bytes]) -> BundleFiles:
    """Read the manifest of a bundle and the files that it names, and check their hashes.

    Args:
        place: Where the bundle is, for messages.
        read: Returns the contents of a file, by its name and the size in bytes that the manifest states for it.

    Raises:
        BundleError: The manifest is invalid, or a file differs from it.
    """
    contents = {MANIFEST_NAME: read(MANIFEST_NAME, None)}
    manifest = parse_manifest(contents[MANIFEST_NAME], str(place / MANIFEST_NAME))
    for name, expected in manifest.files.items():
        contents[name] = read(name, expected.size_bytes)
        _check_entry(contents[name], expected, place / name)
    return BundleFiles(place, manifest, contents)


def read_manifest(path: str | os.PathLike[str]) -> BundleManifest:
    """Read only the manifest of a bundle, without checking the other files.

    Raises:
        BundleError: The manifest is missing or invalid.
    """
    place = Path(path)
    if place.is_file():
        with open_regular(place.resolve(), BundleIntegrityError, _AGAIN) as stream:
            data = ArchiveReader(stream, str(place)).read(MANIFEST_NAME)
    else:
        data = _read(place, MANIFEST_NAME)
    return parse_manifest(data, str(place / MANIFEST_NAME))


def require_outside(output: Path, bundle: str | os.PathLike[str], what: str) -> None:
    """Refuse an output inside a bundle folder, because a bundle with a further file is invalid.

    Args:
        output: File or folder to write.
        bundle: Bundle folder; need not exist yet.
        what: Name of the output in messages.

    Raises:
        ConfigError: The output is inside the bundle.
    """
    if (
        Path(os.path.realpath(bundle)) in Path(os.path.realpath(output)).parents
    ):  # Path.resolve() fails on circular links
        raise ConfigError(f"{output}: is inside the bundle {bundle}, expected a place outside. Choose another {what}.")


def _read_packed(path: Path) -> BundleFiles:
    with open_regular(path.resolve(), BundleIntegrityError, _AGAIN) as stream:
        archive = ArchiveReader(stream, str(path))
        contents = {MANIFEST_NAME: archive.read(MANIFEST_NAME)}
        manifest = parse_manifest(contents[MANIFEST_NAME], str(path / MANIFEST_NAME))
        for name in MEMBERS[1:]:
            contents[name] = archive.read(name)
            _check_entry(contents[name], manifest.files[name], path / name)
        archive.finish()
    return BundleFiles(path, manifest, contents)


def _check_entry(data: bytes, expected: FileEntry, path: Path) -> None:
    actual = file_entry(data)
    if actual.size_bytes != expected.size_bytes:
        raise BundleIntegrityError(
            f"{path}: {actual.size_bytes} bytes, expected {expected.size_bytes}. Copy or build the bundle again."
        )
    if actual.sha256 != expected.sha256:
        raise BundleIntegrityError(
            f"{path}: sha256 {actual.sha256[:12]}…, expected {expected.sha256[:12]}…. Copy or build the bundle again."
        )


def _check_names(folder: Path) -> None:
    try:
        names = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise BundleIntegrityError(
            f"{folder}: cannot be listed ({error.strerror}), expected a bundle folder. Check its permissions."
        ) from error
    if MANIFEST_NAME not in names:
        raise BundleIntegrityError(f"{folder}: no {MANIFEST_NAME}, {_EXPECTED}")
    for name in sorted(set(SIZE_LIMITS) - names):
        raise BundleIntegrityError(
            f"{folder / name}: missing, expected in every bundle. Copy or build the bundle again."
        )
    for name in sorted(names - set(SIZE_LIMITS)):
        raise BundleIntegrityError(
            f"{folder / name}: a foreign file, expected only {', '.join(sorted(SIZE_LIMITS))}. Remove it or build the bundle again."
        )


def _read(folder: Path, name: str) -> bytes:
    path, limit = folder / name, SIZE_LIMITS[name]
    with open_regular(path, BundleIntegrityError, _AGAIN) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise BundleIntegrityError(f"{path}: {size} bytes, expected at most {limit}. Build the bundle again.")
        data = stream.read(size + 1)  # not to the limit, for which memory would be taken
    if len(data) != size:
        raise BundleIntegrityError(f"{path}: changed while it was read. Load the bundle again.")
    return data
