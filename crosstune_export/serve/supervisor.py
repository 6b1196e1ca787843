"""Keeps a server running in a process with limits: it is started again when it crashes or takes too long."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence

from crosstune_export.runtime.isolation import ProcessLimits, ended_by, kill_session, passing_on, start_limited
from crosstune_export.serve import log

#: Exit code of a server that wants to be started again, because a request ran too long.
START_AGAIN = 75
#: Descriptors of the listening socket and of the pipe by which the server says that it answers.
_VARIABLE = "CROSSTUNE_SERVER_FILES"
#: Servers in a row that may crash before they answer.
_ATTEMPTS = 3
#: Seconds beyond the drain timeout until a server that was told to stop is killed.
_GRACE_S = 2.0


def supervise(
    command: Sequence[str], listener: socket.socket, limits: ProcessLimits, drain_timeout_s: float, what: str
) -> int:
    """Run a server until it is told to stop, and start it again when it crashes. The main thread must call it.

    New connections wait in the listening socket while no server runs.

    Args:
        command: The server; it takes the socket from ``inherited_listener`` and calls ``say_ready``.
        listener: The listening socket.
        limits: What the server may take.
        drain_timeout_s: Seconds in which it ends after a signal.
        what: The bundle, for messages.

    Returns:
        The exit code of the server: of one that was told to stop, or that found an error.

    Raises:
        BundleContentError: It crashes again and again before it answers.
        ResourceError: The same, and it was killed.
    """
    failures = 0
    while True:
        code, ready, stopped = _run_once(command, listener, limits, drain_timeout_s)
        if stopped:
            return code if code >= 0 else 128 + stopped
        if code >= 0 and code != START_AGAIN:
            return code
        failures = 0 if ready else failures + 1
        reason = signal.Signals(-code).name if code < 0 else "a request ran too long"
        log.write("server ended", reason=reason, answered=int(ready))
        if failures == _ATTEMPTS:
            raise ended_by(max(1, -code), limits, what)


def inherited_listener() -> socket.socket | None:
    """The listening socket of the supervisor; None if there is no supervisor."""
    files = os.environ.get(_VARIABLE)
    return None if files is None else socket.socket(fileno=int(files.split()[0]))


def say_ready() -> None:
    """Tell the supervisor, if there is one, that requests are answered."""
    if files := os.environ.get(_VARIABLE):
        os.write(int(files.split()[1]), b"1")


def _run_once(
    command: Sequence[str], listener: socket.socket, limits: ProcessLimits, drain_timeout_s: float
) -> tuple[int, bool, int]:
    """Run the server once: its exit code, whether it answered, and the signal that stopped it (0 if none did)."""
    read, write = os.pipe()
    files = (listener.fileno(), write)
    try:
        process = start_limited(command, limits, {_VARIABLE: f"{files[0]} {files[1]}"}, files)
    finally:
        os.close(write)
    try:
        with passing_on(process) as received:
            stopped = _wait_for_the_end(process, received, drain_timeout_s)
    finally:
        kill_session(process)
        with contextlib.closing(os.fdopen(read, "rb")) as pipe:
            ready = bool(pipe.read(1))
    return process.returncode, ready, stopped


def _wait_for_the_end(process: subprocess.Popen[bytes], received: list[int], drain_timeout_s: float) -> int:
    """Wait until the server has ended, or for as long as it may take to stop; returns the first signal to stop."""
    deadline = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            break
        if deadline is None and any(number != signal.SIGHUP for number in received):
            deadline = time.monotonic() + drain_timeout_s + _GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            break
    return next((number for number in received if number != signal.SIGHUP), 0)
