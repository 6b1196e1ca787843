"""Labels and the sentences that describe them. The order of a LabelSet is the class index."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.strict_text import Json, parse_json, read_text
from crosstune.data.examples import INVISIBLE, Example


@dataclass(frozen=True)
class Label:
    """A class: its name and one or more sentences that say what belongs to it."""

    name: str
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """The classes of a task, in the order of their index.

    Example:
        >>> labels = LabelSet.from_mapping({"shipping": "where a parcel is", "praise": "thanks and compliments"})
        >>> labels.names, labels.index("praise")
        (('shipping', 'praise'), 1)

    Raises:
        DataError: Fewer than two labels, an empty name or description, a name with a NUL, or two names that read alike.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        require_usable(self.labels, "labels")  # refuses, and leaves warnings to what reads labels first

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str | Sequence[str]]) -> LabelSet:
        """Labels from ``name -> description`` or ``name -> [description, ...]``."""
        labels = cls(tuple(_label(name, value, "labels") for name, value in mapping.items()))
        _warn(labels.labels, "labels")
        return labels

    @property
    def names(self) -> tuple[str, ...]:
        """Label names, in order."""
        return tuple(label.name for label in self.labels)

    def index(self, name: str) -> int:
        """Class index of a label.

        Raises:
            ValueError: There is no such label.
        """
        return self.names.index(name)

    def indices(self, examples: Iterable[Example]) -> list[int]:
        """Class index of each example's label."""
        table = {name: i for i, name in enumerate(self.names)}
        return [table[example.label] for example in examples]

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)


def read_labels(path: str | os.PathLike[str]) -> LabelSet:
    """Read ``label -> description`` (or a list of descriptions) from a .json or .toml file.

    Raises:
        DataError: The file cannot be read, or its labels cannot be used.
    """
    source = Path(path)
    text = read_text(source)
    body = _parse_toml(text, source) if source.suffix.lower() == ".toml" else parse_json(text, str(source))
    if not isinstance(body, dict):
        raise DataError(
            f"{source}: found {type(body).__name__}, expected an object of label and description. Correct it."
        )
    labels = [_label(name, value, str(source)) for name, value in body.items()]
    require_usable(labels, str(source))
    _warn(labels, str(source))
    return LabelSet(tuple(labels))


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


def require_usable(labels: Sequence[Label], where: str) -> None:
    """Refuse labels that cannot be used together.

    Raises:
        DataError: Fewer than two, an empty name or description, a name with a NUL, an unpaired surrogate, or names that
            read alike.
    """
    if len(labels) < 2:
        raise DataError(f"{where}: {len(labels)} labels, expected at least 2. Add labels with descriptions.")
    folded: dict[str, str] = {}
    for label in labels:
        if not isinstance(label.name, str) or INVISIBLE.fullmatch(label.name):
            raise DataError(f"{where}: a label's name is {label.name!r}, expected visible characters. Name it.")
        if "\0" in label.name:
            raise DataError(f"{where}: label {label.name!r} has a NUL in its name. Remove it.")
        if not label.descriptions or any(map(INVISIBLE.fullmatch, label.descriptions)):
            raise DataError(f"{where}: the description of {label.name!r} is empty, expected a sentence. Write one.")
        key = unicodedata.normalize("NFC", label.name).casefold().strip()
        if key in folded:
            raise DataError(
                f"{where}: labels {folded[key]!r} ({_code_points(folded[key])}) and {label.name!r} "
                f"({_code_points(label.name)}) read alike. Rename one."
            )
        folded[key] = label.name
        for text in (label.name, *label.descriptions):
            lone = next((character for character in text if unicodedata.category(character) == "Cs"), None)
            if lone is not None:
                raise DataError(
                    f"{where}: label {label.name!r} has the unpaired surrogate U+{ord(lone):04X}. Remove it."
                )


def _label(name: str, value: object, where: str) -> Label:
    descriptions = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else [value]
    texts = tuple(item for item in descriptions if isinstance(item, str))
    if not texts or len(texts) != len(descriptions):
        raise DataError(
            f"{where}: the description of {name!r} is {value!r:.80}, expected a sentence or a list of them. Correct it."
        )
    return Label(name, texts)


def _warn(labels: Sequence[Label], where: str) -> None:
    described: dict[tuple[str, ...], str] = {}
    for label in labels:
        hidden = [character for character in label.name if unicodedata.category(character) in ("Cf", "Cc")]
        if hidden:
            warnings.warn(
                CrossTuneWarning(f"{where}: label {label.name!r} holds the invisible U+{ord(hidden[0]):04X}."),
                stacklevel=3,
            )
        twin = described.setdefault(label.descriptions, label.name)
        if twin != label.name:
            warnings.warn(
                CrossTuneWarning(
                    f"{where}: labels {twin!r} and {label.name!r} have the same description and are indistinguishable by it."
                ),
                stacklevel=3,
            )


def _parse_toml(text: str, source: Path) -> Json:
    from crosstune.core.toml_text import parse_toml

    return parse_toml(text, str(source), DataError)


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _code_points(text: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in text[:12])
