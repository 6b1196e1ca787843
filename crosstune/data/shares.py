"""Reads how frequent each label is, in use or in a log, and checks it against the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.strict_text import read_object


def read_shares(value: str, words: Sequence[str]) -> object:
    """A setting of shares from a command line: one of some words, or what a .json or .toml file holds.

    Raises:
        DataError: The file cannot be read, or is no object of label and share.
    """
    return value if value in words else read_object(Path(value), "label and share")


def check_shares(setting: str, expected: str | Mapping[str, float], labels: LabelSet) -> None:
    """Check that shares are given for the labels of a task, for all of them and no others.

    Examples:
        >>> labels = LabelSet.from_mapping({"spam": "an unwanted message", "ham": "a message from a friend"})
        >>> check_shares("expected_shares", {"spam": 0.2, "ham": 0.8}, labels)

    Raises:
        DataError: A label has no share, or a share belongs to no label.
    """
    if isinstance(expected, str):
        return
    missing = [name for name in labels.names if name not in expected]
    unknown = [name for name in expected if name not in labels.names]
    if missing or unknown:
        found = f"no share for label {missing[0]!r}" if missing else f"a share for {unknown[0]!r}, which is no label"
        raise DataError(f"{setting}: {found}, expected one for each of the {len(labels)} labels. Correct it.")
