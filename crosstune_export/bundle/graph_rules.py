"""The rules that graphs are checked against: ``graph_rules.json``, which the Python, C++ and web runtimes share.

``python -m benchmarks.robustness.make_graph_rules`` writes the operators from graphs that builds wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstune_export.bundle.onnx_wire import BYTES, FIXED32, VARINT

#: Most inputs of an operator that takes any number of them.
MOST_INPUTS = 256
_KINDS = {"varint": VARINT, "bytes": BYTES, "fixed32": FIXED32}


@dataclass(frozen=True)
class MessageRules:
    """Rules for a message type of onnx.proto.

    Attributes:
        called: Its name in error messages.
        once: Wire types of the fields that may occur once, by field number.
        many: Wire types of the fields that may repeat, by field number.
        named: Names of forbidden fields for error messages, by field number.
        numbers_one_a_field: Whether repeated numbers may also be written unpacked, one per field.
    """

    called: str
    once: Mapping[int, int]
    many: Mapping[int, int]
    named: Mapping[int, str]
    numbers_one_a_field: bool


@dataclass(frozen=True)
class AttributeRules:
    """Rules for an attribute of an operator.

    Attributes:
        type: ``int``, ``float`` or ``ints``.
        lowest: Smallest value.
        highest: Largest value.
        most: Largest number of values, for ``ints``.
    """

    type: str
    lowest: float
    highest: float
    most: int

    def allow(self, values: list[int] | list[float]) -> bool:
        """Whether an attribute may have these values."""
        return len(values) <= self.most and all(self.lowest <= value <= self.highest for value in values)


@dataclass(frozen=True)
class OperatorRules:
    """Rules for an operator.

    Attributes:
        shape: How the shapes of its outputs follow from its inputs, see ``graph_shapes``.
        forms: Types of the outputs by types of the inputs: one letter each, ``-`` for one that is left out.
        attributes: Its attributes by name.
    """

    shape: str
    forms: Mapping[str, str]
    attributes: Mapping[str, AttributeRules]

    def outputs(self, inputs: str) -> str | None:
        """Return the types of the outputs for types of inputs; None if no build writes such a node."""
        many = inputs[:1] + "+"  # any number of inputs of one type
        if many in self.forms and len(inputs) <= MOST_INPUTS and inputs == inputs[0] * len(inputs):
            return self.forms[many]
        return self.forms.get(inputs)


@dataclass(frozen=True)
class ElementType:
    """A number type.

    Attributes:
        letter: Its name in ``OperatorRules.forms``.
        size_bytes: Bytes per element.
    """

    letter: str
    size_bytes: int


@dataclass(frozen=True)
class Limits:
    """How much a graph may take; B texts of T tokens, C elements in its constants.

    Attributes:
        nodes: Number of nodes.
        values_per_token: Elements of the values that are alive at the same time: ``B * T`` times this ...
        values_per_token_pair: ... plus ``B * T * T`` times this ...
        values_per_constant: ... plus ``C`` times this.
        work: Multiplications of one run: this ...
        work_per_token_and_constant: ... plus ``B * T * C`` times this ...
        work_per_token_pair: ... plus ``B * T * T`` times this.
    """

    nodes: int
    values_per_token: int
    values_per_token_pair: int
    values_per_constant: int
    work: int
    work_per_token_and_constant: int
    work_per_token_pair: int


def _read_message(body: dict[str, Any]) -> MessageRules:
    def kinds(listed: dict[str, str]) -> dict[int, int]:
        return {int(number): _KINDS[kind] for number, kind in listed.items()}

    named = {int(number): name for number, name in body["named"].items()}
    return MessageRules(body["called"], kinds(body["once"]), kinds(body["many"]), named, body["numbers_one_a_field"])


def _read_attributes(body: dict[str, Any]) -> dict[str, AttributeRules]:
    return {
        name: AttributeRules(rules["type"], min(rules["range"]), max(rules["range"]), rules.get("most", 1))
        for name, rules in body.get("attributes", {}).items()
    }


def _read_operator(body: dict[str, Any]) -> OperatorRules:
    return OperatorRules(body["shape"], dict(form.split(">") for form in body["forms"]), _read_attributes(body))


_RULES = json.loads(Path(__file__).with_name("graph_rules.json").read_bytes())
#: Names of domains, by the names that a graph may use for them.
DOMAINS: Mapping[str, str] = _RULES["domains"]
#: Operators by domain and name: those that builds write. None of them has control flow, sequences, strings or randomness, or
#: opens a file. ``BRANCHES`` is the only one with branches.
OPERATORS: Mapping[str, Mapping[str, OperatorRules]] = {
    domain: {name: _read_operator(body) for name, body in operators.items()}
    for domain, operators in _RULES["operators"].items()
}
#: Name and domain of the function that a graph may consist of, and the attributes of its call.
FUNCTION: tuple[str, str] = (_RULES["function"]["name"], _RULES["function"]["domain"])
FUNCTION_ATTRIBUTES = _read_attributes(_RULES["function"])
#: Name and domain of the operator that runs one of two branches, and the names of its attributes.
BRANCHES: tuple[str, str] = (_RULES["branches"]["name"], _RULES["branches"]["domain"])
BRANCH_ATTRIBUTES: tuple[str, str] = (_RULES["branches"]["then"], _RULES["branches"]["else"])
#: Number types by their number in onnx.proto.
TYPES: Mapping[int, ElementType] = {
    int(number): ElementType(body["letter"], body["bytes"]) for number, body in _RULES["types"].items()
}
MESSAGES: Mapping[str, MessageRules] = {name: _read_message(body) for name, body in _RULES["messages"].items()}
LIMITS = Limits(**_RULES["limits"])
