"""Reads labels from a file, and checks examples against them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.labels import LabelSet, label_set
from crosstune.core.strict_text import read_object
from crosstune.data.examples import Example


def read_labels(path: str | os.PathLike[str]) -> LabelSet:
    """Read ``label -> description`` (or a list of descriptions) from a .json or .toml file.

    Raises:
        DataError: The file cannot be read, or its labels cannot be used.
    """
    return label_set(read_object(Path(path), "label and description"), str(path))


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
