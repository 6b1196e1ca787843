"""Just enough of the protobuf wire format to exchange single fields of an ONNX file. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        number: As the schema numbers it.
        raw: Tag and contents, as they stand in the message.
        value: The contents of a field of bytes, the number of a varint, None for fixed-size numbers.
    """

    number: int
    raw: bytes
    value: bytes | int | None

    @property
    def data(self) -> bytes:
        """The contents of a field of bytes.

        Raises:
            ValueError: It is a number.
        """
        if not isinstance(self.value, bytes):
            raise ValueError(f"field {self.number} is a number, expected bytes")
        return self.value


def fields(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order.

    Example:
        >>> [(field.number, field.value) for field in fields(number_field(1, 300) + bytes_field(2, b"ab"))]
        [(1, 300), (2, b'ab')]

    Raises:
        ValueError: The bytes are not a message.
    """
    view, at = memoryview(message), 0
    while at < len(message):
        start = at
        tag, at = _varint(message, at)
        kind = tag & 7
        value: bytes | int | None = None
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            value = bytes(view[at : at + size])
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if at > len(message):
            raise ValueError(f"field {tag >> 3} ends beyond the message")
        yield Field(tag >> 3, bytes(view[start:at]), value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, text or an inner message."""
    return _encoded(number << 3 | _BYTES) + _encoded(len(value)) + value


def number_field(number: int, value: int) -> bytes:
    """A field of a number of at least 0."""
    return _encoded(number << 3 | _VARINT) + _encoded(value)


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError(f"no whole number at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
