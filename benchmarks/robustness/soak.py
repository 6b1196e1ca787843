"""Use one classifier for a long time, from many threads, and after many forks.

    python -m benchmarks.robustness.soak BUNDLE --texts 1000000 --calls 10000 --forks 200 --json FILE

- Memory: after the first hundredth of the texts (1 to 512 words each, or ``--max-words``), it must not grow by 16 MiB.
- Threads: 64 threads must give the answers of one.
- Forks: a child that uses the inherited classifier must not crash or hang.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.progress import Progress

from crosstune_export import Classifier

_WORDS = "where is my parcel the invoice was wrong and so kind thanks again when will it arrive zebra 42 ."
WORDS = _WORDS.split()
MOST_GROWTH_BYTES = 16 << 20
THREADS = 64
HANG_S = 60


def text(draw: random.Random, max_words: int) -> str:
    """1 to so many words."""
    return " ".join(draw.choices(WORDS, k=draw.randint(1, max_words)))


def memory_growth(
    classifier: Classifier, count: int, draw: random.Random, max_words: int, progress: Progress
) -> dict[str, object]:
    """Classify so many texts one by one, in bytes of resident memory."""
    process, first = psutil.Process(), max(1, count // 100)
    start = highest = 0
    for number in progress.track(range(count), description="texts"):
        classifier.classify([text(draw, max_words)])
        if number == first:
            start = highest = process.memory_info().rss
        elif number % 1000 == 0 and number > first:
            highest = max(highest, process.memory_info().rss)
    return {
        "texts": count,
        "after_first": first,
        "growth_bytes": highest - start,
        "ok": highest - start < MOST_GROWTH_BYTES,
    }


def many_threads(classifier: Classifier, calls: int, draw: random.Random, max_words: int) -> dict[str, object]:
    """As many calls from each thread, all texts known beforehand."""
    texts = [text(draw, max_words) for _ in range(256)]
    expected = np.concatenate([classifier.predict_proba([one]) for one in texts])
    wrong = [0] * THREADS
    errors: list[str] = []

    def work(index: int) -> None:
        mine = random.Random(index)
        try:
            for _ in range(calls):
                at = mine.randrange(len(texts))
                wrong[index] += not np.array_equal(classifier.predict_proba([texts[at]])[0], expected[at])
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = {"threads": THREADS, "calls_each": calls, "mismatches": sum(wrong), "errors": errors[:5]}
    return found | {"ok": not sum(wrong) and not errors}


def many_forks(classifier: Classifier, count: int, progress: Progress) -> dict[str, object]:
    """Children that classify with the classifier of their parent and end."""
    expected, ends = (
        classifier.classify(["where is my parcel"])[0].label,
        {"right": 0, "wrong": 0, "crash": 0, "hang": 0},
    )
    for _ in progress.track(range(count), description="forks"):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = 0 if classifier.classify(["where is my parcel"])[0].label == expected else 3
            finally:
                os._exit(code)
        deadline = time.monotonic() + HANG_S
        while not (done := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                ends["hang"] += 1
                done = os.waitpid(pid, 0)
                break
            time.sleep(0.002)
        else:
            code = os.waitstatus_to_exitcode(done[1])
            ends["right" if code == 0 else "wrong" if code == 3 else "crash"] += 1
    return {"forks": count} | ends | {"ok": ends["right"] == count}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("--texts", type=int, default=100_000, help="texts of the memory test")
    parser.add_argument("--max-words", type=int, default=512, help="words of the longest text")
    parser.add_argument("--calls", type=int, default=100, help="calls per thread")
    parser.add_argument("--forks", type=int, default=200, help="number of forks")
    parser.add_argument("--threads", type=int, default=1, help="threads of the session")
    parser.add_argument("--seed", type=int, default=13, help="seed of the texts")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    classifier, draw = Classifier.load(arguments.bundle, threads=arguments.threads), random.Random(arguments.seed)
    with Progress(console=Console(stderr=True)) as progress:
        found = {
            "kernels": classifier.kernels,
            "max_words": arguments.max_words,
            "memory": memory_growth(classifier, arguments.texts, draw, arguments.max_words, progress),
            "threads": many_threads(classifier, arguments.calls, draw, arguments.max_words),
            "forks": many_forks(classifier, arguments.forks, progress),
        }
    print(json.dumps(found, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if not all(part["ok"] for part in found.values() if isinstance(part, dict)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
