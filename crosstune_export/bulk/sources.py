"""Find the files to classify, and their formats."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstune.core.errors import ConfigError, DataError

FORMATS = ("jsonl", "csv", "tsv", "parquet", "text")
STANDARD_INPUT = "-"
_BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
}


@dataclass(frozen=True)
class Source:
    """One file of texts, or standard input.

    Attributes:
        path: Path of the file; ``-`` is standard input.
        file_format: One of ``FORMATS``.
        compressed: Whether the file is compressed with gzip.
        size_bytes: Size of the file; 0 if unknown (standard input, a pipe).
    """

    path: str
    file_format: str
    compressed: bool = False
    size_bytes: int = 0

    @property
    def name(self) -> str:
        """Name for messages."""
        return "standard input" if self.path == STANDARD_INPUT else self.path


def format_of(name: str) -> str:
    """Return the format for a file's ending, ignoring ``.gz``; ``text`` for unknown endings.

    Example:
        >>> format_of("mails.jsonl"), format_of("mails.CSV.gz"), format_of("notes")
        ('jsonl', 'csv', 'text')
    """
    return _BY_ENDING.get(Path(_without_gz(name)).suffix.lower(), "text")


def find_sources(names: Sequence[str], file_format: str = "auto") -> tuple[Source, ...]:
    """Return the files that names, folders and patterns refer to, each once.

    Args:
        names: Files, ``-``, patterns such as ``mails/**/*.jsonl``, or folders, which are searched recursively for files
            with a known ending. The order is kept; files of one folder or pattern are sorted by path.
        file_format: One of ``FORMATS``, or ``auto`` for the format of each ending.

    Raises:
        DataError: A file cannot be read, or a folder or pattern matches no file.
        ConfigError: The format is unknown, standard input is named twice, or a Parquet file is compressed with gzip.
    """
    if file_format not in ("auto", *FORMATS):
        raise ConfigError(f"input-format: found {file_format!r}, expected one of auto, {', '.join(FORMATS)}.")
    if list(names).count(STANDARD_INPUT) > 1:
        raise ConfigError("-: found twice, expected standard input once.")
    sources: dict[Path | None, Source] = {}  # by absolute path, so that ./a.csv and a.csv are one file
    for name in names:
        for path in [name] if name == STANDARD_INPUT else _files(name):
            source_format = format_of(path) if file_format == "auto" else file_format
            compressed = path.lower().endswith(".gz")
            if compressed and source_format == "parquet":
                raise ConfigError(f"{path}: a Parquet file in gzip, expected it uncompressed. Run: gunzip {path}")
            source = Source(path, source_format, compressed, _size_bytes(path))
            sources.setdefault(None if path == STANDARD_INPUT else Path(path).absolute(), source)
    return tuple(sources.values())


def _files(name: str) -> list[str]:
    path = Path(name)
    if os.path.isdir(name):  # noqa: PTH112 -- Path.is_dir raises if a parent is unreadable or the name too long
        files = [str(inner) for inner in sorted(path.rglob("*")) if _is_data(inner.relative_to(path), inner)]
        if not files:
            raise DataError(
                f"{name}: no file ending in {', '.join(_BY_ENDING)} (or these with .gz), expected at least one. "
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
    return not hidden and Path(_without_gz(path.name)).suffix.lower() in _BY_ENDING and path.is_file()


def _size_bytes(path: str) -> int:
    if path == STANDARD_INPUT:
        return 0
    try:
        status = Path(path).stat()
        if not os.access(path, os.R_OK):
            raise PermissionError(13, os.strerror(13))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}), expected a file. Check the path.") from error
    return status.st_size if Path(path).is_file() else 0


def _without_gz(name: str) -> str:
    return name[:-3] if name.lower().endswith(".gz") else name
