"""One bundle in a process of its own, so that its memory and its start are its own: ``python -m crosstune_export.bench.worker``.

Reads one JSON object a line from standard input and answers each with one on standard output:

- ``{"load": path, "threads": n, "text": text}`` loads the bundle with so many threads and classifies the text once.
- ``{"threads": n, "texts": [...], "calls": n}`` classifies the texts together, once unmeasured and then so many times.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # not getrusage: on Linux its figure begins with that of the process that started this one
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
    """Serve requests until standard input ends."""
    from crosstune_export.runtime.classifier import Classifier

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    classifiers: dict[int, Classifier] = {}
    for line in sys.stdin:
        request = json.loads(line)
        threads = request["threads"]
        if "load" in request:
            classifiers[threads] = Classifier.load(request["load"], threads=threads)
            classifiers[threads].classify([_text(request["text"])])
            found: dict[str, object] = {"pid": os.getpid()}
        else:
            classifier, texts = classifiers[threads], [_text(text) for text in request["texts"]]
            classifier.classify(texts, batch_size=len(texts))
            passed, busy = [], []
            for _ in range(request["calls"]):
                started, started_busy = time.perf_counter(), time.process_time()
                classifier.classify(texts, batch_size=len(texts))
                passed.append(time.perf_counter() - started)
                busy.append(time.process_time() - started_busy)
            found = {"passed_s": passed, "busy_s": busy}
        answers.write(json.dumps(found | {"peak_rss_bytes": peak_rss_bytes()}) + "\n")
        answers.flush()


def _text(value: str | list[str]) -> str | tuple[str, str]:
    return value if isinstance(value, str) else (value[0], value[1])


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # nobody hears the answer any more: nothing to say, and nothing to flush
