"""What counts as texts: lists and columns of strings, without control characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Any

from crosstune.core.errors import DataError

#: Control characters that no text may hold: all but tab, line feed and carriage return.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def control_problem(text: str) -> str | None:
    r"""Describe the first control character of a text; None if it has none.

    Examples:
        >>> control_problem("a\x00b")
        'has the control character U+0000 at position 1. Remove it.'
    """
    found = CONTROL.search(text)
    return found and f"has the control character U+{ord(found[0]):04X} at position {found.start()}. Remove it."


def refuse_control_characters(texts: Iterable[object], what: str = "texts") -> None:
    """Refuse texts, or pairs of texts, with a control character; items that are no texts are left to others.

    Raises:
        DataError: There is one; the message names its index.
    """
    for index, text in enumerate(texts):
        for part in text if isinstance(text, (tuple, list)) else (text,):
            if isinstance(part, str) and (problem := control_problem(part)):
                raise DataError(f"{what}[{index}]: {problem}")


def as_list(values: object, what: str = "texts") -> list[Any]:
    """Return texts or labels as a list: a list, an array of one column, a table of one column, a column of a table.

    Tables and mappings are iterated by their column names or keys, so that these would be taken for texts.

    Examples:
        >>> import numpy as np
        >>> as_list(np.array([["where is it"], ["thanks"]]))
        ['where is it', 'thanks']

    Args:
        values: What the caller gave.
        what: Name of the argument in messages.

    Raises:
        DataError: It is one string, a mapping, a set, or a table with several columns.
    """
    if isinstance(values, (str, bytes)):
        raise DataError(f"{what}: found one string, expected a list of strings. Put it into a list.")
    names = _column_names(values)
    if names is not None:
        if len(names) != 1:
            listed = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
            column = repr(names[0]) if names else "..."
            raise DataError(
                f"{what}: found a table with the columns {listed or 'none'}, expected a list or one column. "
                f"Pass one column, such as df[{column}]."
            )
        values = values[names[0]]  # type: ignore[index]
    if isinstance(values, Mapping):
        key = next(iter(values), "text")
        raise DataError(f"{what}: found a mapping, expected a list. Pass the values of one key, such as data[{key!r}].")
    if isinstance(values, Set):
        raise DataError(f"{what}: found a set, which has no order, expected a list. Pass sorted(...) of it.")
    shape = getattr(values, "shape", ())
    if isinstance(shape, tuple) and len(shape) > 1:
        if len(shape) > 2 or shape[1] != 1:
            size = " x ".join(map(str, shape))
            raise DataError(f"{what}: found an array of {size}, expected one column. Pass one, such as X[:, 0].")
        values = values[:, 0]  # type: ignore[index]
    for method in ("to_pylist", "tolist", "to_list"):  # of pyarrow, of numpy and pandas, of polars
        if hasattr(values, method):
            return list(getattr(values, method)())
    if not isinstance(values, Iterable):
        raise DataError(f"{what}: found {type(values).__name__}, expected a list.")
    return list(values)


def _column_names(values: object) -> list[Any] | None:
    """Return the column names of a table of pandas, polars, pyarrow, datasets or numpy; None for anything else."""
    for name in ("column_names", "columns"):
        columns = getattr(values, name, None)
        if columns is not None and not callable(columns):
            return list(columns)
    fields = getattr(getattr(values, "dtype", None), "names", None)
    return None if fields is None else list(fields)
