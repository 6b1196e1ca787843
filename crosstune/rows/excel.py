"""The first sheet of an Excel workbook, as the CSV file that a spreadsheet would save."""

from __future__ import annotations

import csv
import datetime
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crosstune.core.errors import CrossTuneWarning, DataError, MissingExtraError
from crosstune.rows.lines import RawRow
from crosstune.rows.sources import STANDARD_INPUT, Source


def excel_rows(source: Source) -> Iterator[RawRow]:
    """Yield the rows of the first sheet as CSV with commas, numbered as in the sheet; empty rows are skipped.

    Raises:
        DataError: The file cannot be read, or is not an .xlsx workbook.
        MissingExtraError: openpyxl is not installed.
    """
    if source.path == STANDARD_INPUT:
        raise DataError("standard input: Excel, expected lines. Give the path of the file.")
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError(
            "openpyxl: not installed, expected for Excel. Run: pip install 'crosstune-export[excel]'"
        ) from error
    try:
        with Path(source.path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and extensions that do not matter here
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # some programs write wrong ones
            rows = list(enumerate(sheet.iter_rows(values_only=True), 1))
            others = [other.title for other in book.worksheets[1:]]
    except OSError as error:
        raise DataError(
            f"{source.name}: cannot be read ({error.strerror or error}), expected a file. Check the path."
        ) from error
    except Exception as error:  # openpyxl lets through those of zipfile, of its XML parser and of its own checks
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{source.name}: not an Excel workbook ({reason}). Save it as .xlsx or CSV.") from error
    if others:
        warnings.warn(
            CrossTuneWarning(
                f"{source.name}: only the first sheet, {sheet.title!r}, is read, not {', '.join(others)}."
            ),
            stacklevel=2,
        )
    width = 0
    for number, cells in rows:
        values = [_cell(cell) for cell in cells]
        if any(values):
            width = width or len(values)  # of the header; empty cells at the end of a row are not stored
            values += [""] * (width - len(values))
            sink = io.StringIO()
            csv.writer(sink, lineterminator="\r\n").writerow(values)
            yield RawRow(number, 0, sink.getvalue().encode("utf-8", "surrogatepass"))


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
