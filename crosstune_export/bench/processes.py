"""Processes to measure: one per bundle, and new ones for cold starts."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from crosstune.core.errors import ResourceError
from crosstune.core.progress import Progress
from crosstune.core.token_layout import Text

#: Sends a request to a worker process and returns its answer.
Ask: TypeAlias = Callable[[Mapping[str, object]], dict[str, Any]]
#: Processes started per bundle and number of threads; chosen by hand: the fewest that have a median.
COLD_STARTS = 3


@dataclass(frozen=True)
class ColdStart:
    """Measurements of new processes.

    Attributes:
        wall_s: Seconds from the start of a process to its first prediction.
        peak_rss_bytes: Largest resident memory of a process.
    """

    wall_s: float
    peak_rss_bytes: int


def cold_starts(
    texts: Mapping[str, Text], threads: Sequence[int], progress: Progress
) -> dict[tuple[str, int], ColdStart]:
    """Measure cold starts, with the bundles in turn.

    Args:
        texts: Text to classify, by bundle folder.
        threads: Threads per session.
        progress: Called with the stage, the steps done and their total.

    Returns:
        Median time and largest memory, by bundle folder and threads.

    Raises:
        ResourceError: A process ended early.
    """
    turns = list(itertools.product(range(COLD_STARTS), texts, dict.fromkeys(threads)))
    starts: dict[tuple[str, int], list[ColdStart]] = {}
    for done, (_, path, count) in enumerate(turns):
        progress("cold start", done, len(turns))
        started = time.perf_counter()
        with bundle_process(path) as ask:
            answer = ask({"load": path, "threads": count, "text": texts[path]})
            wall_s = time.perf_counter() - started
        starts.setdefault((path, count), []).append(ColdStart(wall_s, answer["peak_rss_bytes"]))
    progress("cold start", len(turns), len(turns))
    return {
        key: ColdStart(statistics.median(start.wall_s for start in group), max(start.peak_rss_bytes for start in group))
        for key, group in starts.items()
    }


@contextlib.contextmanager
def bundle_process(path: str) -> Iterator[Ask]:
    """Start a worker process for a bundle, which ends with the block.

    Raises:
        ResourceError: The process ended early.
    """
    command = [sys.executable, "-m", "crosstune_export.bench.worker"]
    # In a new session, Ctrl-C does not reach the worker; it ends when its standard input is closed.
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        requests, answers = process.stdin, process.stdout

        def ask(request: Mapping[str, object]) -> dict[str, Any]:
            try:
                requests.write(json.dumps(request) + "\n")
                requests.flush()
                line = answers.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                raise ResourceError(
                    f"{path}: its process ended before it answered. Free some memory, or measure fewer bundles."
                )
            answer: dict[str, Any] = json.loads(line)
            return answer

        try:
            yield ask
        finally:
            with contextlib.suppress(BrokenPipeError):
                requests.close()
