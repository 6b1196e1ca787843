"""A bundle in one file: a zip archive of which every byte is laid down, so that it can be made and read in one way only.

``docs/bundle_format.md`` has the layout. Nothing is compressed, no name comes from the file, and nothing may stand before,
between or behind the members.
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

#: The order of the members: what a reader needs first stands first.
MEMBERS = (MANIFEST_NAME, TOKENIZER_NAME, SELFTEST_NAME, CARD_NAME, MODEL_NAME)

_LOCAL, _CENTRAL, _END = 0x04034B50, 0x02014B50, 0x06054B50
_VERSION, _STORED, _DATE = 20, 0, 0x0021  # 1 January 1980, the first day of zip
_ON_UNIX, _REGULAR_FILE = 3 << 8, 0o100644 << 16
_LOCAL_SIZE, _SIZE_AT = 30, 22


def archive_parts(contents: Mapping[str, bytes]) -> Iterator[bytes]:
    """The pieces of the archive in their order.

    Args:
        contents: The bytes of the five files by name.
    """
    directory = _Directory()
    for name in MEMBERS:
        yield directory.add(name, contents[name])
        yield contents[name]
    yield directory.end()


class ArchiveReader:
    """Reads the members of an archive one after the other, each once."""

    def __init__(self, stream: BinaryIO, where: str) -> None:
        self._stream, self._where, self._directory = stream, where, _Directory()

    def read(self, name: str) -> bytes:
        """The next member, which must be this one.

        Raises:
            BundleIntegrityError: Something else stands there, or it is too large or cut short.
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
        """What stands behind the members must be their directory alone.

        Raises:
            BundleIntegrityError: It is not.
        """
        expected = self._directory.end()
        if self._stream.read(len(expected) + 1) != expected:
            raise self._bad("unexpected bytes after its members, expected only their directory")

    def _bad(self, found: str) -> BundleIntegrityError:
        return BundleIntegrityError(f"{self._where}: {found}. Copy or pack the bundle again.")


class _Directory:
    """What the archive says of its members, gathered as they come."""

    def __init__(self) -> None:
        self._entries, self._at = b"", 0

    def add(self, name: str, data: bytes) -> bytes:
        """The head that stands before a member."""
        size, spelled = len(data), name.encode("ascii")
        facts = struct.pack(
            "<HHHHHIIIHH", _VERSION, 0, _STORED, 0, _DATE, zlib.crc32(data), size, size, len(spelled), 0
        )
        made = struct.pack("<IH", _CENTRAL, _ON_UNIX | _VERSION)
        place = struct.pack("<HHHII", 0, 0, 0, _REGULAR_FILE, self._at)
        self._entries += made + facts + place + spelled
        self._at += _LOCAL_SIZE + len(spelled) + size
        return struct.pack("<I", _LOCAL) + facts + spelled

    def end(self) -> bytes:
        """What stands behind the last member."""
        count = len(MEMBERS)
        return self._entries + struct.pack("<IHHHHIIH", _END, 0, 0, count, count, len(self._entries), self._at, 0)
