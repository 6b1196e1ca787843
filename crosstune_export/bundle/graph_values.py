"""What is known about the values and nodes of a graph before a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosstune_export.bundle.graph_rules import OperatorRules

Shape = tuple[int, ...]
#: Most dimensions, and most elements of an integer constant that is read as a shape, as axes or as positions.
MOST_NUMBERS = 8
#: Most elements of a value and largest size of a dimension, far beyond what a graph may take.
MOST_ELEMENTS = 1 << 40


@dataclass(frozen=True)
class Value:
    """What is known about a value before a run.

    Attributes:
        type: Letter of its number type.
        shape: Its shape.
        numbers: Its elements, if it is integer, small, and does not depend on the ids of a text; otherwise None.
    """

    type: str
    shape: Shape
    numbers: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A node that fits the rules of its operator.

    Attributes:
        operator: Name of the operator.
        rules: Its rules.
        inputs: Names of the inputs, "" for an omitted one.
        outputs: Names of the outputs, "" for an omitted one.
        types: Letters of the types of the outputs.
        attributes: Values by name.
    """

    operator: str
    rules: OperatorRules
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: str
    attributes: Mapping[str, Sequence[float]]

    def number(self, name: str, default: int) -> int:
        """Return an attribute that is an integer."""
        return int(self.attributes[name][0]) if name in self.attributes else default


Inputs = Sequence[Value | None]
