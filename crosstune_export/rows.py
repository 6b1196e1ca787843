"""Texts to classify, one at a time from a file or standard input."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from crosstune_export.errors import InputError
from crosstune_export.runtime.tokenization import Text

FORMATS = ("jsonl", "csv", "tsv", "text")


def format_of(name: str) -> str:
    """The format that a file's ending says; lines of text for any other.

    Example:
        >>> format_of("mails.jsonl"), format_of("notes.txt")
        ('jsonl', 'text')
    """
    ending = Path(name).suffix.lower()
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}.get(ending, "text")


def read_texts(lines: Iterable[bytes], where: str, file_format: str, text_pair: bool) -> Iterator[Text]:
    """Texts from lines of UTF-8.

    Args:
        lines: With or without their ends; a byte order mark is dropped, blank lines are skipped.
        where: What to call the source in messages.
        file_format: Out of ``FORMATS``.
        text_pair: Whether each text is two.

    Raises:
        InputError: A line is not UTF-8 or not a row of the format; the message has its number.
    """
    numbered = _decoded(lines, where)
    if file_format == "text":
        if text_pair:
            raise InputError(f"{where}: lines of text, expected pairs. Give JSON Lines with text and text_pair.")
        return (text for _, text in numbered if text.strip())
    if file_format == "jsonl":
        return _jsonl(numbered, where, text_pair)
    if file_format in ("csv", "tsv"):
        return _csv(numbered, where, "\t" if file_format == "tsv" else ",", text_pair)
    raise InputError(f"format: found {file_format!r}, expected one of {', '.join(FORMATS)}.")


def _decoded(lines: Iterable[bytes], where: str) -> Iterator[tuple[int, str]]:
    offset = 0
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{where}:{number}: byte 0x{line[error.start]:02x} at offset {offset + error.start} is not UTF-8. "
                "Save the file as UTF-8, for example with: iconv -f latin1 -t utf-8"
            ) from error
        offset += len(line)
        yield number, (text.removeprefix("\ufeff") if number == 1 else text).rstrip("\r\n")


def _jsonl(numbered: Iterable[tuple[int, str]], where: str, text_pair: bool) -> Iterator[Text]:
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            raise InputError(f"{where}:{number}: not valid JSON ({reason}). Correct the line.") from error
        yield _text(row if isinstance(row, dict) else {}, f"{where}:{number}", text_pair)


def _csv(numbered: Iterable[tuple[int, str]], where: str, delimiter: str, text_pair: bool) -> Iterator[Text]:
    reader = csv.reader((line + "\n" for _, line in numbered), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        for values in reader:
            if values:
                yield _text(dict(zip(header, values, strict=False)), f"{where}:{reader.line_num}", text_pair)
    except csv.Error as error:
        raise InputError(f"{where}:{reader.line_num}: not a row ({error}). Correct its quotes.") from error


def _text(row: dict[str, object], where: str, text_pair: bool) -> Text:
    names = ("text", "text_pair") if text_pair else ("text",)
    values = []
    for name in names:
        value = row.get(name)
        if not isinstance(value, str):
            found = ", ".join(map(repr, row)) or "none"
            raise InputError(
                f"{where}: no string {name!r}, found fields {found}. Give every row {' and '.join(names)}."
            )
        values.append(value)
    return (values[0], values[1]) if text_pair else values[0]
