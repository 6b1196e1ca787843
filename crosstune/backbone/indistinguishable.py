"""Texts of different labels that the backbone cannot tell apart: by letter case that it ignores, or words that it does not know."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.data.examples import Example


def check_indistinguishable(examples: Sequence[Example], backbone: Backbone, where: str) -> None:
    """Warn of texts whose ids are those of a text of another label: no head can tell them apart.

    Args:
        examples: The shots.
        backbone: Its tokenizer reads and truncates them.
        where: What to call the examples in messages.

    Raises:
        DataError: All texts have the same ids, though their labels differ.
    """
    first: dict[tuple[int, ...], Example] = {}
    conflicts = []
    for row, example in zip(backbone.tokenize([example.content for example in examples]), examples, strict=True):
        earlier = first.setdefault(row.ids, example)
        if earlier.label != example.label:
            conflicts.append((earlier, example))
    if conflicts and len(first) == 1:
        raise DataError(
            f"{where}: to {backbone.name} all {len(examples)} texts are the same, expected words that it knows. "
            "Take a backbone of their language."
        )
    if conflicts:
        one, other = conflicts[0]
        warnings.warn(
            CrossTuneWarning(
                f"{where}:{other.line}: to {backbone.name} this text is the same as that of line {one.line}, which is labelled "
                f"{one.label!r} and not {other.label!r} ({len(conflicts)} such rows)."
            ),
            stacklevel=3,
        )
