"""Windows through classifiers on this machine, in order: in this process, or in several that each have their own session."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from crosstune.core.errors import CrossTuneError, ResourceError
from crosstune_export.bulk.window_classifier import WindowJob, WindowResult
from crosstune_export.bulk.windows import Window


def classify_windows(windows: Iterable[Window], job: WindowJob, workers: int) -> Generator[WindowResult, None, None]:
    """Results in the order of the windows.

    Args:
        windows: What to classify; read only as far ahead as there are workers.
        job: What to do with each.
        workers: Processes to share them; 1 is this process itself. With several, two windows must come before one is started.

    Raises:
        CrossTuneError: As in one process.
        ResourceError: A worker died.
    """
    remaining = iter(windows)
    ahead = list(islice(remaining, 2)) if workers > 1 else []
    if workers > 1 and len(ahead) == 2:
        yield from _in_processes(chain(ahead, remaining), job, workers)
        return
    classifier = job.load()
    for window in chain(ahead, remaining):
        yield classifier(window)


def _in_processes(windows: Iterator[Window], job: WindowJob, workers: int) -> Iterator[WindowResult]:
    """Each worker in turn gets a window and gives a result: the order needs no bookkeeping.

    A worker that has answered gets its next window before its answer is used, so that it never waits for the output.
    Fresh processes, not forks: a session and its threads do not survive one. Pipes, so that a worker whose parent was killed
    reads the end of its pipe and ends too.
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
            _received(member)  # its session stands, or the error says why not
        busy: deque[tuple[BaseProcess, Connection]] = deque()
        for member in team:
            if (window := next(windows, None)) is not None:
                _send(member, window)
                busy.append(member)
        upcoming = next(windows, None)
        while busy:
            member = busy.popleft()
            result = _received(member)
            assert result is not None
            if upcoming is not None:
                _send(member, upcoming)
                busy.append(member)
            yield result
            if upcoming is not None:
                upcoming = next(windows, None)
    finally:
        for member in team:
            member[1].close()
            member[0].terminate()
        for member in team:
            member[0].join()


def _work(pipe: Connection, job: WindowJob) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # an interrupt goes to every process of a terminal: the parent answers it
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
        f"worker: process {process.pid} ended with {process.exitcode}, expected answers. "
        "If memory ran out, use fewer --workers; otherwise run again with --workers 1."
    )
