"""Answers on disk."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys

import hypothesis
import pytest
from hypothesis import strategies as st

from crosstune import CrossTuneWarning
from crosstune.augmentation.answers import Answer
from crosstune.augmentation.cache import AnswerCache
from crosstune.core.errors import ResourceError

ANSWERS = st.builds(
    Answer,
    st.none() | st.text(max_size=30),
    st.text(max_size=5),
    st.booleans(),
    st.none() | st.integers(0, 9),
    st.none(),
)


@hypothesis.given(st.dictionaries(st.binary(min_size=32, max_size=32), ANSWERS, max_size=10))
def test_what_is_put_is_there_for_the_next_who_opens(tmp_path_factory, answers):
    path = tmp_path_factory.mktemp("cache") / "a.sqlite"
    with AnswerCache(path) as cache:
        for key, answer in answers.items():
            cache.put(key, answer)
    with AnswerCache(path) as cache:
        assert {key: cache.get(key) for key in answers} == answers
        assert cache.get(b"another") is None
        assert len(cache) == len(answers)


@pytest.mark.fault("D19")
def test_the_journal_is_flushed_with_every_answer(tmp_path):
    with AnswerCache(tmp_path / "a.sqlite") as cache:
        settings = {
            name: cache._table.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "locking_mode")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "locking_mode": "exclusive"}


def test_a_row_that_changed_on_disk_is_not_believed(tmp_path):
    path = tmp_path / "a.sqlite"
    with AnswerCache(path) as cache:
        cache.put(b"k" * 32, Answer("the truth", "stop", False, 1, 1))
    with contextlib.closing(sqlite3.connect(path)) as table:
        table.execute("UPDATE answers SET answer = replace(answer, 'truth', 'wrong')")
        table.commit()
    with AnswerCache(path) as cache:
        assert cache.get(b"k" * 32) is None


@pytest.mark.fault("D21")
@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_damage_anywhere_costs_no_more_than_the_damaged_pages(tmp_path, place):
    path = tmp_path / "a.sqlite"
    with AnswerCache(path) as cache:
        for i in range(400):
            cache.put(i.to_bytes(32, "big"), Answer(f"answer {i} " * 8, "stop", False, 1, 1))
    data = bytearray(path.read_bytes())
    at = int(place * len(data)) // 4096 * 4096
    data[at : at + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.warns(
        CrossTuneWarning, match=r"a\.sqlite: the cache was damaged; \d+ answers were saved, the old file is"
    ):
        cache = AnswerCache(path)
    with cache:
        assert cache.salvaged == len(cache)
        good = {i: answer for i in range(400) if (answer := cache.get(i.to_bytes(32, "big"))) is not None}
        assert len(good) == cache.salvaged >= 400 - 20, "a page holds 17 of them"
        assert all(answer.content == f"answer {i} " * 8 for i, answer in good.items())
    (aside,) = tmp_path.glob("a.sqlite.damaged-*")
    assert aside.read_bytes() == bytes(data)


@pytest.mark.fault("K5")
def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "a.sqlite"
    code = (
        "import sys, pathlib\nfrom crosstune.augmentation.cache import AnswerCache\n"
        "with AnswerCache(pathlib.Path(sys.argv[1])):\n    print('mine', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(ResourceError) as caught:
            AnswerCache(path, wait_s=0.1)
        assert str(caught.value) == (
            f"{path}: another process uses this cache, waited 0.1 s. Wait until it ends, or give another --cache."
        )
        other.kill()
    AnswerCache(path, wait_s=10).close()


@pytest.mark.fault("E6")
def test_a_disk_that_refuses(tmp_path):
    folder = tmp_path / "file"
    folder.write_text("x", "utf-8")
    with pytest.raises(ResourceError, match=r"a\.sqlite: the cache cannot be written \("):
        AnswerCache(folder / "a.sqlite")
