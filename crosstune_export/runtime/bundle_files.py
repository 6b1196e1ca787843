"""Reads the files of a bundle once, and hands out only bytes whose hashes are right."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crosstune_export.errors import BundleIntegrityError
from crosstune_export.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    SELFTEST_NAME,
    SIZE_LIMITS,
    TOKENIZER_NAME,
    BundleManifest,
    check_format,
    file_entry,
    parse_manifest,
)


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
        """Size of all files but the manifest."""
        return sum(len(data) for data in self.contents.values())


def read_bundle(path: str | os.PathLike[str]) -> BundleFiles:
    """Read and check a bundle folder.

    Raises:
        BundleIntegrityError: A file is missing, foreign, not a regular file, too large, or not as built.
        BundleVersionError: The format is newer than this reader.
        BundleContentError: The manifest's fields are not usable.
    """
    folder = Path(path)
    check_format(folder)
    _check_names(folder)
    manifest = parse_manifest(_read(folder, MANIFEST_NAME), str(folder / MANIFEST_NAME))
    contents = {}
    for name, expected in manifest.files.items():
        data = _read(folder, name)
        found = file_entry(data)
        if found.size_bytes != expected.size_bytes:
            raise BundleIntegrityError(
                f"{folder / name}: {found.size_bytes} bytes, expected {expected.size_bytes}. Copy or build the bundle again."
            )
        if found.sha256 != expected.sha256:
            raise BundleIntegrityError(
                f"{folder / name}: sha256 {found.sha256[:12]}…, expected {expected.sha256[:12]}…. Copy or build the bundle again."
            )
        contents[name] = data
    return BundleFiles(folder, manifest, contents)


def _check_names(folder: Path) -> None:
    found = {item.name for item in folder.iterdir()}
    for name in sorted(set(SIZE_LIMITS) - found):
        raise BundleIntegrityError(
            f"{folder / name}: missing, expected in every bundle. Copy or build the bundle again."
        )
    for name in sorted(found - set(SIZE_LIMITS)):
        raise BundleIntegrityError(
            f"{folder / name}: a foreign file, expected only {', '.join(sorted(SIZE_LIMITS))}. Remove it or build the bundle again."
        )


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    limit = SIZE_LIMITS[name]
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise BundleIntegrityError(
            f"{path}: cannot be opened ({error.strerror}), expected a regular file. Copy or build the bundle again."
        ) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise BundleIntegrityError(f"{path}: not a regular file. Copy or build the bundle again.")
    with os.fdopen(descriptor, "rb") as stream:
        if status.st_size > limit:
            raise BundleIntegrityError(
                f"{path}: {status.st_size} bytes, expected at most {limit}. Build the bundle again."
            )
        data = stream.read(limit + 1)
    if len(data) != status.st_size:
        raise BundleIntegrityError(f"{path}: changed while it was read. Load the bundle again.")
    return data
