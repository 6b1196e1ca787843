"""Reads examples from JSON Lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from crosstune.core.errors import DataError, MissingExtraError
from crosstune.core.strict_text import parse_json, read_bytes, read_text
from crosstune.data.checks import MAX_FIELD_CHARACTERS, check_field, without_duplicates
from crosstune.data.examples import Example


def read_examples(path: str | os.PathLike[str]) -> tuple[Example, ...]:
    r"""Read examples; the file's ending names the format (.jsonl, .csv, .tsv, .parquet).

    A byte order mark and CRLF are accepted, blank lines skipped. The same text with the same label twice is kept once,
    with a warning.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.jsonl"
        >>> _ = path.write_text('{"text": "where is it", "label": "shipping"}\n{"text": "thanks", "label": "praise"}\n')
        >>> [example.label for example in read_examples(path)]
        ['shipping', 'praise']

    Raises:
        DataError: The file is missing, empty, not UTF-8, or has a bad row; the message names file and line.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    return without_duplicates(read_rows(path), str(path))


def read_rows(path: str | os.PathLike[str]) -> tuple[Example, ...]:
    """Read examples as ``read_examples`` does, but keep repeated texts, whatever their labels.

    Raises:
        DataError: The file is missing, empty, not UTF-8, or has a bad row; the message names file and line.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    source = Path(path)
    readers = {
        ".jsonl": _jsonl_rows,
        ".ndjson": _jsonl_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise DataError(
            f"{source}: ending {source.suffix!r}, expected one of {', '.join(readers)}. Rename or convert the file."
        )
    examples = [_example(row, source, line) for line, row in reader(source)]
    if not examples:
        raise DataError(f"{source}: 0 examples, expected at least one. Check that it is the right file.")
    if len({example.text_pair is None for example in examples}) > 1:
        odd = next(example for example in examples if example.text_pair is None)
        raise DataError(f"{source}:{odd.line}: no text_pair where other rows have one. Give every row one, or none.")
    return tuple(examples)


def _example(row: Mapping[str, object], source: Path, line: int) -> Example:
    where = f"{source}:{line}"
    values = {}
    for name in ("text", "label", "text_pair"):
        value = row.get(name)
        if value is None:
            if name == "text_pair":
                continue
            if name in row:
                raise DataError(f"{where}: {name} is null, expected a string. Remove the row or fill it in.")
            raise DataError(f"{where}: no field {name!r}, found {_names(row)}. Give every row text and label.")
        if not isinstance(value, str):
            raise DataError(f"{where}: {name} is {value!r:.80}, expected a string. Put it in quotes.")
        check_field(value, name, where)
        values[name] = value
    return Example(values["text"], values["label"], values.get("text_pair"), line)


def _jsonl_rows(source: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, text in enumerate(read_text(source).replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if not text.strip():
            continue
        row = parse_json(text, f"{source}:{line}")
        if not isinstance(row, dict):
            raise DataError(
                f'{source}:{line}: found {type(row).__name__}, expected an object such as {{"text": "…", "label": "…"}}. '
                "Correct the line."
            )
        yield line, row


def _csv_rows(source: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    text = read_text(source)
    start = 1
    rows: list[tuple[int, Mapping[str, object]]] = []
    limit = csv.field_size_limit(2 * MAX_FIELD_CHARACTERS)
    try:
        delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = next(reader, [])
        if "text" not in header or "label" not in header:
            raise DataError(
                f"{source}:1: columns {', '.join(header) or 'none'}, expected text and label. Name them in the first line."
            )
        twice = [name for name, count in Counter(header).items() if count > 1]
        if twice:
            raise DataError(f"{source}:1: column {twice[0]!r} appears more than once. Name each column differently.")
        start = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise DataError(
                    f"{source}:{start}: {len(row)} columns, expected {len(header)} ({', '.join(header)}). "
                    "Quote texts that hold the separator."
                )
            if row:
                values = {name: value for name, value in zip(header, row, strict=True) if value or name != "text_pair"}
                rows.append((start, values))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}:{start}: the row that starts here cannot be read ({error}). Close its quotes."
        ) from error
    finally:
        csv.field_size_limit(limit)  # the interpreter's: nothing may run while it is ours
    return iter(rows)


def _parquet_rows(source: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow: not installed, expected for Parquet. Run: pip install 'crosstune-export[train]'"
        ) from error
    data = read_bytes(source)
    try:
        table = parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{source}: not a Parquet file ({reason}). Check the format.") from error
    yield from enumerate(table.to_pylist(), 1)


def _names(row: Mapping[str, object]) -> str:
    return ", ".join(repr(name) for name in row) or "none"
