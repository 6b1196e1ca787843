"""Checks of examples: unusable fields, repeated texts, and test texts that were trained on."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Sequence

from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.labels import INVISIBLE
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example

#: Most characters of a text, a label or a second text: longer fields are a sign of an unclosed quote or of a wrong file.
MAX_FIELD_CHARACTERS = 1 << 20
#: Control characters and unpaired surrogates, which no text may hold.
FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def check_fields(examples: Iterable[Example], where: str) -> None:
    """Refuse fields that are empty, too long, or hold what no file can.

    Raises:
        DataError: There is such a field; the message names the example's line.
    """
    for example in examples:
        for name, value in (("text", example.text), ("label", example.label), ("text_pair", example.text_pair)):
            if value is not None:
                check_field(value, name, f"{where}:{example.line}")


def without_duplicates(examples: Iterable[Example], where: str) -> tuple[Example, ...]:
    """Keep each text once.

    Raises:
        DataError: One text has two labels.
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
        DataError: At least one text is in both, or one of the two has pairs and the other single texts.
    """
    single = {example.text_pair is None for example in train}
    odd = next((example for example in other if single and (example.text_pair is None) not in single), None)
    if odd is not None:
        kind, expected = ("a pair", "single texts") if odd.text_pair is not None else ("a single text", "pairs")
        raise DataError(f"{where}:{odd.line}: {kind}, expected {expected} as in training. Give the same kind.")
    trained_on = {_normalized(example) for example in train}
    leaked = [example for example in other if _normalized(example) in trained_on]
    if leaked:
        raise DataError(
            f"{where}:{leaked[0].line}: the text {_short(leaked[0].text)} is also a training text "
            f"({len(leaked)} such rows). Remove them from one of the files."
        )


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
        what = "control character" if forbidden[0] < "\x80" else "unpaired surrogate"
        raise DataError(
            f"{where}: {name} has the {what} U+{ord(forbidden[0]):04X} at position {forbidden.start()}. Remove it."
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _normalized(example: Example) -> tuple[str, ...]:
    return tuple(" ".join(unicodedata.normalize("NFC", part).casefold().split()) for part in example.parts)
