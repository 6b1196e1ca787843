"""An output file that is written under another name, can be resumed after any interruption, and is renamed when complete.

Results are appended to ``OUTPUT.partial``. A journal, ``OUTPUT.partial.json``, records the settings of the run, the number
of windows in the partial file, and its length. The journal exists before the partial file has contents, and is replaced
atomically after each part of the partial file is on disk. A resumed run truncates the partial file to the length in the
journal and continues from there. A partial file without a journal was not written by this program.
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

#: Seconds between two commits; chosen by hand: at most this much work is lost, and an fsync per second costs little.
_COMMIT_SECONDS = 1.0


@dataclass(frozen=True)
class Journal:
    """Progress of a run.

    Attributes:
        settings: Options and inputs of the run; a resumed run must have the same.
        windows: Number of windows in the partial output.
        digest: SHA-256 (hex) over the digests of these windows.
        output_bytes: Length of the partial output after the last of them.
        bad_bytes: Length of the partial file of bad rows at that time.
        tally: Counts so far.
        finished: Whether all windows are done and only the renaming remains.
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
        """Whether a run can continue from it."""
        return self.windows > 0 or self.finished

    def to_bytes(self) -> bytes:
        """Return the contents of the journal file."""
        return json.dumps(vars(self) | {"tally": self.tally.to_json()}, indent=1).encode("utf-8") + b"\n"

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """Read a journal file; None if it is missing or invalid."""
        try:
            body = cast("dict[str, object]", json.loads(path.read_bytes()))
            return cls(**(body | {"tally": Tally.from_json(cast("dict[str, object]", body["tally"]))}))  # type: ignore[arg-type]
        except (OSError, ValueError, TypeError, KeyError):
            return None


def partial_files(output: Path, bad_rows: Path | None) -> dict[str, Path]:
    """Return the temporary files of an output, keyed by their name in messages."""
    files = {"partial output": _partial(output), "journal": _journal(output)}
    return files if bad_rows is None else files | {"partial file of bad rows": _partial(bad_rows)}


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _journal(output: Path) -> Path:
    return output.with_name(f"{output.name}.partial.json")


