"""Reads examples from files of rows."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.labels import LabelSet
from crosstune.data.checks import check_field, without_duplicates
from crosstune.data.examples import Example
from crosstune.data.labels import labels_of, read_labels
from crosstune.rows.decode import RowError, label_value, rows_of, text_value
from crosstune.rows.options import DEFAULT_READING, ReadOptions
from crosstune.rows.sources import source_at
from crosstune.rows.windows import read_windows

#: Column of the head's guess in a file that ``crosstune suggest`` wrote; a row with this column may still have no label.
GUESS = "guess"


def read_examples(
    path: str | os.PathLike[str], options: ReadOptions | None = None, *, on_conflict: str = "fail"
) -> tuple[Example, ...]:
    r"""Read examples to train on; the file's ending names the format (.jsonl, .json, .csv, .tsv, .parquet, .xlsx, also .gz).

    Blank lines are skipped, and with a warning rows of ``crosstune suggest`` that nobody has labelled yet. The same text with the
    same label twice is kept once, with a warning.

    Examples:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.csv"
        >>> _ = path.write_text("Message;Topic\nwhere is it;shipping\nthanks;praise\n")
        >>> options = ReadOptions(text_column="Message", label_column="Topic")
        >>> [example.label for example in read_examples(path, options)]
        ['shipping', 'praise']

    Args:
        path: The file.
        options: Its columns, delimiter, encoding and format; recognised when None.
        on_conflict: What to do with a text that has several labels: ``fail``, ``drop`` it, or keep it with its most frequent
            label (``majority``).

    Raises:
        DataError: The file is missing, empty, not UTF-8, has a bad row, or gives a text two labels; the message names file and
            line.
        ConfigError: The ending is unknown, or ``on_conflict``.
        MissingExtraError: A Parquet or Excel file, and pyarrow or openpyxl is not installed.
    """
    return without_duplicates(read_rows(path, options), str(path), on_conflict)


def read_task(
    train: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    options: ReadOptions | None = None,
    *,
    on_conflict: str = "fail",
) -> tuple[LabelSet, tuple[Example, ...]]:
    """Read the labels and the examples of a task.

    Args:
        train: File of examples.
        labels: File of labels; None for the labels of the examples, whose names are then their descriptions.
        options: How to read both.
        on_conflict: As of ``read_examples``.

    Raises:
        DataError: A file cannot be read, or its rows cannot be used.
        ConfigError: An ending is unknown.
        MissingExtraError: A package that a format needs is not installed.
    """
    described = None if labels is None else read_labels(labels, options)
    examples = read_examples(train, options, on_conflict=on_conflict)
    return described or labels_of((example.label for example in examples), str(train)), examples


def read_rows(path: str | os.PathLike[str], options: ReadOptions | None = None) -> tuple[Example, ...]:
    """Read examples as ``read_examples`` does, but keep repeated texts, whatever their labels.

    Raises:
        DataError: The file is missing, empty, not UTF-8, or has a bad row; the message names file and line.
        ConfigError: The ending is unknown.
        MissingExtraError: A Parquet or Excel file, and pyarrow or openpyxl is not installed.
    """
    options = options or DEFAULT_READING
    source = source_at(os.fspath(path), options, labelled=True)
    needed = [options.text_column, options.label_column]
    if options.pair_column != ReadOptions.pair_column:  # named by the user, and so expected
        needed.append(options.pair_column)
    examples, waiting = [], 0
    for window in read_windows(source, needed):
        for line, fields in rows_of(window, (*needed, options.pair_column, GUESS)):
            if GUESS in fields and fields.get(options.label_column) in (None, ""):
                waiting += 1
            else:
                examples.append(_example(fields, options, f"{source.name}:{line}", line, is_table=bool(window.header)))
    if waiting:
        warnings.warn(CrossTuneWarning(f"{source.name}: {waiting} rows without a label, skipped."), stacklevel=2)
    if not examples:
        raise DataError(f"{source.name}: 0 examples, expected at least one. Check that it is the right file.")
    if len({example.text_pair is None for example in examples}) > 1:
        odd = next(example for example in examples if example.text_pair is None)
        raise DataError(
            f"{source.name}:{odd.line}: no {options.pair_column} where other rows have one. Give every row one, or none."
        )
    return tuple(examples)


def _example(fields: Mapping[str, object], options: ReadOptions, where: str, line: int, *, is_table: bool) -> Example:
    text, label, pair = options.text_column, options.label_column, options.pair_column
    has_pair = fields.get(pair) is not None and not (is_table and fields[pair] == "")
    try:
        example = Example(
            text_value(fields, text, (text, label)),
            label_value(fields, label, (text, label)),
            text_value(fields, pair, (text, label, pair)) if has_pair else None,
            line,
        )
    except RowError as error:
        raise DataError(f"{where}: {error}") from error
    for name, value in ((text, example.text), (label, example.label), (pair, example.text_pair)):
        if value is not None:
            check_field(value, name, where)
    return example
