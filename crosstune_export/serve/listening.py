"""The listening socket, and how to close it without a reset for somebody who is already inside."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
from collections.abc import Iterator

from crosstune_export import ConfigError

#: Connections that wait at the socket to be taken in.
_BACKLOG = 2048
#: Seconds between ``turn_away`` and ``take_all``: a handshake that has begun ends in them.
HANDSHAKE_S = 0.1

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the module ``socket`` names it from Python 3.14 on
#: Classic BPF over a TCP header (code, jump if true, jump if false, operand): of the flags SYN and ACK, SYN alone is dropped.
_NO_FIRST_PACKETS = [
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # and SYN | ACK
    (0x15, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # keep nothing of the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep it whole
]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Name or address.
        port: 0 lets the system choose.

    Raises:
        ConfigError: The address is not to be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        return listening
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(
            f"{host}:{port}: cannot be listened on ({reason}). Choose another --host or --port."
        ) from error


def turn_away(listening: socket.socket) -> None:
    """Have the system begin no connection from now on; those that it has begun still come in.

    A client that knocks gets no answer; it asks again after a second, and once the socket is closed it is refused. Without this,
    which only Linux offers, what the system accepts between the last look at the queue and the close is reset, although its
    client may have sent a request already.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_FIRST_PACKETS))
    with contextlib.suppress(OSError):  # a system that has no filters
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_FIRST_PACKETS), ctypes.addressof(program))
        )


def take_all(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait at a socket that does not block."""
    with contextlib.suppress(OSError):  # none waits, or none can be taken
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection
