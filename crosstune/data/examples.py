"""A labelled example: a text, perhaps a second text, and its label; and its form in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from crosstune.core.token_layout import Text


@dataclass(frozen=True)
class Example:
    """A labelled text.

    Attributes:
        text: The text, or the first of a pair.
        label: Name of its class.
        text_pair: The second text of a pair, or None.
        line: Its line in its file, from 1; 0 when it does not come from a file.
    """

    text: str
    label: str
    text_pair: str | None = None
    line: int = field(default=0, compare=False)

    @property
    def content(self) -> Text:
        """The text, or both texts, as a backbone takes them."""
        return self.text if self.text_pair is None else (self.text, self.text_pair)

    @property
    def parts(self) -> tuple[str, ...]:
        """The text, or both texts."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)


def examples_digest(examples: Iterable[Example]) -> str:
    """SHA-256 (hex) of texts and labels, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(example_line(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def example_line(example: Example) -> str:
    """The example as one line of JSON Lines, newline included."""
    return json.dumps(example_row(example), ensure_ascii=False) + "\n"


def example_row(example: Example) -> dict[str, str]:
    """The fields of the example as a file has them; text_pair only for pairs."""
    row = {"text": example.text, "label": example.label}
    return row if example.text_pair is None else row | {"text_pair": example.text_pair}
