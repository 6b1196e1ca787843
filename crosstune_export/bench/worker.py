"""A process that runs one bundle, to measure its memory and start: ``python -m crosstune_export.bench.worker``.

Reads JSON objects from standard input, one per line, and writes an answer to each to standard output:

- ``{"load": path, "threads": n, "text": text}`` loads the bundle with ``n`` threads and classifies the text once.
- ``{"threads": n, "texts": [...], "calls": m}`` classifies the texts in one batch, once untimed and then ``m`` times.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def peak_rss_bytes() -> int:
    """Return the largest resident memory of this process so far; 0 if the system does not report it."""
    status = Path("/proc/self/status")
    if status.is_file():  # on Linux, getrusage also counts the memory of the parent before exec
        line = next(
            (line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB"
        )
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Answer requests until standard input ends."""
    from crosstune_export.runtime.classifier import Classifier

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print to stdout must not break the protocol
    classifiers: dict[int, Classifier] = {}
    for line in sys.stdin:
        request = json.loads(line)
        threads = request["threads"]
        if "load" in request:
            classifiers[threads] = Classifier.load(request["load"], threads=threads)
            classifiers[threads].classify([_text(request["text"])])
            answer: dict[str, object] = {"pid": os.getpid()}
        else:
            classifier, texts = classifiers[threads], [_text(text) for text in request["texts"]]
            classifier.classify(texts, batch_size=len(texts))
            wall_s, cpu_s = [], []
            for _ in range(request["calls"]):
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                classifier.classify(texts, batch_size=len(texts))
                wall_s.append(time.perf_counter() - wall_start)
                cpu_s.append(time.process_time() - cpu_start)
            answer = {"wall_s": wall_s, "cpu_s": cpu_s}
        answers.write(json.dumps(answer | {"peak_rss_bytes": peak_rss_bytes()}) + "\n")
        answers.flush()


def _text(value: str | list[str]) -> str | tuple[str, str]:
    return value if isinstance(value, str) else (value[0], value[1])


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; exit without flushing stdout
