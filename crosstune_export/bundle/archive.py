"""A packed bundle: a zip archive with a fixed layout, so that a bundle has exactly one packed form.

``docs/bundle_format.md`` has the layout. Nothing is compressed, the member names are fixed, and no other
bytes are allowed before, between or after the members.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from crosstune.core.errors import BundleIntegrityError
from crosstune_export.bundle.manifest import (
    CARD_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    SELFTEST_NAME,
    SIZE_LIMITS,
    TOKENIZER_NAME,
)

#: Members in the order of the archive, which is the order in which a reader needs them.
MEMBERS = (MANIFEST_NAME, TOKENIZER_NAME, SELFTEST_NAME, CARD_NAME, MODEL_NAME)

_LOCAL, _CENTRAL, _END = 0x04034B50, 0x02014B50, 0x06054B50
_VERSION, _STORED, _DATE = 20, 0, 0x0021  # 1 January 1980, the earliest date of the format
_ON_UNIX, _REGULAR_FILE = 3 << 8, 0o100644 << 16
_LOCAL_SIZE, _SIZE_AT = 30, 22


def archive_parts(contents: Mapping[str, bytes]) -> Iterator[bytes]:
    """Yield the bytes of the archive in order.

    Args:
        contents: Contents of the five files by name.
    """
    directory = _Directory()
    for name in MEMBERS:
        yield directory.add(name, contents[name])
        yield contents[name]
    yield directory.end()


class ArchiveReader:
    """Reads the members of an archive in order."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        """Start at the first member.

        Args:
            stream: The archive.
            where: Name of the archive in messages.
        """
        self._stream, self._where, self._directory = stream, where, _Directory()

    def read(self, name: str) -> bytes:
        """Read the next member, which must have this name.

        Raises:
            BundleIntegrityError: The member is missing, misplaced, too large, truncated or changed.
        """
        head = self._stream.read(_LOCAL_SIZE + len(name))
        if len(head) < _LOCAL_SIZE or head[_LOCAL_SIZE:] != name.encode("ascii"):
            raise self._bad(f"{name} is missing or misplaced, expected a file written by crosstune-export pack")
        (size,) = struct.unpack_from("<I", head, _SIZE_AT)
        if size > SIZE_LIMITS[name]:
            raise self._bad(f"{size} bytes of {name}, expected at most {SIZE_LIMITS[name]}")
        data = self._stream.read(size)
        if head != self._directory.add(name, data):
            raise self._bad(f"{name} is cut short or changed, expected it as packed")
        return data

    def finish(self) -> None:
        """Check that only the central directory follows the members.

        Raises:
            BundleIntegrityError: Other bytes follow, or the directory is wrong.
        """
        expected = self._directory.end()
        if self._stream.read(len(expected) + 1) != expected:
            raise self._bad("unexpected bytes after its members, expected only their directory")

    def _bad(self, problem: str) -> BundleIntegrityError:
        return BundleIntegrityError(f"{self._where}: {problem}. Copy or pack the bundle again.")


class _Directory:
    """Builds the local headers and the central directory while members are added."""

    def __init__(self) -> None:
        self._entries, self._offset = b"", 0

    def add(self, name: str, data: bytes) -> bytes:
        """Add a member and return its local header."""
        size, encoded_name = len(data), name.encode("ascii")
        shared = struct.pack(
            "<HHHHHIIIHH", _VERSION, 0, _STORED, 0, _DATE, zlib.crc32(data), size, size, len(encoded_name), 0
        )
        start = struct.pack("<IH", _CENTRAL, _ON_UNIX | _VERSION)
        end = struct.pack("<HHHII", 0, 0, 0, _REGULAR_FILE, self._offset)
        self._entries += start + shared + end + encoded_name
        self._offset += _LOCAL_SIZE + len(encoded_name) + size
        return struct.pack("<I", _LOCAL) + shared + encoded_name

    def end(self) -> bytes:
        """Return the central directory, which follows the last member."""
        count = len(MEMBERS)
        return self._entries + struct.pack("<IHHHHIIH", _END, 0, 0, count, count, len(self._entries), self._offset, 0)
