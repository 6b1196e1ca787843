"""Examples: a text, perhaps a second text, and its label; read from JSON Lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crosstune.core.errors import CrossTuneWarning, DataError, MissingExtraError
from crosstune.core.labels import INVISIBLE
from crosstune.core.strict_text import parse_json, read_bytes, read_text
from crosstune.core.token_layout import Text

MAX_FIELD_CHARACTERS = 1 << 20
#: Characters that no text may hold: controls, and the halves of a pair of which the other is missing.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Example:
    """A labelled text.

    Attributes:
        text: The text, or the first of a pair.
        label: Name of its class.
        text_pair: The second text of a pair, or None.
        line: Where it stood in its file, from 1; 0 when it comes from memory.
    """

    text: str
    label: str
    text_pair: str | None = None
    line: int = field(default=0, compare=False)

    @property
    def content(self) -> Text:
        """The text, or both texts, as a backbone takes them."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, or both texts."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)


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
    """Read examples as ``read_examples`` does, but a text may stand there any number of times, under any labels.

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


def check_fields(examples: Iterable[Example], where: str) -> None:
    """Refuse fields that are empty, too long, or hold what no file can: of examples that come from memory.

    Raises:
        DataError: There is such a field; the message names the example's line.
    """
    for example in examples:
        for name, value in (("text", example.text), ("label", example.label), ("text_pair", example.text_pair)):
            if value is not None:
                _check_field(value, name, f"{where}:{example.line}")


def without_duplicates(examples: Iterable[Example], where: str) -> tuple[Example, ...]:
    """Keep each text once.

    Raises:
        DataError: One text stands under two labels.
    """
    first: dict[Text, Example] = {}
    conflicts = []
    repeated = 0
    for example in examples:
        earlier = first.get(example.content)
        if earlier is None:
            first[example.content] = example
        elif earlier.label == example.label:
            repeated += 1
        else:
            conflicts.append((earlier, example))
    if conflicts:
        one, other = conflicts[0]
        more = f" and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
        raise DataError(
            f"{where}:{other.line}: the text {_short(other.text)} is labelled {other.label!r} here and {one.label!r} "
            f"in line {one.line}{more}. Keep one label for each text."
        )
    if repeated:
        warnings.warn(CrossTuneWarning(f"{where}: {repeated} repeated examples, each kept once."), stacklevel=2)
    return tuple(first.values())


def check_held_out(train: Sequence[Example], other: Sequence[Example], where: str) -> None:
    """Refuse to measure on texts that were trained on (compared after NFC, case folding and white space), or of another kind.

    Raises:
        DataError: At least one text stands in both, or some are pairs where those trained on are not, or the other way round.
    """
    single = {example.text_pair is None for example in train}
    odd = next((example for example in other if single and (example.text_pair is None) not in single), None)
    if odd is not None:
        found, expected = ("a pair", "single texts") if odd.text_pair is not None else ("a single text", "pairs")
        raise DataError(f"{where}:{odd.line}: {found}, expected {expected} as in training. Give the same kind.")
    seen = {_folded(example) for example in train}
    leaked = [example for example in other if _folded(example) in seen]
    if leaked:
        raise DataError(
            f"{where}:{leaked[0].line}: the text {_short(leaked[0].text)} is also a training text "
            f"({len(leaked)} such rows). Remove them from one of the files."
        )


def examples_digest(examples: Iterable[Example]) -> str:
    """SHA-256 (hex) of texts and labels, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example_line(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def example_line(example: Example) -> str:
    """The example as one line of JSON Lines, newline included."""
    return json.dumps(example_row(example), ensure_ascii=False) + "\n"


def example_row(example: Example) -> dict[str, str]:
    """The example's fields as they stand in a file; text_pair only where there is one."""
    row = {"text": example.text, "label": example.label}
    return row if example.text_pair is None else row | {"text_pair": example.text_pair}


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
        _check_field(value, name, where)
        values[name] = value
    return Example(values["text"], values["label"], values.get("text_pair"), line)


def _check_field(value: str, name: str, where: str) -> None:
    if len(value) > MAX_FIELD_CHARACTERS:
        raise DataError(
            f"{where}: {name} has {len(value)} characters, expected at most {MAX_FIELD_CHARACTERS}. Shorten or split it."
        )
    if INVISIBLE.fullmatch(value):
        raise DataError(f"{where}: {name} is empty, expected visible characters. Remove the row or fill it in.")
    found = FORBIDDEN.search(value)
    if found:
        what = "control character" if found[0] < "\x80" else "unpaired surrogate"
        raise DataError(f"{where}: {name} has the {what} U+{ord(found[0]):04X} at position {found.start()}. Remove it.")


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
            raise DataError(
                f"{source}:1: column {twice[0]!r} stands there more than once. Name each column differently."
            )
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


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _folded(example: Example) -> tuple[str, ...]:
    return tuple(" ".join(unicodedata.normalize("NFC", part).casefold().split()) for part in example.parts)
