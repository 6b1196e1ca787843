"""Each answer is paid for once. The answer cache may be damaged, locked or another file; the output may exist already.

The fixture ``augment`` checks after every run that the account adds up and that neither key nor canary is left anywhere.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from tests.cli.conftest import files_in
from tests.crosstune.augmentation.conftest import KEY
from tests.fixtures.llm_server import good


@pytest.mark.fault("D20", "C11")
def test_d20_unchanged_is_never_asked_again_and_any_change_is(augment, server):
    running = server()
    plain = augment(running)
    assert len(running.requests) == 3
    again = augment(running, "--force")
    assert len(running.requests) == 3
    assert again.kept == plain.kept
    assert again.account["answers"] == {"bought": 0, "from_cache": 3, "sent_again": 0, "unsure": 0}
    for change in ({"model": "other"}, {"temperature": 0.5}, {"seed": 14}, {"base_url": f"http://{running.host}/v2"}):
        before = len(running.requests)
        changed = {name.replace("base_url", "base-url"): value for name, value in change.items()}
        assert augment(changed.pop("base-url", running), "--force", **changed).code == 0
        assert len(running.requests) == before + 3, change


@pytest.mark.fault("D20")
def test_d20_another_prompt_version_is_another_answer(augment, server, monkeypatch):
    running = server()
    augment(running)
    monkeypatch.setattr("crosstune.augmentation.plan.PROMPT_VERSION", "v0")
    augment(running, "--force")
    assert len(running.requests) == 6


@pytest.mark.fault("D21")
def test_d21_a_damaged_cache_is_moved_aside_and_what_can_be_read_is_saved(augment, server, task):
    running = server()
    augment(running, per_label=200, concurrency=8)
    bought = len(running.requests)
    cache = task.out / "g.answers.sqlite"
    data = bytearray(cache.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    cache.write_bytes(data)
    ran = augment(running, "--force", per_label=200, concurrency=8)
    assert ran.code == 0
    assert "the cache was damaged; " in ran.outcome.err
    again = len(running.requests) - bought
    assert 0 < again < bought
    assert ran.account["answers"]["from_cache"] == bought - again
    assert [name for name in files_in(task.out) if ".damaged-" in name]


@pytest.mark.fault("D21", "K5")
def test_d21_a_cache_in_use_is_waited_for_and_then_refused(augment, server, task, monkeypatch):
    monkeypatch.setattr("crosstune.augmentation.cache.AnswerCache.__init__.__kwdefaults__", {"wait_s": 0.2})
    inside, leave = threading.Event(), threading.Event()

    def script(number, request):
        inside.set()
        assert leave.wait(60)
        return good(request)

    running = server(script)
    from crosstune.augmentation.cache import AnswerCache

    cache = task.out / "g.answers.sqlite"
    holder = AnswerCache(cache)
    ran = augment(running)
    assert ran.code == 7
    assert (
        ran.error
        == f"error: {cache}: another process uses this cache, waited 0.2 s. Wait until it ends, or give another --cache."
    )
    assert not inside.is_set()
    holder.close()
    leave.set()
    assert augment(running).code == 0


@pytest.mark.fault("D21")
@pytest.mark.parametrize("kind", ["newer", "another program's", "no database", "folder"])
def test_d21_a_cache_that_is_none_is_refused_and_left_alone(augment, server, task, kind):
    cache = task.folder / "c.sqlite"
    if kind == "folder":
        cache.mkdir()
    elif kind == "no database":
        cache.write_text("my thesis, the only copy", "utf-8")
    else:
        assert augment(server(), cache=cache).code == 0
        with contextlib.closing(sqlite3.connect(cache)) as table:
            table.execute("PRAGMA user_version = 9" if kind == "newer" else "PRAGMA application_id = 1")
    before = None if kind == "folder" else cache.read_bytes()
    ran = augment(server(), "--force", cache=cache, output=task.out / "h.jsonl")
    assert ran.code == 5
    assert (
        ran.error
        == {
            "newer": f"error: {cache}: version 9 of the cache, this program knows 1. Upgrade crosstune-export, or give another --cache.",
            "another program's": f"error: {cache}: an SQLite file of another program, expected a cache of answers. Give another --cache.",
            "no database": f"error: {cache}: not an SQLite file, expected a cache of answers. Give another --cache.",
            "folder": f"error: {cache}: a folder, expected a cache of answers. Give another --cache.",
        }[kind]
    )
    if before is not None:
        assert cache.read_bytes() == before


@pytest.mark.fault("E1", "E3")
@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_it_takes_what_is_under_way_and_ends(server, task, monkeypatch, number, code, word):
    """No further request, the answers that come within seconds are kept."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    answered = []

    def script(number, request):
        time.sleep(0.2)
        answered.append(request.headers["idempotency-key"])
        return good(request)

    running = server(script)
    program = "from crosstune_cli.crosstune_app import main; main()"
    options = [
        "--train",
        task.train,
        "--labels",
        task.labels,
        "--output",
        task.out / "g.jsonl",
        "--base-url",
        running.base_url,
    ]
    command = [sys.executable, "-c", program, "augment", *map(str, options), "--model", "m", "--per-label", "5000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while len(answered) < 4 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        sent = time.monotonic()
        out, err = process.communicate(timeout=300)
        assert time.monotonic() - sent < 30
    assert (process.returncode, out) == (code, b"")
    assert err.decode().splitlines()[-1] == f"error: {word}. No partial files were left; run the command again."
    assert files_in(task.out) == ["g.answers.sqlite"]
    with contextlib.closing(sqlite3.connect(task.out / "g.answers.sqlite")) as table:
        kept = {key.hex() for (key,) in table.execute("SELECT key FROM answers")}
    assert kept == set(answered)
    assert len(answered) == len(kept)


@pytest.mark.parametrize("name", ["g.jsonl", "g.account.json"])
def test_outputs_that_are_there_are_left_alone(augment, server, task, name):
    (task.out / name).write_text("mine", "utf-8")
    running = server()
    ran = augment(running)
    assert (ran.code, ran.outcome.err) == (
        2, f"error: {task.out / name}: is already there. Choose another output file, or pass --force to replace it.\n",
    )  # fmt: skip
    assert running.requests == []


def test_an_output_by_another_name_is_refused(augment, server, task):
    ran = augment(server(), output=task.out / "g.csv")
    assert (ran.code, ran.outcome.err) == (
        2,
        f"error: {task.out / 'g.csv'}: ending '.csv', expected .jsonl. Rename the output.\n",
    )


def test_shots_are_drawn_as_training_draws_them(augment, server):
    running = server()
    ran = augment(running, shots=2, per_label=20)
    assert ran.code == 0
    assert ran.account["seed_texts"] == 6
