"""Labels and their descriptions; the order of a LabelSet is the class index."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.texts import control_problem

#: Matches texts without a visible character.
INVISIBLE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad]*")


class Labelled(Protocol):
    """An object with a label, such as an ``Example``."""

    @property
    def label(self) -> str:
        """The name of its label."""


@dataclass(frozen=True)
class Label:
    """A class of texts.

    Attributes:
        name: Name of the label.
        descriptions: One or more sentences that describe the label.
    """

    name: str
    descriptions: tuple[str, ...]


@dataclass(frozen=True)
class LabelSet:
    """The labels of a task, in the order of the class index.

    Examples:
        >>> labels = LabelSet.from_mapping({"shipping": "where a parcel is", "praise": "thanks and compliments"})
        >>> labels.names, labels.index("praise")
        (('shipping', 'praise'), 1)

    Raises:
        DataError: Fewer than two labels, an empty name or description, a name with a NUL, an unpaired surrogate, or two names that
            read alike.
    """

    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        require_usable(self.labels, "labels")  # warnings are given by label_set only, where labels are first read

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str | Sequence[str]]) -> LabelSet:
        """Create labels from ``name -> description`` or ``name -> [description, ...]``.

        Raises:
            DataError: The labels are invalid.
        """
        return label_set(mapping, "labels")

    @property
    def names(self) -> tuple[str, ...]:
        """Label names, in order."""
        return tuple(label.name for label in self.labels)

    def index(self, name: str) -> int:
        """Return the class index of a label.

        Raises:
            ValueError: The label is unknown.
        """
        return self.names.index(name)

    def indices(self, examples: Iterable[Labelled]) -> list[int]:
        """Return the class indices of the labels of N examples.

        Raises:
            KeyError: A label is unknown.
        """
        table = {name: i for i, name in enumerate(self.names)}
        return [table[example.label] for example in examples]

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)


def label_set(mapping: Mapping[str, object], where: str) -> LabelSet:
    """Create labels from ``name -> description`` or ``name -> [description, ...]``, and warn about likely mistakes.

    Args:
        mapping: Names and descriptions, in the order of the class index.
        where: Name of the source in messages, usually a path.

    Raises:
        DataError: The labels are invalid.
    """
    labels = tuple(_label(name, value, where) for name, value in mapping.items())
    require_usable(labels, where)
    for label in labels:
        for problem in filter(None, map(control_problem, label.descriptions)):
            raise DataError(f"{where}: the description of {label.name!r} {problem}")
    _warn(labels, where)
    return LabelSet(labels)


def require_usable(labels: Sequence[Label], where: str) -> None:
    """Check that labels can be used together.

    Raises:
        DataError: Fewer than two labels, an empty name or description, a name with a NUL, an unpaired surrogate, or names that
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
                CrossTuneWarning(f"{where}: label {label.name!r} contains the invisible U+{ord(hidden[0]):04X}."),
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


def _code_points(text: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in text[:12])
