"""Classify windows on this machine, in order, in this process or in several worker processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from crosstune.core.errors import CrossTuneError, ResourceError
from crosstune.rows.window import Window
from crosstune_export.bulk.window_classifier import WindowClassifier, WindowJob, WindowResult


def classify_windows(windows: Iterable[Window], job: WindowJob, workers: int) -> Generator[WindowResult, None, None]:
    """Yield results in the order of the windows.

    Args:
        windows: Windows to classify; read ahead by at most one window per worker, and not at all after an early one.
        job: How to classify each.
        workers: Number of processes; 1 is this process. Worker processes are started only if there are two windows.

    Raises:
        CrossTuneError: Any error of ``WindowJob.load`` or of the classification of a window.
        ResourceError: A worker process died.
    """
    remaining = iter(windows)
    classifier: WindowClassifier | None = None
    for window in remaining:
        # The rows of a live source are classified here until they come faster than they are classified.
        if workers > 1 and not window.early and (following := next(remaining, None)) is not None:
            yield from _in_processes(chain([window, following], remaining), job, workers)
            return
        classifier = classifier or job.load()
        yield classifier(window)


def _in_processes(windows: Iterator[Window], job: WindowJob, workers: int) -> Iterator[WindowResult]:
    """Send windows to the workers in turn and read the results in the same turn, which keeps them in order.

    A worker gets its next window before its last result is used, so that it never waits for the output. Processes are
    spawned, because threads of a session do not survive a fork. Each has a pipe, so that it ends when its parent is killed.
    """
    context = multiprocessing.get_context("spawn")
    team: list[tuple[BaseProcess, Connection]] = []
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, job), daemon=True)
            process.start()
            theirs.close()
            team.append((process, ours))
        for member in team:
            _received(member)  # wait until its session is loaded
        free, busy = deque(team), deque[tuple[BaseProcess, Connection]]()
        for window in windows:
            result = None
            if not free:
                free.append(busy.popleft())
                result = _received(free[0])
            _send(free[0], window)
            busy.append(free.popleft())
            if result is not None:
                yield result
            while window.early and busy:  # nothing else to do until the next row comes
                free.append(busy.popleft())
                yield _classified(free[-1])
        while busy:
            yield _classified(busy.popleft())
    finally:
        for member in team:
            member[1].close()
            member[0].terminate()
        for member in team:
            member[0].join()


def _work(pipe: Connection, job: WindowJob) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent handles it
    try:
        classifier = job.load()
    except CrossTuneError as error:
        pipe.send(error)
        return
    pipe.send(None)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            window = pipe.recv()
            try:
                result: WindowResult | Exception = classifier(window)
            except Exception as error:
                result = error
            pipe.send(result)


def _send(member: tuple[BaseProcess, Connection], window: Window) -> None:
    try:
        member[1].send(window)
    except OSError as error:
        raise _died(member[0]) from error


def _classified(member: tuple[BaseProcess, Connection]) -> WindowResult:
    result = _received(member)
    assert result is not None
    return result


def _received(member: tuple[BaseProcess, Connection]) -> WindowResult | None:
    try:
        result: WindowResult | Exception | None = member[1].recv()
    except (EOFError, OSError) as error:
        raise _died(member[0]) from error
    if isinstance(result, Exception):
        raise result
    return result


def _died(process: BaseProcess) -> ResourceError:
    process.join(5)
    return ResourceError(
        f"worker: process {process.pid} ended with exit code {process.exitcode}, expected results. "
        "If memory ran out, use fewer --workers; otherwise run again with --workers 1."
    )
