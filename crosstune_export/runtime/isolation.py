"""Runs a command in a process of its own with limits of memory and time, for bundles of people one does not know."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crosstune.core.errors import BundleContentError, ResourceError

#: Set in the environment of a process that is isolated already.
VARIABLE = "CROSSTUNE_ISOLATED"
#: Signals that are passed on.
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds for a command to clean up after ``max_seconds``, before it is killed.
_GRACE_S = 3.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessLimits:
    """What a process may take.

    Attributes:
        max_memory_mb: Megabytes (2**20 bytes) of data of each process; exceeding allocations fail. Enforced on Linux.
        max_seconds: Seconds of wall time.
    """

    max_memory_mb: int = 4096
    max_seconds: float = 3600.0


def is_isolated() -> bool:
    """Whether this process was started with limits."""
    return VARIABLE in os.environ


def start_limited(
    command: Sequence[str],
    limits: ProcessLimits,
    environment: Mapping[str, str] | None = None,
    files: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command that may take no more memory, in a session of its own, which ends when this process does.

    Args:
        command: Program and arguments.
        limits: Only ``max_memory_mb`` matters here.
        environment: Further variables.
        files: Descriptors that the process inherits, in addition to the three streams.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if sys.platform == "linux" else None
    return subprocess.Popen(  # noqa: S603 - the command line of this process
        command,
        env={**os.environ, VARIABLE: "1", **(environment or {})},
        start_new_session=True,
        pass_fds=tuple(files),
        preexec_fn=functools.partial(_limit_this_process, limits.max_memory_mb << 20, prctl),  # noqa: PLW1509 - no threads yet
    )


def _limit_this_process(max_bytes: int, prctl: ctypes._NamedFuncPointer | None) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the memory of a crashed process holds texts
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def run_isolated(command: Sequence[str], limits: ProcessLimits, what: str) -> int:
    """Run a command with limits and wait for it; signals that come meanwhile are passed on to it.

    Args:
        command: Program and arguments; it uses the three streams of this process.
        limits: What it may take. At ``max_seconds`` it gets SIGXCPU, and is killed if it does not end then.
        what: The bundle, for messages.

    Returns:
        The exit code of the command.

    Raises:
        BundleContentError: A signal ended it, such as SIGSEGV.
        ResourceError: It did not end in time, or was killed.

    Examples:
        >>> run_isolated([sys.executable, "-c", "raise SystemExit(3)"], ProcessLimits(max_memory_mb=512), "news.bundle")
        3
    """
    process = start_limited(command, limits)
    deadline = time.monotonic() + limits.max_seconds
    try:
        with passing_on(process):
            code = _wait(process, deadline)
            if code is None:
                process.send_signal(signal.SIGXCPU)
                code = _wait(process, time.monotonic() + _GRACE_S)
    finally:
        kill_session(process)
    if code is None or code == -signal.SIGXCPU:
        raise ResourceError(
            f"{what}: not finished after {limits.max_seconds:g} s, the process was ended. Give --max-seconds more, or do not use it."
        )
    if code >= 0:
        return code
    if -code in _PASSED_ON:  # before the command listened to them
        return 128 - code
    raise ended_by(-code, limits, what)


def ended_by(number: int, limits: ProcessLimits, what: str) -> BundleContentError | ResourceError:
    """The error for a process that a signal ended."""
    kind = ResourceError if number == signal.SIGKILL else BundleContentError
    return kind(
        f"{what}: ended the process that ran it ({signal.Signals(number).name}), expected answers within {limits.max_memory_mb} MB. "
        "Do not run it outside of --isolate; if you trust it, give --max-memory-mb more."
    )


@contextlib.contextmanager
def passing_on(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Pass on the signals that come inside the block, and yield the list of them. Ignored signals stay ignored."""
    received: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        received.append(number)
        process.send_signal(number)

    heard = [number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def kill_session(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None
