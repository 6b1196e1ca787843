"""The processes that are measured: one for each bundle, and fresh ones to see how long a first answer takes."""

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

#: Sends a request of ``worker`` and returns the answer.
Ask: TypeAlias = Callable[[Mapping[str, object]], dict[str, Any]]
#: Fresh processes for each bundle and number of threads.
COLD_STARTS = 3


@dataclass(frozen=True)
class ColdStart:
    """From the start of a fresh process to its first answer, in seconds, and the largest memory of the process."""

    passed_s: float
    peak_rss_bytes: int


def cold_starts(
    texts: Mapping[str, Text], threads: Sequence[int], progress: Progress
) -> dict[tuple[str, int], ColdStart]:
    """Start fresh processes, the bundles in turn.

    Args:
        texts: The text that each bundle, a folder, is to classify.
        threads: Threads of a session.
        progress: Called with the stage, the steps done and their total.

    Returns:
        Median time and largest memory, by folder and threads.

    Raises:
        ResourceError: A process ended before it answered.
    """
    turns = list(itertools.product(range(COLD_STARTS), texts, dict.fromkeys(threads)))
    found: dict[tuple[str, int], list[ColdStart]] = {}
    for done, (_, path, count) in enumerate(turns):
        progress("cold start", done, len(turns))
        started = time.perf_counter()
        with bundle_process(path) as ask:
            answer = ask({"load": path, "threads": count, "text": texts[path]})
            passed_s = time.perf_counter() - started
        found.setdefault((path, count), []).append(ColdStart(passed_s, answer["peak_rss_bytes"]))
    progress("cold start", len(turns), len(turns))
    return {
        key: ColdStart(statistics.median(one.passed_s for one in sink), max(one.peak_rss_bytes for one in sink))
        for key, sink in found.items()
    }


@contextlib.contextmanager
def bundle_process(path: str) -> Iterator[Ask]:
    """A process for a bundle; ends with the block.

    Raises:
        ResourceError: It ended before it answered.
    """
    command = [sys.executable, "-m", "crosstune_export.bench.worker"]
    # A session of its own: Ctrl-C is for us, and the worker ends when its input does.
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
            found: dict[str, Any] = json.loads(line)
            return found

        try:
            yield ask
        finally:
            with contextlib.suppress(BrokenPipeError):
                requests.close()
