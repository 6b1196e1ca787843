"""An output that grows beside its place, can be taken up again after any interruption, and is renamed when it is whole.

Beside ``OUTPUT`` stand ``OUTPUT.partial``, which only grows, and ``OUTPUT.partial.json``, the journal: how many windows are
in the partial file, how long it was then, and what the run is about. The journal stands there before anything is in the partial
file, and is replaced as a whole, after the partial file is on disk. Who takes up a run cuts the partial file back to what the
journal says and goes on from there. A partial file without a journal is somebody else's.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

from crosstune.core.errors import ConfigError, OutputExistsError
from crosstune.core.outputs import cannot_write, check_output, new_file
from crosstune_export.bulk.encode import ROW_GROUP_ROWS, write_parquet
from crosstune_export.bulk.output import bad_row_lines
from crosstune_export.bulk.tally import Tally
from crosstune_export.bulk.window_classifier import WindowResult

_COMMIT_SECONDS = 1.0


@dataclass(frozen=True)
class Journal:
    """Where a run stands.

    Attributes:
        settings: What the run is about: it goes on with the same only.
        windows: How many windows are in the partial output.
        digest: SHA-256 (hex) over the digests of these windows.
        output_bytes: How long the partial output was then.
        bad_bytes: How long the partial file of bad rows was then.
        tally: The counts so far.
        finished: Whether nothing is left to do but to rename.
    """

    settings: Mapping[str, object]
    windows: int = 0
    digest: str = ""
    output_bytes: int = 0
    bad_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    finished: bool = False

    @property
    def worth_keeping(self) -> bool:
        """Whether there is anything to go on from."""
        return self.windows > 0 or self.finished

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        return json.dumps(vars(self) | {"tally": self.tally.to_json()}, indent=1).encode("utf-8") + b"\n"

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """The journal in a file; None where there is none that can be read."""
        try:
            body = cast("dict[str, object]", json.loads(path.read_bytes()))
            return cls(**(body | {"tally": Tally.from_json(cast("dict[str, object]", body["tally"]))}))  # type: ignore[arg-type]
        except (OSError, ValueError, TypeError, KeyError):
            return None


def files_beside(output: Path, bad_rows: Path | None) -> dict[str, Path]:
    """What stands beside an output while it grows, by what to call it in messages."""
    found = {"partial output": _partial(output), "journal": _journal(output)}
    return found if bad_rows is None else found | {"partial file of bad rows": _partial(bad_rows)}


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _journal(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial.json")


def _has_contents(path: Path) -> bool:
    try:
        found = path.stat()
    except OSError:  # what is wrong with the name is told when it is opened
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


class PartialOutput:
    """The output of a run: a context that leaves nothing half-written, or what ``--resume`` needs."""

    def __init__(
        self,
        output: Path,
        bad_rows: Path | None,
        settings: Mapping[str, object],
        *,
        resume: bool,
        force: bool,
        parquet: bool,
    ) -> None:
        """Check that the output may be written, before any work is done.

        Args:
            output: Where the result is to stand.
            bad_rows: Where the bad rows are to stand; None where they are not recorded.
            settings: What the run is about.
            resume: Whether to go on with a run that was interrupted, where there is one.
            force: Whether an existing output, or what an interrupted run left, may be replaced.
            parquet: Whether the partial output holds record batches, to become Parquet at the end.

        Raises:
            OutputExistsError: The output is there, or an interrupted run is and ``resume`` is off, or a file that is of none.
            ConfigError: The interrupted run was about something else, or another process is at it.
        """
        self._output, self._bad_rows, self._parquet = output, bad_rows, parquet
        self._partial, self._journal_path = _partial(output), _journal(output)
        self._bad_partial = None if bad_rows is None else _partial(bad_rows)
        there = [path for path in files_beside(output, bad_rows).values() if _has_contents(path)]
        found = Journal.read(self._journal_path)
        if found is None and there and not force:
            raise OutputExistsError(
                f"{there[0]}: is of no interrupted run, expected nothing there. Move it away, or pass --force to replace it."
            )
        kept = found if found is not None and found.worth_keeping else None
        if kept is not None and not resume and not force:
            raise OutputExistsError(
                f"{output}: a run that was interrupted is there. Go on with --resume, or start again with --force."
            )
        self.journal = Journal(settings) if kept is None or not resume else _same_run(kept, settings, output)
        if not self.journal.finished:
            for path in (output, *([] if bad_rows is None else [bad_rows])):
                check_output(path, force=force, what="output file")
        self._committed_at = 0.0
        self._dirty = False
        self._held: list[tuple[Path, BinaryIO]] = []

    def __enter__(self) -> PartialOutput:
        atexit.register(self._sweep)
        try:
            self._sink = self._opened(self._partial)
            self._bad_sink = None if self._bad_partial is None else self._opened(self._bad_partial)
            if self.journal.windows == 0:
                self._write_journal()
            self._cut(self._partial, self._sink, self.journal.output_bytes)
            if self._bad_partial is not None and self._bad_sink is not None:
                self._cut(self._bad_partial, self._bad_sink, self.journal.bad_bytes)
        except BaseException:
            self._release(remove=self._kept() is None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with suppress(Exception):  # the first error is the one to tell
            if error is not None and self._dirty:
                self.commit()
        kept = self._kept()
        self._release(remove=error is not None and kept is None)
        if error is not None and kept is not None:
            error.advice = (  # type: ignore[attr-defined]
                f"{kept.tally.rows} rows are kept: the same command with --resume goes on from there."
            )

    def begin(self, header: bytes) -> None:
        """Write what stands before the first row, unless it is there."""
        if self.journal.windows == 0:
            self._write(self._sink, header)

    def append(self, result: WindowResult) -> None:
        """Add a window.

        Raises:
            ResourceError: The disk refuses a write.
        """
        journal = self.journal
        self._write(self._sink, result.encoded)
        if self._bad_sink is not None:
            self._write(self._bad_sink, bad_row_lines(result.bad))
        self.journal = Journal(  # in one step: a signal may come anywhere
            journal.settings,
            journal.windows + 1,
            next_digest(journal.digest, result.digest),
            self._sink.tell(),
            0 if self._bad_sink is None else self._bad_sink.tell(),
            journal.tally.plus(result),
        )
        self._dirty = True
        if time.monotonic() - self._committed_at > _COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Make what was added so far safe.

        Raises:
            ResourceError: The disk refuses a write.
        """
        try:
            for sink in (self._sink, self._bad_sink):
                if sink is not None:
                    sink.flush()
                    os.fsync(sink.fileno())
        except OSError as error:
            raise cannot_write(self._output, error) from error
        self._write_journal()
        self._committed_at = time.monotonic()
        self._dirty = False

    def finish(self) -> Tally:
        """Put everything in its place.

        Raises:
            ResourceError: The disk refuses a write.
        """
        self.journal = replace(self.journal, finished=True)
        self.commit()
        return self.publish()

    def publish(self) -> Tally:
        """Rename what is whole; does the rest where an earlier run was interrupted at it.

        Raises:
            ResourceError: The disk refuses a write.
        """
        try:
            if self._partial.exists():
                if self._parquet:
                    with self._partial.open("rb") as batches, new_file(self._output) as sink:
                        write_parquet(batches, sink, ROW_GROUP_ROWS)
                    self._partial.unlink()
                else:
                    self._partial.replace(self._output)
            if self._bad_rows is not None and self._bad_partial is not None and self._bad_partial.exists():
                self._bad_partial.replace(self._bad_rows)
            self._journal_path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self._output, error) from error
        return self.journal.tally

    def _opened(self, path: Path) -> BinaryIO:
        """A partial file that no other process writes."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sink = path.open("ab")
            if not _locked(sink) or os.fstat(sink.fileno()).st_ino != path.stat().st_ino:
                sink.close()
                raise ConfigError(f"{self._output}: another run is writing it, expected one. Wait for it or end it.")
        except OSError as error:
            raise cannot_write(self._output, error) from error
        self._held.append((path, sink))
        return sink

    def _cut(self, path: Path, sink: BinaryIO, size_bytes: int) -> None:
        """Cut a partial file back to a length."""
        if os.fstat(sink.fileno()).st_size < size_bytes:
            raise ConfigError(
                f"{path}: shorter than {self._journal_path} says, expected at least {size_bytes} bytes. "
                "Start again with --force, without --resume."
            )
        try:
            sink.truncate(size_bytes)
            sink.seek(0, os.SEEK_END)
        except OSError as error:
            raise cannot_write(self._output, error) from error

    def _write_journal(self) -> None:
        with new_file(self._journal_path) as file:
            file.write(self.journal.to_bytes())

    def _kept(self) -> Journal | None:
        """The journal on disk, where there is something to go on from."""
        found = Journal.read(self._journal_path)
        return found if found is not None and found.worth_keeping else None

    def _release(self, *, remove: bool) -> None:
        """Close what this run holds; removed while it is held, so that it is no other run's."""
        if remove:
            self._remove(self._held)
        for _, sink in self._held:
            with suppress(OSError):
                sink.close()
        if not remove:
            atexit.unregister(self._sweep)

    def _sweep(self) -> None:
        """When the process ends: a signal came before a partial file was known to be held, or while it was removed."""
        for _, sink in self._held:
            with suppress(OSError):
                sink.close()
        if self._kept() is not None:
            return
        with ExitStack() as stack:
            held = []
            for path in filter(None, (self._partial, self._bad_partial)):
                with suppress(OSError):
                    file = stack.enter_context(path.open("r+b"))
                    if _locked(file):
                        held.append((path, file))
            self._remove(held)

    def _remove(self, held: Sequence[tuple[Path, BinaryIO]]) -> None:
        """Remove partial files that are held, and the journal: at no instant is one with contents there without it."""
        still = []
        for path, file in held:
            with suppress(OSError):
                if os.path.samestat(path.stat(), os.fstat(file.fileno())):  # otherwise it is the output by now
                    os.ftruncate(file.fileno(), 0)
                    still.append(path)
        if self._partial in still:
            with suppress(OSError):
                self._journal_path.unlink()
        for path in still:
            with suppress(OSError):
                path.unlink()

    def _write(self, sink: BinaryIO, data: bytes) -> None:
        try:
            sink.write(data)
        except OSError as error:
            raise cannot_write(self._output, error) from error


def next_digest(before: str, window: bytes) -> str:
    """The digest over one more window."""
    return hashlib.sha256(before.encode("ascii") + window).hexdigest()


def _same_run(found: Journal, settings: Mapping[str, object], output: Path) -> Journal:
    """The journal, where a run with these settings may go on with it."""
    names = sorted(settings.keys() | found.settings.keys())
    wanted = json.loads(json.dumps(settings))
    other = [name for name in names if wanted.get(name) != found.settings.get(name)]
    if found.tally.bad == 0 and "on_error" in other:
        other.remove("on_error")  # no bad row yet: what to do with the first one can still be decided
    if other:
        changes = ", ".join(f"{name} {found.settings.get(name)!r} -> {wanted.get(name)!r}" for name in other)
        raise ConfigError(
            f"{output}: the interrupted run was another one ({changes}). Repeat its options, or start again with --force, "
            "without --resume."
        )
    return replace(found, settings=settings)


def _locked(file: BinaryIO) -> bool:
    """Take the lock of a file until it is closed; True also where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
