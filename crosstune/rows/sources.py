"""Find the files to read, and their formats."""

from __future__ import annotations

import errno
import glob
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from crosstune.core.errors import ConfigError, DataError
from crosstune.rows.options import AUTO, DEFAULT_READING, FORMATS, ReadOptions

STANDARD_INPUT = "-"
BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
    ".txt": "text",
}
#: Formats that are read from their end, and so from a file only.
BINARY_FORMATS = ("parquet", "xlsx")


@dataclass(frozen=True)
class Source:
    """One file of rows, or standard input.

    Attributes:
        path: Path of the file; ``-`` is standard input.
        file_format: One of ``options.FORMATS``.
        size_bytes: Size of the file; 0 if unknown (standard input, a pipe).
        options: How to read it.
        live: Whether rows are wanted as soon as they come, for standard input.
    """

    path: str
    file_format: str
    size_bytes: int = 0
    options: ReadOptions = DEFAULT_READING
    live: bool = False

    @property
    def name(self) -> str:
        """Name for messages."""
        return "standard input" if self.path == STANDARD_INPUT else self.path

    @property
    def compressed(self) -> bool:
        """Whether the name says that it is compressed with gzip."""
        return self.path.lower().endswith(".gz")


def format_of(name: str) -> str:
    """Return the format for a file's ending, ignoring ``.gz``.

    Examples:
        >>> format_of("mails.jsonl"), format_of("mails.CSV.gz"), format_of("notes.txt")
        ('jsonl', 'csv', 'text')

    Raises:
        ConfigError: The ending is unknown.
    """
    ending = Path(_without_gz(name)).suffix
    if ending.lower() not in BY_ENDING:
        found = f"ending {ending!r}" if ending else "no ending"
        raise ConfigError(
            f"{name}: {found}, expected one of {', '.join(BY_ENDING)}, or one of these with .gz. "
            f"Name its format with --input-format {'|'.join(FORMATS)}."
        )
    return BY_ENDING[ending.lower()]


def source_at(name: str, options: ReadOptions, *, labelled: bool = False) -> Source:
    """Return one file, or standard input.

    Args:
        name: Path, or ``-``.
        options: How to read it.
        labelled: Whether its rows need labels, so that lines of text will not do.

    Raises:
        DataError: The file cannot be read.
        ConfigError: Its ending is unknown, a Parquet or Excel file is compressed with gzip, or lines of text have no labels.
    """
    size_bytes = _size_bytes(name)
    file_format = options.input_format
    if file_format == AUTO:
        is_pipe = name == STANDARD_INPUT or (not Path(name).suffix and not Path(name).is_file())
        file_format = "text" if is_pipe else format_of(name)
    source = Source(name, file_format, size_bytes, options, live=name == STANDARD_INPUT and _is_live(sys.stdin))
    if source.compressed and file_format in BINARY_FORMATS:
        raise ConfigError(
            f"{name}: a {'Parquet' if file_format == 'parquet' else 'Excel'} file in gzip, expected it uncompressed. Run: gunzip {name}"
        )
    if labelled and file_format == "text":
        raise ConfigError(
            f"{source.name}: lines of text, expected rows with text and label. "
            "Give JSON Lines, CSV, TSV, Parquet or Excel, or name the format with --input-format."
        )
    return source


def find_sources(names: Sequence[str], options: ReadOptions | None = None) -> tuple[Source, ...]:
    """Return the files that names, folders and patterns refer to, each once.

    Args:
        names: Files, ``-``, patterns such as ``mails/**/*.jsonl``, or folders, which are searched recursively for files
            with a known ending. The order is kept; files of one folder or pattern are sorted by path.
        options: How to read them.

    Raises:
        DataError: A file cannot be read, or a folder or pattern matches no file.
        ConfigError: An ending is unknown, standard input is named twice, or a Parquet or Excel file is compressed with gzip.
    """
    if list(names).count(STANDARD_INPUT) > 1:
        raise ConfigError("-: found twice, expected standard input once.")
    sources: dict[Path | None, Source] = {}  # by absolute path, so that ./a.csv and a.csv are one file
    for name in names:
        for path in [name] if name == STANDARD_INPUT else _files(name):
            source = source_at(path, options or DEFAULT_READING)
            sources.setdefault(None if path == STANDARD_INPUT else Path(path).absolute(), source)
    return tuple(sources.values())


def _files(name: str) -> list[str]:
    path = Path(name)
    if os.path.isdir(name):  # noqa: PTH112 -- Path.is_dir raises if a parent is unreadable or the name too long
        files = [str(inner) for inner in sorted(path.rglob("*")) if _is_data(inner.relative_to(path), inner)]
        if not files:
            raise DataError(
                f"{name}: no file ending in {', '.join(BY_ENDING)} (or these with .gz), expected at least one. "
                "Check the folder."
            )
        return files
    if glob.has_magic(name) and not os.path.exists(name):  # noqa: PTH110 -- as above
        matches = glob.glob(name, recursive=True)  # noqa: PTH207 -- Path.glob takes no absolute pattern
        files = sorted(item for item in matches if Path(item).is_file())
        if not files:
            raise DataError(f"{name}: no such file, expected at least one. Check the pattern.")
        return files
    return [name]


def _is_data(inside: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") for part in inside.parts)
    return not hidden and Path(_without_gz(path.name)).suffix.lower() in BY_ENDING and path.is_file()


def _size_bytes(path: str) -> int:
    if path == STANDARD_INPUT:
        return 0
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}), expected a file. Check the path.") from error
    return status.st_size if Path(path).is_file() else 0


def _is_live(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe or a terminal, whose lines come one by one."""
    try:
        return stream is not None and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # not a file
        return False


def _without_gz(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name