def _has_contents(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:  # an invalid name is reported when the file is opened
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


class PartialOutput:
    """The output file of a run, as a context manager: after an error it leaves either nothing or a run that can be resumed."""

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
            output: File to write.
            bad_rows: File of bad rows to write; None if they are not recorded.
            settings: Options and inputs of the run.
            resume: Continue an interrupted run if there is one.
            force: Replace existing outputs and the files of an interrupted run.
            parquet: The partial output holds Arrow record batches, which are converted to Parquet at the end.

        Raises:
            OutputExistsError: The output exists, or an interrupted run exists and ``resume`` is off, or a partial file
                exists without a journal.
            ConfigError: The interrupted run had other settings.
        """
        self._output, self._bad_rows, self._parquet = output, bad_rows, parquet
        self._partial, self._journal_path = _partial(output), _journal(output)
        self._bad_partial = None if bad_rows is None else _partial(bad_rows)
        existing = [path for path in partial_files(output, bad_rows).values() if _has_contents(path)]
        journal = Journal.read(self._journal_path)
        if journal is None and existing and not force:
            raise OutputExistsError(
                f"{existing[0]}: exists without a journal, expected no file. Move it away, or pass --force to replace it."
            )
        earlier = journal if journal is not None and journal.worth_keeping else None
        if earlier is not None and not resume and not force:
            raise OutputExistsError(
                f"{output}: found an interrupted run, expected none. Continue with --resume, or start again with --force."
            )
        self.journal = Journal(settings) if earlier is None or not resume else _same_run(earlier, settings, output)
        if not self.journal.finished:
            for path in (output, *([] if bad_rows is None else [bad_rows])):
                check_output(path, force=force, what="output file")
        self._committed_at = 0.0
        self._dirty = False
        self._held: list[tuple[Path, BinaryIO]] = []

    def __enter__(self) -> PartialOutput:
        atexit.register(self._remove_at_exit)
        try:
            self._sink = self._opened(self._partial)
            self._bad_sink = None if self._bad_partial is None else self._opened(self._bad_partial)
            if self.journal.windows == 0:
                self._write_journal()
            self._cut(self._partial, self._sink, self.journal.output_bytes)
            if self._bad_partial is not None and self._bad_sink is not None:
                self._cut(self._bad_partial, self._bad_sink, self.journal.bad_bytes)
        except BaseException:
            self._release(remove=self._resumable() is None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with suppress(Exception):  # the first error is the one to report
            if error is not None and self._dirty:
                self.commit()
        journal = self._resumable()
        self._release(remove=error is not None and journal is None)
        if error is not None and journal is not None:
            error.advice = (  # type: ignore[attr-defined]
                f"{journal.tally.rows} rows are saved. Add --resume to the same command to continue."
            )

    def begin(self, header: bytes) -> None:
        """Write the header, unless the run is resumed."""
        if self.journal.windows == 0:
            self._write(self._sink, header)

    def append(self, result: WindowResult) -> None:
        """Add a window.

        Raises:
            ResourceError: Writing to the disk failed.
        """
        journal = self.journal
        self._write(self._sink, result.encoded)
        if self._bad_sink is not None:
            self._write(self._bad_sink, bad_row_lines(result.bad))
        self.journal = Journal(  # replaced in one step, since a signal may come at any time
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
        """Write the windows so far to disk, and then the journal.

        Raises:
            ResourceError: Writing to the disk failed.
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
        """Complete the run and return its counts.

        Raises:
            ResourceError: Writing to the disk failed.
        """
        self.journal = replace(self.journal, finished=True)
        self.commit()
        return self.publish()

    def publish(self) -> Tally:
        """Rename the complete files and return the counts; also completes a run that was interrupted during the renaming.

        Raises:
            ResourceError: Writing to the disk failed.
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
        """Open and lock a partial file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sink = path.open("ab")
            with ExitStack() as stack:
                stack.callback(sink.close)
                if not _locked(sink) or os.fstat(sink.fileno()).st_ino != path.stat().st_ino:
                    raise ConfigError(
                        f"{self._output}: found another run that writes it, expected none. Wait for it or end it."
                    )
                stack.pop_all()
        except OSError as error:
            raise cannot_write(self._output, error) from error
        self._held.append((path, sink))
        return sink

    def _cut(self, path: Path, sink: BinaryIO, size_bytes: int) -> None:
        """Truncate a partial file to the length in the journal."""
        if os.fstat(sink.fileno()).st_size < size_bytes:
            raise ConfigError(
                f"{path}: shorter than recorded in {self._journal_path}, expected at least {size_bytes} bytes. "
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

    def _resumable(self) -> Journal | None:
        """Return the journal on disk if a run can continue from it."""
        journal = Journal.read(self._journal_path)
        return journal if journal is not None and journal.worth_keeping else None

    def _release(self, *, remove: bool) -> None:
        """Close the partial files; remove them first, while they are locked and no other run can open them."""
        if remove:
            self._remove(self._held)
        for _, sink in self._held:
            with suppress(OSError):
                sink.close()
        if not remove:
            atexit.unregister(self._remove_at_exit)

    def _remove_at_exit(self) -> None:
        """Remove partial files that a signal left, while they were opened or removed, if no run can continue from them."""
        for _, sink in self._held:
            with suppress(OSError):
                sink.close()
        if self._resumable() is not None:
            return
        with ExitStack() as stack:
            locked = []
            for path in filter(None, (self._partial, self._bad_partial)):
                with suppress(OSError):
                    file = stack.enter_context(path.open("r+b"))
                    if _locked(file):
                        locked.append((path, file))
            self._remove(locked)

    def _remove(self, held: Sequence[tuple[Path, BinaryIO]]) -> None:
        """Remove locked partial files and the journal; they are emptied first, so that none has contents without a journal."""
        emptied = []
        for path, file in held:
            with suppress(OSError):
                if os.path.samestat(
                    path.stat(), os.fstat(file.fileno())
                ):  # otherwise it has been renamed to the output
                    os.ftruncate(file.fileno(), 0)
                    emptied.append(path)
        if self._partial in emptied:
            with suppress(OSError):
                self._journal_path.unlink()
        for path in emptied:
            with suppress(OSError):
                path.unlink()

    def _write(self, sink: BinaryIO, data: bytes) -> None:
        try:
            sink.write(data)
        except OSError as error:
            raise cannot_write(self._output, error) from error


def next_digest(before: str, window: bytes) -> str:
    """Return the digest of a run after one more window."""
    return hashlib.sha256(before.encode("ascii") + window).hexdigest()


def _same_run(journal: Journal, settings: Mapping[str, object], output: Path) -> Journal:
    """Return the journal with the settings of this run, or refuse settings that differ."""
    names = sorted(settings.keys() | journal.settings.keys())
    current = json.loads(json.dumps(settings))
    changed = [name for name in names if current.get(name) != journal.settings.get(name)]
    if journal.tally.bad == 0 and "on_error" in changed:
        changed.remove("on_error")  # without a bad row so far, it has had no effect
    if changed:
        changes = ", ".join(f"{name} {journal.settings.get(name)!r} -> {current.get(name)!r}" for name in changed)
        raise ConfigError(
            f"{output}: the interrupted run had other options ({changes}). Repeat its options, or start again with --force, "
            "without --resume."
        )
    return replace(journal, settings=settings)


def _locked(file: BinaryIO) -> bool:
    """Lock a file until it is closed; return False if another process holds the lock. True on systems without such locks.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        if file.tell() == 0:
            Path(file.name).unlink(missing_ok=True)  # no later run could lock it to remove it
        raise
    return True
