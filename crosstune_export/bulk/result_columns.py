"""The columns that a classification adds to each row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crosstune.core.strict_text import Json
from crosstune.rows.parquet import import_parquet
from crosstune_export.runtime.explanation import Explanation
from crosstune_export.runtime.prediction import Prediction

#: Forms of the probabilities: one column ``probs`` with all of them, a column per label, or only that of the answer.
PROBS = ("json", "columns", "none")


@dataclass(frozen=True)
class ResultColumns:
    """Names and values of the added columns.

    Attributes:
        labels: L names, in the order of the probabilities.
        top_k: Number of labels whose probabilities are written, most probable first; None for all, in label order.
        probs: One of ``PROBS``.
        digits: Decimal places of the numbers; None to write them exactly.
    """

    labels: tuple[str, ...]
    top_k: int | None = None
    probs: str = "json"
    digits: int | None = None

    @cached_property
    def of_labels(self) -> dict[str, str]:
        """The column of each label's probability; empty unless there is one per label."""
        return {label: f"prob_{label}" for label in self.labels} if self.probs == "columns" else {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        probs = ("probs",) if self.probs == "json" else tuple(self.of_labels.values())
        return ("label", "prob", *probs, "truncated", "similarity")

    def carried_name(self, column: str) -> str:
        """Return the output name of an input column: one that is the probability of a label gets the prefix ``input_``."""
        return f"input_{column}" if self._taken.fullmatch(column) else column

    def values(self, result: Prediction | Explanation) -> dict[str, Json]:
        """Return the columns of one result; an explanation also has ``words``."""
        body = result.to_json(self.labels, self.top_k)
        probs = body.pop("probs")
        assert isinstance(probs, dict)
        if self.probs == "json":
            body["probs"] = {label: self._rounded(prob) for label, prob in probs.items()}
        for label, column in self.of_labels.items():
            body[column] = self._rounded(probs.get(label))
        for name in ("prob", "similarity"):
            body[name] = self._rounded(body[name])
        others = (name for name in body if name not in self.names)
        return {name: body[name] for name in (*self.names, *others)}

    def arrow_fields(self) -> list[Any]:
        """Return the Arrow fields of the columns."""
        arrow, _ = import_parquet()
        kinds = {
            "label": arrow.string(),
            "probs": arrow.map_(arrow.string(), arrow.float32()),
            "truncated": arrow.bool_(),
        }
        return [arrow.field(name, kinds.get(name, arrow.float32())) for name in self.names]

    @cached_property
    def _taken(self) -> re.Pattern[str]:
        return re.compile(rf"(input_)*({'|'.join(map(re.escape, self.of_labels.values())) or '(?!)'})", re.DOTALL)

    def _rounded(self, value: Json) -> Json:
        return round(value, self.digits) if self.digits is not None and isinstance(value, float) else value
