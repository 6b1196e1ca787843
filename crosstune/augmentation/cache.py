"""Answers on disk before they are used: what was paid for once is never bought again, whatever happens to the process."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from crosstune.augmentation.answers import Answer
from crosstune.core.errors import AnswerCacheError, CrossTuneWarning, ResourceError

SCHEMA_VERSION = 1
#: "CtAn": tells a cache of answers from other SQLite files.
APPLICATION_ID = 0x4374416E
_CREATE = "CREATE TABLE answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL, sha256 BLOB NOT NULL)"


class AnswerCache:
    """A table from a request's key to its answer, held by one process at a time.

    An answer is on the disk when ``put`` returns: write-ahead log, ``synchronous = FULL``, one transaction each. A damaged
    file is moved aside and what can still be read of it is taken over; a row that changed on disk is bought again.

    Example:
        >>> with AnswerCache(None) as cache:
        ...     cache.put(b"key", Answer("hello", "stop", False, 3, 1))
        ...     cache.get(b"key").content, cache.get(b"other"), len(cache)
        ('hello', None, 1)
    """

    def __init__(self, path: Path | None, *, wait_s: float = 10.0) -> None:
        """Open or create the cache; in memory when ``path`` is None.

        Args:
            path: The file.
            wait_s: Seconds to wait for another process that holds it.

        Raises:
            AnswerCacheError: The file is something else, or of a newer version.
            ResourceError: Another process holds it, or it cannot be written.
        """
        self.path = path
        self.salvaged = 0
        self._wait_s = wait_s
        with self._guard():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _refuse_foreign(path)
            try:
                self._table = self._open()
            except sqlite3.DatabaseError as error:
                if path is None or isinstance(error, sqlite3.OperationalError):
                    raise
                self._table = self._rescue(path)

    def get(self, key: bytes) -> Answer | None:
        """The answer to a request, or None when it was never bought."""
        with self._guard():
            row = self._table.execute("SELECT answer, sha256 FROM answers WHERE key = ?", (key,)).fetchone()
        return _answer(key, *row) if row else None

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer; it is on the disk when this returns.

        Raises:
            ResourceError: It cannot be written.
        """
        text = answer.to_json()
        with self._guard():
            self._table.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, _digest(key, text)))
            self._table.commit()

    def __len__(self) -> int:
        with self._guard():
            return int(self._table.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file and let the next process have it."""
        self._table.close()

    def __enter__(self) -> AnswerCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        target = ":memory:" if self.path is None else str(self.path)
        table = sqlite3.connect(target, timeout=self._wait_s)
        try:
            table.execute(
                "PRAGMA locking_mode = EXCLUSIVE"
            )  # before the first read: no other process, no shared memory
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = FULL")  # an answer costs far more than a flush
            table.execute("BEGIN IMMEDIATE")
            found = table.execute("PRAGMA application_id").fetchone()[0]
            version = table.execute("PRAGMA user_version").fetchone()[0]
            tables = table.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if found != APPLICATION_ID and tables:
                raise AnswerCacheError(
                    f"{self.path}: an SQLite file of another program, expected a cache of answers. Give another --cache."
                )
            if version > SCHEMA_VERSION:
                raise AnswerCacheError(
                    f"{self.path}: version {version} of the cache, this program knows {SCHEMA_VERSION}. "
                    "Upgrade crosstune-export, or give another --cache."
                )
            if not tables:
                table.execute(_CREATE)
                table.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                table.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            table.commit()
            if table.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check")
        except BaseException:
            table.close()
            raise
        return table

    def _rescue(self, path: Path) -> sqlite3.Connection:
        """Move a damaged file aside and take over what can be read of it."""
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        for ending in ("-wal", "-shm"):
            side = path.with_name(path.name + ending)
            if side.exists():
                side.replace(aside.with_name(aside.name + ending))
        path.replace(aside)
        table = self._open()
        for row in _readable(aside):
            if _answer(*row) is not None:
                table.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
                self.salvaged += 1
        table.commit()
        warnings.warn(
            CrossTuneWarning(
                f"{path}: the cache was damaged; {self.salvaged} answers were saved, the old file is {aside.name}."
            ),
            stacklevel=4,
        )
        return table

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise ResourceError(
                    f"{self.path}: another process holds this cache, waited {self._wait_s:g} s. "
                    "Wait until it ends, or give another --cache."
                ) from error
            raise self._unwritable(error) from error
        except sqlite3.DatabaseError as error:
            raise AnswerCacheError(
                f"{self.path}: damaged ({error}). Run the command again, which saves what can be read."
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> ResourceError:
        return ResourceError(
            f"{self.path}: the cache cannot be written ({error}). Free some space, or give another --cache."
        )


def _refuse_foreign(path: Path) -> None:
    if path.is_dir():
        raise AnswerCacheError(f"{path}: a folder, expected a cache of answers. Give another --cache.")
    if path.exists():
        with path.open("rb") as stream:
            start = stream.read(16)
        if start and start != b"SQLite format 3\0":
            raise AnswerCacheError(f"{path}: not an SQLite file, expected a cache of answers. Give another --cache.")


def _readable(path: Path) -> list[tuple[bytes, str, bytes]]:
    """Rows of a damaged file, up to where it cannot be read any further, from both ends."""
    found: dict[bytes, tuple[bytes, str, bytes]] = {}
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            table = sqlite3.connect(str(path))
            try:
                for row in table.execute(f"SELECT key, answer, sha256 FROM answers NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
                    found[row[0]] = row
            finally:
                table.close()
    return list(found.values())


def _answer(key: object, text: object, digest: object) -> Answer | None:
    if not isinstance(key, bytes) or not isinstance(text, str) or digest != _digest(key, text):
        return None
    return Answer.from_json(text)


def _digest(key: bytes, text: str) -> bytes:
    return hashlib.sha256(key + text.encode("utf-8")).digest()
