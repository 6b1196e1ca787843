"""Checks of examples: unusable fields, repeated texts, and test texts that were trained on."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence

from crosstune.core.errors import ConfigError, CrossTuneWarning, DataError
from crosstune.core.labels import INVISIBLE
from crosstune.core.texts import CONTROL
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example

#: Most characters of a text, a label or a second text: longer fields are a sign of an unclosed quote or of a wrong file.
MAX_FIELD_CHARACTERS = 1 << 20
#: What to do with a text that has several labels.
ON_CONFLICT = ("fail", "drop", "majority")
#: Control characters and unpaired surrogates, which no text may hold.
FORBIDDEN = re.compile(CONTROL.pattern + r"|[\ud800-\udfff]")


def check_fields(examples: Iterable[Example], where: str) -> None:
    """Refuse fields that are empty, too long, or hold what no file can.

    Raises:
        DataError: There is such a field; the message names the example's line.
    """
    for example in examples:
        for name, value in (("text", example.text), ("label", example.label), ("text_pair", example.text_pair)):
            if value is not None:
                check_field(value, name, f"{where}:{example.line}")


def without_duplicates(examples: Iterable[Example], where: str, on_conflict: str = "fail") -> tuple[Example, ...]:
    """Keep each text once.

    Args:
        examples: Examples, in the order of their file.
        where: What to call them in messages, usually a path.
        on_conflict: What to do with a text that has several labels: ``fail``, ``drop`` it, or keep it with its most frequent
            label (``majority``; dropped when two are equally frequent).

    Raises:
        DataError: One text has two labels, and ``on_conflict`` is ``fail``.
        ConfigError: ``on_conflict`` is unknown.
    """
    if on_conflict not in ON_CONFLICT:
        raise ConfigError(f"--on-conflict: found {on_conflict!r}, expected one of {', '.join(ON_CONFLICT)}.")
    groups = _by_text(examples)
    conflicts = [rows for rows in groups.values() if len({row.label for row in rows}) > 1]
    if conflicts and on_conflict == "fail":
        raise DataError(
            f"{where}: {_plural(len(conflicts), 'text has', 'texts have')} more than one label: "
            f"{_listed_conflicts(conflicts)}. Keep one label for each text, or pass --on-conflict drop or majority."
        )
    kept = [row for rows in groups.values() if (row := _one_of(rows, on_conflict)) is not None]
    repeated = sum(len(rows) - 1 for rows in groups.values()) - sum(len(rows) - 1 for rows in conflicts)
    if conflicts:
        dropped = len(groups) - len(kept)
        _warn(
            f"{where}: {_plural(len(conflicts), 'text has', 'texts have')} more than one label; "
            f"{len(conflicts) - dropped} kept with the most frequent one, {dropped} dropped: {_listed_conflicts(conflicts)}."
        )
    if repeated:
        _warn(f"{where}: {repeated} repeated examples, each kept once.")
    return tuple(kept)


def measured_rows(
    train: Sequence[Example], rows: Sequence[Example], where: str, *, strict: bool = False
) -> tuple[tuple[Example, ...], list[str]]:
    """Return the rows to measure on, as they stand in their file, without those whose texts were trained on.

    Args:
        train: Examples that were trained on.
        rows: Labelled rows, at least one.
        where: What to call them in messages, usually a path.
        strict: Refuse rows whose texts were trained on.

    Returns:
        The rows, and notes about them for people.

    Raises:
        DataError: No row is left, a row was trained on and ``strict`` is on, or pairs and single texts are mixed.
    """
    if strict:
        check_held_out(train, rows, where)
    _check_kind(train, rows, where)
    trained_on = {_normalized(example) for example in train}
    kept = tuple(row for row in rows if _normalized(row) not in trained_on)
    if not kept:
        raise DataError(
            f"{where}: all {len(rows)} rows are training texts, expected others. Give texts that were held out."
        )
    notes = []
    if left_out := len(rows) - len(kept):
        notes.append(
            f"{where}: {_plural(left_out, 'row is a training text', 'rows are training texts')} and not measured."
        )
    groups = _by_text(kept).values()
    contradicting = [found for found in groups if len({row.label for row in found}) > 1]
    if contradicting:
        count = sum(map(len, contradicting))
        notes.append(
            f"{where}: {count} rows contradict each other (one text under several labels), all measured: "
            f"{_listed_conflicts(contradicting, 3)}."
        )
    if repeated := len(kept) - len({(row.content, row.label) for row in kept}):
        notes.append(
            f"{where}: {_plural(repeated, 'row repeats an earlier one', 'rows repeat earlier ones')}, all measured."
        )
    return kept, notes


def check_held_out(train: Sequence[Example], other: Sequence[Example], where: str) -> None:
    """Refuse to measure on texts that were trained on (compared after NFC, case folding and white space), or of another kind.

    Raises:
        DataError: At least one text is in both, or one of the two has pairs and the other single texts.
    """
    _check_kind(train, other, where)
    trained_on = {_normalized(example) for example in train}
    leaked = [example for example in other if _normalized(example) in trained_on]
    if leaked:
        raise DataError(
            f"{where}:{leaked[0].line}: the text {_short(leaked[0].text)} is also a training text "
            f"({len(leaked)} such rows). Remove them from one of the files."
        )


def _check_kind(train: Sequence[Example], other: Sequence[Example], where: str) -> None:
    single = {example.text_pair is None for example in train}
    odd = next((example for example in other if single and (example.text_pair is None) not in single), None)
    if odd is not None:
        kind, expected = ("a pair", "single texts") if odd.text_pair is not None else ("a single text", "pairs")
        raise DataError(f"{where}:{odd.line}: {kind}, expected {expected} as in training. Give the same kind.")


def _by_text(examples: Iterable[Example]) -> dict[Text, list[Example]]:
    groups: dict[Text, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.content, []).append(example)
    return groups


def _one_of(rows: Sequence[Example], on_conflict: str) -> Example | None:
    """Return the example to keep of those with one text; None to drop them."""
    counts = Counter(row.label for row in rows).most_common(2)
    if len(counts) == 1:
        return rows[0]
    if on_conflict == "drop" or counts[0][1] == counts[1][1]:
        return None
    return next(row for row in rows if row.label == counts[0][0])


def _listed_conflicts(conflicts: Sequence[Sequence[Example]], most: int = 20) -> str:
    shown = []
    for rows in conflicts[:most]:
        lines: dict[str, list[str]] = {}
        for row in rows:
            lines.setdefault(row.label, []).append(str(row.line))
        labels = ", ".join(f"{label!r} in line {' and '.join(found[:3])}" for label, found in lines.items())
        shown.append(f"{_short(rows[0].text)} ({labels})")
    return "; ".join(shown) + (f"; and {len(conflicts) - most} more" if len(conflicts) > most else "")


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _warn(message: str) -> None:
    warnings.warn(CrossTuneWarning(message), stacklevel=3)


def check_field(value: str, name: str, where: str) -> None:
    """Refuse a field that is empty, too long, or holds what no file can.

    Args:
        value: The text of the field.
        name: Its name.
        where: File and line.

    Raises:
        DataError: The field cannot be used.
    """
    if len(value) > MAX_FIELD_CHARACTERS:
        raise DataError(
            f"{where}: {name} has {len(value)} characters, expected at most {MAX_FIELD_CHARACTERS}. Shorten or split it."
        )
    if INVISIBLE.fullmatch(value):
        raise DataError(f"{where}: {name} is empty, expected visible characters. Remove the row or fill it in.")
    forbidden = FORBIDDEN.search(value)
    if forbidden:
        what = "control character" if forbidden[0] < "\ud800" else "unpaired surrogate"
        raise DataError(
            f"{where}: {name} has the {what} U+{ord(forbidden[0]):04X} at position {forbidden.start()}. Remove it."
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _normalized(example: Example) -> tuple[str, ...]:
    return tuple(" ".join(unicodedata.normalize("NFC", part).casefold().split()) for part in example.parts)
