"""A cache of answers on disk, so that no answer is paid for twice, even if the process is killed."""

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
#: "CtAn", which marks an SQLite file as a cache of answers.
APPLICATION_ID = 0x4374416E
_CREATE = "CREATE TABLE answers (key BLOB PRIMARY KEY, answer TEXT NOT NULL, sha256 BLOB NOT NULL)"


class AnswerCache:
    """Maps keys of requests to answers; used by one process at a time.

    An answer is on disk when ``put`` returns (write-ahead log, ``synchronous = FULL``, one transaction per answer). A damaged
    file is moved aside, and its readable answers are copied to a new one; rows with a wrong hash are ignored.

    Examples:
        >>> with AnswerCache(None) as cache:
        ...     cache.put(b"key", Answer("hello", "stop", False, 3, 1))
        ...     cache.get(b"key").content, cache.get(b"other"), len(cache)
        ('hello', None, 1)
    """

    def __init__(self, path: Path | None, *, wait_s: float = 10.0) -> None:
        """Open or create the cache.

        Args:
            path: SQLite file; None to keep the cache in memory.
            wait_s: Seconds to wait for another process that uses the file.

        Raises:
            AnswerCacheError: The file is not a cache of answers, or of a newer version.
            ResourceError: Another process uses the file, or it cannot be written.
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
        """Return the answer to a request; None if it is not in the cache.

        Raises:
            AnswerCacheError: The file is damaged.
            ResourceError: The file cannot be read.
        """
        with self._guard():
            row = self._table.execute("SELECT answer, sha256 FROM answers WHERE key = ?", (key,)).fetchone()
        return _answer(key, *row) if row else None

    def put(self, key: bytes, answer: Answer) -> None:
        """Store an answer, which is on disk when this returns.

        Raises:
            AnswerCacheError: The file is damaged.
            ResourceError: The file cannot be written.
        """
        text = answer.to_json()
        with self._guard():
            self._table.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, text, _digest(key, text)))
            self._table.commit()

    def __len__(self) -> int:
        with self._guard():
            return int(self._table.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file, so that other processes can use it."""
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
            )  # before the first read, so that no shared memory is needed
            table.execute("PRAGMA journal_mode = WAL")
            table.execute("PRAGMA synchronous = FULL")  # an answer takes far longer than a flush
            table.execute("BEGIN IMMEDIATE")
            application = table.execute("PRAGMA application_id").fetchone()[0]
            version = table.execute("PRAGMA user_version").fetchone()[0]
            tables = table.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if application != APPLICATION_ID and tables:
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
        """Move a damaged file aside, and copy its readable answers to a new one."""
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        for ending in ("-wal", "-shm"):
            companion = path.with_name(path.name + ending)
            if companion.exists():
                companion.replace(aside.with_name(aside.name + ending))
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
                    f"{self.path}: another process uses this cache, waited {self._wait_s:g} s. "
                    "Wait until it ends, or give another --cache."
                ) from error
            raise self._unwritable(error) from error
        except sqlite3.DatabaseError as error:
            raise AnswerCacheError(
                f"{self.path}: damaged ({error}). Run the command again, which recovers readable answers."
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
    """Return the rows of a damaged file that can be read from its start or its end."""
    rows: dict[bytes, tuple[bytes, str, bytes]] = {}
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            table = sqlite3.connect(str(path))
            try:
                for row in table.execute(f"SELECT key, answer, sha256 FROM answers NOT INDEXED ORDER BY rowid {order}"):  # noqa: S608
                    rows[row[0]] = row
            finally:
                table.close()
    return list(rows.values())


def _answer(key: object, text: object, digest: object) -> Answer | None:
    if not isinstance(key, bytes) or not isinstance(text, str) or digest != _digest(key, text):
        return None
    return Answer.from_json(text)


def _digest(key: bytes, text: str) -> bytes:
    return hashlib.sha256(key + text.encode("utf-8")).digest()
