"""The file that a person fills in: texts labelled so far, and texts to label with the head's guess beside each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.labels import INVISIBLE
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.readers import GUESS
from crosstune.labelling.suggest import Suggestion
from crosstune.rows.decode import RowError, rows_of, text_value
from crosstune.rows.options import ReadOptions
from crosstune.rows.sources import source_at
from crosstune.rows.windows import read_windows

#: Columns of the probability of the head's guess, and of the round of labelling.
PROBABILITY, ROUND = "probability", "round"
ENDINGS = (".csv", ".jsonl")


def check_ending(path: Path) -> None:
    """Refuse an output that is neither CSV nor JSON Lines.

    Raises:
        ConfigError: The ending is another.
    """
    if path.suffix not in ENDINGS:
        raise ConfigError(f"{path}: ending {path.suffix!r}, expected .csv or .jsonl. Rename the output.")


def sheet(path: Path, labelled: Sequence[Example], rounds: Sequence[int], suggestions: Sequence[Suggestion]) -> str:
    """The file: labelled texts with their rounds, then the suggestions of the next round with an empty label.

    Args:
        path: Its ending decides the format, ``.csv`` or ``.jsonl``.
        labelled: N texts labelled so far.
        rounds: Their rounds, N numbers.
        suggestions: Texts to label.
    """
    upcoming = max(rounds, default=0) + 1
    rows: list[dict[str, object]] = [
        {**_texts(example.content), "label": example.label, GUESS: "", PROBABILITY: "", ROUND: number}
        for example, number in zip(labelled, rounds, strict=True)
    ]
    rows += [
        {**_texts(item.text), "label": "", GUESS: item.guess, PROBABILITY: round(item.prob, 4), ROUND: upcoming}
        for item in suggestions
    ]
    if path.suffix == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    body = io.StringIO()
    names = list(rows[0]) if rows else ["text", "label", GUESS, PROBABILITY, ROUND]
    writer = csv.DictWriter(body, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return body.getvalue()


def read_rounds(path: Path, reading: ReadOptions) -> dict[int, int]:
    """The round of each line of a file that has the column ``round``; other lines are missing."""
    source = source_at(str(path), reading, labelled=True)
    windows = read_windows(source, (reading.text_column,))
    numbers = ((line, str(fields.get(ROUND))) for window in windows for line, fields in rows_of(window, (ROUND,)))
    return {line: int(number) for line, number in numbers if number.isdecimal()}


def read_pool(path: Path, reading: ReadOptions) -> list[Text]:
    """Texts, or pairs, of a file in any format that ``crosstune-export classify`` reads. Blank texts are left out.

    Raises:
        DataError: The file cannot be read, has no text, or a text is no string.
        ConfigError: The ending is unknown.
    """
    texts: list[Text] = []
    columns = (reading.text_column, reading.pair_column)
    for window in read_windows(source_at(str(path), reading), columns[:1]):
        for line, fields in rows_of(window, columns):
            try:
                parts = [
                    text_value(fields, name, columns[:1]) for name in columns if fields.get(name) or name == columns[0]
                ]
            except RowError as error:
                raise DataError(f"{path}:{line}: {error}") from error
            if not INVISIBLE.fullmatch("".join(parts)):
                texts.append(parts[0] if len(parts) == 1 else (parts[0], parts[1]))
    if not texts:
        raise DataError(f"{path}: 0 texts, expected at least one. Check that it is the right file.")
    return texts


def _texts(text: Text) -> dict[str, object]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
