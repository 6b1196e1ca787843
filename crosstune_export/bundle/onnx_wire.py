"""The part of the protobuf wire format that is needed to check and edit an ONNX file. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Wire types: a varint, 8 bytes, a length followed by bytes, 4 bytes.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LARGEST_TAG = (1 << 32) - 1


@dataclass(frozen=True)
class Field:
    """One field of a message, as a view into the message.

    Attributes:
        number: Field number of the schema.
        kind: ``VARINT``, ``FIXED64``, ``BYTES`` or ``FIXED32``.
        raw: Bytes of tag and contents.
        value: The number of a varint; the contents of any other field.
    """

    number: int
    kind: int
    raw: memoryview
    value: memoryview | int

    @property
    def view(self) -> memoryview:
        """Contents of a ``BYTES`` field, as a view.

        Raises:
            ValueError: The field is a number.
        """
        if self.kind != BYTES or isinstance(self.value, int):
            raise ValueError(f"field {self.number} is a number, expected bytes")
        return self.value

    @property
    def data(self) -> bytes:
        """Contents of a ``BYTES`` field, as a copy.

        Raises:
            ValueError: The field is a number.
        """
        return bytes(self.view)


def fields(message: bytes | memoryview) -> Iterator[Field]:
    """Yield the fields of a message in order.

    Examples:
        >>> [field.data for field in fields(bytes_field(2, b"ab") + bytes_field(3, b"c"))]
        [b'ab', b'c']
        >>> next(fields(number_field(1, 300))).value
        300

    Raises:
        ValueError: The bytes are not a valid message.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        start = at
        tag, at = varint(view, at)
        kind = tag & 7
        if tag > _LARGEST_TAG or tag < 8:
            raise ValueError(f"no field {tag >> 3} at byte {start}")
        value: memoryview | int
        if kind == VARINT:
            value, at = varint(view, at)
        elif kind in (BYTES, FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if kind == BYTES:
                size, at = varint(view, at)
            value = view[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if at > len(view):
            raise ValueError(f"field {tag >> 3} ends beyond the message")
        yield Field(tag >> 3, kind, view[start:at], value)


def numbers(field: Field) -> list[int]:
    """Return the numbers in a field, which holds one number or a packed list.

    Raises:
        ValueError: The bytes are not varints.
    """
    if isinstance(field.value, int):
        return [field.value]
    values, at = [], 0
    while at < len(field.view):
        value, at = varint(field.view, at)
        values.append(value)
    return values


def bytes_field(number: int, value: bytes) -> bytes:
    """Encode a field of bytes, text or an inner message."""
    return _encoded(number << 3 | BYTES) + _encoded(len(value)) + value


def number_field(number: int, value: int) -> bytes:
    """Encode a field with a number of at least 0."""
    return _encoded(number << 3 | VARINT) + _encoded(value)


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """Decode the varint at an offset; return it with the offset after it.

    Raises:
        ValueError: The varint is incomplete or exceeds 64 bits.
    """
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError(f"no whole number at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if value >> 64:
                raise ValueError(f"a number beyond 64 bits before byte {at}")
            return value, at


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
