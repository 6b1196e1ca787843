"""The header of a CSV or TSV file: its delimiter and its column names.

The delimiter is recognised by the header alone, as the one that yields the columns that are needed. Guessing it from the
texts, as ``csv.Sniffer`` does, takes punctuation for delimiters.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from crosstune.core.errors import DataError
from crosstune.rows.lines import parse_csv
from crosstune.rows.options import ReadOptions

DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}


def delimiter_line(text: str) -> str | None:
    """Return the delimiter that a line ``sep=;`` names, which spreadsheets write before the header; None for other lines."""
    line = text.rstrip("\r\n").strip('"')
    return line[4:] if len(line) == 5 and line[:4].lower() == "sep=" else None


def parse_header(
    text: str, needed: Sequence[str], options: ReadOptions, usual: str, given: str | None, where: str
) -> tuple[str, tuple[str, ...]]:
    """Return the delimiter and the column names of a header; empty names at its end are dropped.

    Args:
        text: The header.
        needed: Columns that it must have.
        options: Names the roles of the columns.
        usual: Delimiter to prefer, by the ending of the file.
        given: The delimiter, if it is known.
        where: File and line, for messages.

    Raises:
        DataError: A column is missing or appears twice, several delimiters would do, or the header is not valid.
    """
    candidates = [given] if given is not None else sorted(DELIMITERS, key=lambda delimiter: delimiter != usual)
    headers: dict[str, list[str]] = {}
    reason = ""
    for delimiter in candidates:
        try:
            headers[delimiter] = _named(parse_csv([text], delimiter))
        except csv.Error as error:
            reason = reason or str(error)
    if not headers:
        raise DataError(f"{where}: not a valid header ({reason}). Correct its quotes.")
    complete = _complete(headers, needed)
    if not complete and given is None:
        others = set(text).difference(candidates, ' _"-.\r\n')
        unusual = _complete({mark: text.split(mark) for mark in others if not mark.isalnum()}, needed)
        if unusual:
            raise DataError(
                f"{where}: columns separated by {unusual[0]!r}, expected a usual delimiter. Give --delimiter {unusual[0]!r}."
            )
    if not complete:
        best = max(headers, key=lambda key: (len(set(needed) & set(headers[key])), len(headers[key])))
        raise DataError(missing_column(where, headers[best], needed, options, best if best != usual else None))
    chosen = complete[0]
    if chosen != usual and len(complete) > 1:
        kinds = " or ".join(_NAMES[delimiter] for delimiter in complete)
        raise DataError(f"{where}: columns separated by {kinds}, expected one of them. Give --delimiter.")
    check_columns(where, headers[chosen])
    return chosen, tuple(headers[chosen])


def check_columns(where: str, names: Sequence[str]) -> None:
    """Refuse a column name that appears twice.

    Raises:
        DataError: There is one.
    """
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        raise DataError(f"{where}: column {twice!r} appears more than once. Name each column differently.")


def missing_column(
    where: str, names: Sequence[str], needed: Sequence[str], options: ReadOptions, delimiter: str | None = None
) -> str:
    """Return the message for columns that are missing, with the options that would name them.

    Examples:
        >>> missing_column("a.csv:1", ["Text", "kind"], ["text", "label"], ReadOptions())
        "a.csv:1: columns 'Text', 'kind', expected 'text' and 'label'. Did you mean --text-column Text? Give also --label-column."
    """
    found = ", ".join(map(repr, names)) or "none"
    separated = f" separated by {_NAMES.get(delimiter, repr(delimiter))}" if delimiter and len(names) > 1 else ""
    option_of = {
        options.text_column: "--text-column",
        options.label_column: "--label-column",
        options.pair_column: "--pair-column",
    }
    meant, unknown = [], []
    for column in (column for column in needed if column not in names):
        option = option_of.get(column, "--text-column")
        twin = _similar(column, [name for name in names if name not in needed])
        if twin is None:
            unknown.append(option)
        else:
            meant.append(f"{option} {twin if twin.isidentifier() else repr(twin)}")
    advice = f"Did you mean {' '.join(meant)}?" if meant else ""
    if unknown:
        advice += f"{' Give also' if meant else 'Name them with' if len(unknown) > 1 else 'Name it with'} {' and '.join(unknown)}."
    return f"{where}: columns {found}{separated}, expected {' and '.join(map(repr, needed))}. {advice}"


def _complete(headers: Mapping[str, Sequence[str]], needed: Sequence[str]) -> list[str]:
    return [delimiter for delimiter, names in headers.items() if set(needed) <= set(names)]


def _named(names: list[str]) -> list[str]:
    while names and not names[-1].strip():
        names = names[:-1]
    return names


def _similar(column: str, names: Sequence[str]) -> str | None:
    folded = {name.strip().casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(column.strip().casefold(), folded, n=1, cutoff=0.7)
    return folded[close[0]] if close else None
