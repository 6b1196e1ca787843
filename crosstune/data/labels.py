"""Reads labels from a file, and checks examples against them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from crosstune.core.checkpoint_folder import read_files, state_of
from crosstune.core.errors import ConfigError, CrossTuneWarning, DataError
from crosstune.core.labels import LabelSet, label_set
from crosstune.core.strict_text import read_object
from crosstune.data.examples import Example
from crosstune.rows.decode import RowError, label_value, rows_of, text_value
from crosstune.rows.options import DEFAULT_READING, ReadOptions
from crosstune.rows.sources import source_at
from crosstune.rows.windows import read_windows


def read_labels(path: str | os.PathLike[str], options: ReadOptions | None = None) -> LabelSet:
    """Read labels and their descriptions.

    A .json or .toml file maps each label to a description or a list of descriptions. A table (.csv, .tsv, .parquet, .xlsx) or
    .jsonl file has the columns ``label`` and ``description``; a label in several rows has several descriptions. A checkpoint
    has its own labels.

    Args:
        path: The file, or the folder of a checkpoint.
        options: Delimiter and encoding of a table; recognised when None.

    Raises:
        DataError: The file cannot be read, or its labels cannot be used.
        ConfigError: The ending is unknown.
        CheckpointError: The folder is not a usable checkpoint.
    """
    source = Path(path)
    if source.is_dir():
        labels = state_of(read_files(source), source).get("labels")
        return label_set(labels if isinstance(labels, dict) else {}, str(source))
    if source.suffix.lower() in (".json", ".toml"):
        return label_set(read_object(source, "label and description"), str(source))
    return label_set(_described(source, options or DEFAULT_READING), str(source))


def labels_of(names: Iterable[str], where: str) -> LabelSet:
    """Return the labels that examples have, sorted; each name, with spaces for underscores, is its description.

    Args:
        names: Labels of the examples, any number of times each.
        where: What to call the examples in messages.

    Raises:
        DataError: There are fewer than two, or they cannot be used.
    """
    return label_set({name: name.replace("_", " ") for name in sorted(set(names))}, where)


def _described(path: Path, options: ReadOptions) -> dict[str, list[str]]:
    if path.suffix.lower() not in (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".jsonlines", ".parquet", ".xlsx"):
        raise ConfigError(
            f"{path}: ending {path.suffix!r}, expected .json, .toml, .csv, .tsv, .jsonl, .parquet or .xlsx. "
            "Convert the file, or leave out --labels: the names are then the descriptions."
        )
    columns = ReadOptions("description", "label", delimiter=options.delimiter, encoding=options.encoding)
    described: dict[str, list[str]] = {}
    source = source_at(str(path), columns, labelled=True)
    for window in read_windows(source, ("label", "description")):
        for line, fields in rows_of(window, ("label", "description")):
            try:
                name = label_value(fields, "label", ("label", "description"))
                described.setdefault(name, []).append(text_value(fields, "description", ("label", "description")))
            except RowError as error:
                raise DataError(f"{path}:{line}: {error}") from error
    return described


def check_labels(
    examples: Sequence[Example], labels: LabelSet, where: str, *, expect_every_label: bool = False
) -> None:
    """Check that every example's label is known, and warn of labels without an example.

    Args:
        examples: What to check.
        labels: The task's labels.
        where: What to call the examples in messages.
        expect_every_label: Warn of labels that have no example.

    Raises:
        DataError: A label is not in the label set.
    """
    known = set(labels.names)
    unknown = [example for example in examples if example.label not in known]
    if unknown:
        first = unknown[0]
        raise DataError(
            f"{where}:{first.line}: label {first.label!r} is not one of {_listed(labels.names)} "
            f"({len(unknown)} such rows). Describe that label too, or correct the rows."
        )
    if expect_every_label:
        counts = Counter(example.label for example in examples)
        without = [name for name in labels.names if counts[name] == 0]
        if without:
            warnings.warn(
                CrossTuneWarning(f"{where}: no example of {_listed(without)}; known by description only."), stacklevel=2
            )


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
