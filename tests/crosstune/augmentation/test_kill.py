"""SIGKILL at random instants: what was on disk stays, and no more is bought again than was under way.

One process imports everything once and forks the runs that it kills, so that a kill takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from crosstune.augmentation.cache import AnswerCache
from tests.crosstune.augmentation.conftest import KEY
from tests.fixtures.llm_server import good

KILLS = 30
CONCURRENCY = 4
RUNS_OF_ONE_PROCESS = """
import os, sys
from pathlib import Path
from crosstune import LabelSet, read_examples
from crosstune.augmentation import AugmentConfig, carry_out, plan_requests
from crosstune.augmentation.endpoint import Endpoint
import crosstune.augmentation.client
base_url, train, cache, concurrency = sys.argv[1:5]
labels = LabelSet.from_mapping({"shipping": "where a parcel is", "billing": "a charge", "praise": "kind words"})
examples = read_examples(train)
plan = plan_requests(examples, labels, per_label=1000, seed=1)
endpoint = Endpoint.resolve(base_url, "OPENAI_API_KEY")
for _ in sys.stdin:
    child = os.fork()
    if not child:
        carry_out(examples, labels, plan, endpoint, AugmentConfig("m", concurrency=int(concurrency)), Path(cache))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.mark.fault("D19")
@pytest.mark.slow
def test_no_answer_on_disk_is_lost_and_only_those_under_way_are_bought_again(server, task, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    given = Counter()
    lock = threading.Lock()

    def script(number, request):
        time.sleep(0.005)
        with lock:
            given[request.headers["idempotency-key"]] += 1
        return good(request)

    running = server(script)
    cache = task.out / "answers.sqlite"
    command = [sys.executable, "-c", RUNS_OF_ONE_PROCESS, running.base_url, task.train, cache, str(CONCURRENCY)]
    kept: set[bytes] = set()
    draw = random.Random(13)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as runs:

        def start() -> int:
            print(file=runs.stdin, flush=True)
            return int(runs.stdout.readline())

        def end() -> int:
            return int(runs.stdout.readline())

        for kills in range(1, KILLS + 1):
            child = start()
            running.wait_for(len(running.requests) + draw.randint(0, 9))
            time.sleep(draw.uniform(0, 0.02))
            os.kill(child, signal.SIGKILL)
            assert end() == signal.SIGKILL
            running.settle()
            if cache.exists():
                AnswerCache(cache).close()
                with contextlib.closing(sqlite3.connect(cache)) as table:
                    now = {key for (key,) in table.execute("SELECT key FROM answers")}
                assert kept <= now
                kept = now
            assert sum(given.values()) - len(kept) <= CONCURRENCY * kills
        start()
        assert end() == 0
        runs.stdin.close()
    assert len(given) == 600
    again = sum(given.values()) - 600
    assert 0 < again <= CONCURRENCY * KILLS, "with 0, no kill met a request under way"
    with AnswerCache(cache) as answers:
        assert len(answers) == 600
        assert all(json.loads(answers.get(bytes.fromhex(key)).content)["texts"] for key in given)
