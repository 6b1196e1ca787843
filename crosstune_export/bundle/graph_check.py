"""Refuses graphs that no build writes, before onnxruntime reads them.

A graph is a program: it can make onnxruntime open other files, run loops, or load code by name, and a correct digest does not
prove who wrote it. onnxruntime is no sandbox either: a node with an input too many or an attribute out of range can end the process
or read memory. Every field, node and constant of ``model.onnx`` is therefore checked against the rules in ``graph_rules.json``,
without the onnx package, and anything else is refused. The C++ and web runtimes use the same rules and give the same verdict.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crosstune.core.errors import BundleContentError
from crosstune_export.bundle.graph_bounds import require_bounded
from crosstune_export.bundle.graph_rules import (
    BRANCH_ATTRIBUTES,
    BRANCHES,
    DOMAINS,
    FUNCTION,
    FUNCTION_ATTRIBUTES,
    LIMITS,
    MESSAGES,
    OPERATORS,
    TYPES,
    AttributeRules,
    OperatorRules,
)
from crosstune_export.bundle.graph_values import MOST_ELEMENTS, MOST_NUMBERS, Node, Value
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.bundle.onnx_wire import FIXED32, VARINT, Field, fields, numbers

_FLOATS = {"f": "<f4", "h": "<f2", "d": "<f8"}
_INTEGERS = {"i": "<i4", "l": "<i8"}
#: ``AttributeProto.type`` of a branch.
_GRAPH_ATTRIBUTE = 5
#: Each output of a node with branches counts as a node that reads what the two branches give.
_EITHER = OperatorRules("either", {}, {})
#: Field and number of ``AttributeProto.type`` for each type of attribute.
_ATTRIBUTE_FIELDS = {"float": (2, 1), "int": (3, 2), "ints": (8, 7)}


@dataclass
class _GraphContents:
    """Contents of a graph, collected by the check.

    Attributes:
        constants: Type, shape and small contents of each constant by name.
        types: Letter of the type of each value by name.
        nodes: The nodes in order.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
    """

    constants: dict[str, Value] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def check_graph(model: bytes, facts: GraphFacts, where: str, longest: int = 1) -> int:
    """Check a whole ONNX file and refuse it unless a build can have written it.

    Args:
        model: Contents of ``model.onnx``.
        facts: Section ``graph`` of the manifest.
        where: Name of the graph in messages.
        longest: Largest number of tokens of a text, for what a run may take.

    Returns:
        Number of rows of the embedding table; every token id must be smaller.

    Raises:
        BundleContentError: A node, field or constant is none that a build writes, a number is not finite, inputs, outputs or
            versions differ from the manifest, or a run would take more than one of such a graph may.
    """
    try:
        return _checked(model, facts, longest)
    except ValueError as error:
        raise BundleContentError(
            f"{where}: the graph has {error}, expected only what a build writes. Do not use it; build the bundle again."
        ) from error


def constants(model: bytes) -> dict[str, tuple[tuple[int, ...], memoryview]]:
    """Return shape and bytes of each constant by name, as views; the graph must have passed ``check_graph``."""
    graph = _parts(_parts(model, "model")[7][0].view, "graph")
    result = {}
    for part in graph.get(5, ()):
        name, value = _check_tensor(part.view)
        result[name] = value.shape, _parts(part.view, "constant")[9][0].view
    return result


def _checked(model: bytes, facts: GraphFacts, longest: int) -> int:
    parts = _parts(model, "model")
    opsets = {}
    for part in parts.get(8, ()):
        inner = _parts(part.view, "opset")
        domain = DOMAINS.get(_text(inner, 1))
        if domain is None:
            raise ValueError(f"the domain {_text(inner, 1)!r:.60}")
        if domain in opsets:
            raise ValueError(f"the domain {_text(inner, 1)!r} twice")
        opsets[domain] = _number(inner, 2)
    if opsets.get("", 0) != facts.opset or _number(parts, 1) != facts.ir_version:
        raise ValueError(
            f"opset {opsets.get('', 0)} and IR version {_number(parts, 1)} where the manifest says "
            f"{facts.opset} and {facts.ir_version}"
        )
    if 7 not in parts:
        raise ValueError("no nodes")
    _check_entries(parts, 14)
    graph, contents = _parts(parts[7][0].view, "graph"), _GraphContents()
    _check_values(graph, contents)
    if contents.inputs != list(facts.inputs) or contents.outputs != list(facts.outputs):
        raise ValueError(f"inputs {contents.inputs} and outputs {contents.outputs} differ from the manifest"[:200])
    body, number = (graph, 1) if 25 not in parts else (_function(parts[25][0], graph, opsets, contents), 7)
    _check_nodes(body.get(number, ()), contents)
    rows = _vocabulary_size(contents)
    require_bounded(contents.nodes, contents.constants, contents.inputs, longest)
    return rows


def _check_entries(parts: Mapping[int, list[Field]], number: int) -> None:
    """Check metadata entries; their contents are not used."""
    for part in parts.get(number, ()):
        _parts(part.view, "entry")


def _check_values(graph: Mapping[int, list[Field]], contents: _GraphContents) -> None:
    _check_entries(graph, 16)
    for part in graph.get(5, ()):
        name, value = _check_tensor(part.view)
        if not name or name in contents.constants:
            raise ValueError(f"the constant {name!r:.60} twice" if name else "a constant without a name")
        contents.constants[name] = value
        contents.types[name] = value.type
    for number, names in ((11, contents.inputs), (12, contents.outputs), (13, [])):
        for part in graph.get(number, ()):
            names.append(_check_value(part.view))


def _function(
    part: Field, graph: Mapping[int, list[Field]], opsets: Mapping[str, int], contents: _GraphContents
) -> Mapping[int, list[Field]]:
    """Return the function that a graph consists of: its only node calls it, and all values have the same names inside.

    Its nodes are checked as those of a graph are.
    """
    function = _parts(part.view, "function")
    name, domain = _text(function, 1), _text(function, 10)
    if (name, domain) != FUNCTION:
        raise ValueError(f"the function {name!r:.60} of {domain or 'ai.onnx':.60}")
    for opset in function.get(9, ()):
        inner = _parts(opset.view, "opset")
        if opsets.get(DOMAINS.get(_text(inner, 1), "?")) != _number(inner, 2):
            raise ValueError("a function of another opset")
    nodes = graph.get(1, ())
    if len(nodes) != 1:
        raise ValueError(f"a function and {len(nodes)} nodes")
    call = _parts(nodes[0].view, "node")
    _check_entries(call, 9)
    if (_text(call, 4), _text(call, 7)) != FUNCTION:
        raise ValueError("a function that no node calls")
    _check_attributes(call, name, FUNCTION_ATTRIBUTES)
    inputs, outputs, inner_inputs, inner_outputs = (
        [_decoded(field) for field in message.get(number, ())]
        for message, number in ((call, 1), (call, 2), (function, 4), (function, 5))
    )
    known = {*contents.inputs, *contents.constants}
    if (
        inputs != inner_inputs
        or outputs != inner_outputs
        or outputs != contents.outputs
        or not known.issuperset(inputs)
    ):
        raise ValueError("a function with other inputs and outputs than the graph")
    return function


def _check_nodes(nodes: Sequence[Field], contents: _GraphContents) -> None:
    for name in contents.inputs:
        _define(name, "l", contents)
    for part in nodes:
        message = _parts(part.view, "node")
        if (_text(message, 4), DOMAINS.get(_text(message, 7))) == BRANCHES:
            _check_branches(message, contents)
        else:
            _append(_check_node(message, contents), contents)
    missing = next((name for name in contents.outputs if name not in contents.types), None)
    if missing is not None:
        raise ValueError(f"no node that computes {missing!r:.60}")


def _append(node: Node, contents: _GraphContents) -> None:
    if len(contents.nodes) == LIMITS.nodes:
        raise ValueError(f"more than {LIMITS.nodes} nodes")
    contents.nodes.append(node)


def _check_branches(node: Mapping[int, list[Field]], contents: _GraphContents) -> None:
    """Check a node that runs one of two branches as if it ran both: they have no constants and no branches of their own."""
    operator = BRANCHES[0]
    _check_entries(node, 9)
    inputs, outputs = ([_decoded(part) for part in node.get(number, ())] for number in (1, 2))
    if [contents.types.get(name) for name in inputs] != ["b"]:
        raise ValueError(f"a node {operator} with other inputs than one condition")
    results: dict[str, list[str]] = {}
    for part in node.get(5, ()):
        branch = _parts(part.view, "branch")
        name = _text(branch, 1)
        if (
            name not in BRANCH_ATTRIBUTES
            or name in results
            or 6 not in branch
            or _number(branch, 20) != _GRAPH_ATTRIBUTE
        ):
            raise ValueError(f"the attribute {name!r:.60} of {operator}")
        graph = _parts(branch[6][0].view, "branch_graph")
        for inner in graph.get(1, ()):
            _append(_check_node(_parts(inner.view, "node"), contents), contents)
        results[name] = [_check_value(value.view) for value in graph.get(12, ())]
    pairs = [results.get(name, []) for name in BRANCH_ATTRIBUTES]
    if not len(outputs) == len(pairs[0]) == len(pairs[1]) > 0:
        raise ValueError(f"a node {operator} whose branches give another number of values")
    for name, *given in zip(outputs, *pairs, strict=True):
        first, second = (contents.types.get(value) for value in given)
        if first is None or first != second:
            raise ValueError(f"a node {operator} whose branches differ")
        _define(name, first, contents)
        _append(Node(operator, _EITHER, tuple(given), (name,), first, {}), contents)


def _define(name: str, kind: str, contents: _GraphContents) -> None:
    if name in contents.types:
        raise ValueError(f"the value {name!r:.60} twice")
    contents.types[name] = kind


def _check_node(parts: Mapping[int, list[Field]], contents: _GraphContents) -> Node:
    """Return a node that a build can have written: its operator, the types of its inputs, its attributes."""
    _check_entries(parts, 9)
    domain, operator = _text(parts, 7), _text(parts, 4)
    rules = OPERATORS.get(DOMAINS.get(domain, "?"), {}).get(operator)
    if rules is None:
        raise ValueError(f"the operator {operator!r:.60} of {domain or 'ai.onnx':.60}")
    attributes = _check_attributes(parts, operator, rules.attributes)
    inputs, outputs = (tuple(_decoded(part) for part in parts.get(number, ())) for number in (1, 2))
    unknown = next((name for name in inputs if name and name not in contents.types), None)
    if unknown is not None:
        raise ValueError(f"a node {operator} that reads {unknown!r:.60} before it is there")
    types = "".join(contents.types[name] if name else "-" for name in inputs)
    if rules.shape == "cast":  # the type that it casts to counts as an input
        target = TYPES.get(int(attributes["to"][0])) if "to" in attributes else None
        types += target.letter if target else "?"
    expected = rules.outputs(types)
    if expected is None:
        raise ValueError(f"a node {operator} with the inputs {types:.60}")
    if not 1 <= len(outputs) <= len(expected) or not outputs[0]:
        raise ValueError(f"a node {operator} with {len(outputs)} outputs")
    for name, kind in zip(outputs, expected, strict=False):
        if name:
            _define(name, kind, contents)
    return Node(operator, rules, inputs, outputs, expected, attributes)


def _check_attributes(
    node: Mapping[int, list[Field]], operator: str, allowed: Mapping[str, AttributeRules]
) -> dict[str, Sequence[float]]:
    attributes: dict[str, Sequence[float]] = {}
    for part in node.get(5, ()):
        name, values = _check_attribute(part.view, operator, allowed)
        if name in attributes:
            raise ValueError(f"the attribute {name!r:.60} of {operator} twice")
        attributes[name] = values
    return attributes


def _check_attribute(
    message: memoryview, operator: str, allowed: Mapping[str, AttributeRules]
) -> tuple[str, Sequence[float]]:
    """Return name and values of an attribute that is within the rules."""
    parts = _parts(message, "attribute")
    name = _text(parts, 1)
    rules = allowed.get(name)
    if rules is None:
        raise ValueError(f"the attribute {name!r:.60} of {operator}")
    place, kind = _ATTRIBUTE_FIELDS[rules.type]
    if set(parts) - {1, 20, place} or place not in parts or _number(parts, 20) != kind:
        raise ValueError(f"the attribute {name!r:.60} of {operator} in another form")
    values: list[int] | list[float]
    if rules.type == "float":
        (part,) = parts[place]
        values = list(struct.unpack("<f", part.value)) if isinstance(part.value, memoryview) else []
    else:
        values = [value - (1 << 64 if value >> 63 else 0) for part in parts[place] for value in numbers(part)]
    if not rules.allow(values):
        raise ValueError(f"the attribute {name!r:.60} of {operator} out of its range")
    return name, values


def _check_tensor(message: memoryview) -> tuple[str, Value]:
    """Return name and contents of a constant, after checking that its bytes fit its shape and are finite."""
    tensor = _parts(message, "constant")
    _check_entries(tensor, 16)
    name, kind = _text(tensor, 8), TYPES.get(_number(tensor, 2))
    shape = tuple(size for part in tensor.get(1, ()) for size in numbers(part))
    raw = tensor[9][0].view if 9 in tensor else memoryview(b"")
    if kind is None:
        raise ValueError(f"the constant {name!r:.60} of type {_number(tensor, 2)}")
    fits = len(shape) <= MOST_NUMBERS and max(shape, default=0) <= MOST_ELEMENTS
    if not fits or math.prod(shape) * kind.size_bytes != len(raw):
        raise ValueError(f"{len(raw)} bytes for the constant {name!r:.60} of shape {shape[:8]}")
    if kind.letter in _FLOATS and not _finite(raw, _FLOATS[kind.letter]):
        raise ValueError(f"numbers in the constant {name!r:.60} that are not finite")
    small = kind.letter in _INTEGERS and len(shape) <= 1 and math.prod(shape) <= MOST_NUMBERS
    contents = tuple(np.frombuffer(raw, _INTEGERS[kind.letter]).tolist()) if small else None
    return name, Value(kind.letter, shape, contents)


def _finite(raw: memoryview, dtype: str) -> bool:
    """Whether all numbers are finite; a scalar may be infinite, as the one that masks padding is."""
    array = np.frombuffer(raw, dtype)
    if array.size == 1:
        return not bool(np.isnan(array[0]))
    return all(bool(np.isfinite(array[start : start + (1 << 20)]).all()) for start in range(0, array.size, 1 << 20))


def _check_value(message: memoryview) -> str:
    """Return the name of an input, output or intermediate value, after checking its type."""
    value = _parts(message, "value")
    _check_entries(value, 4)
    for kind in value.get(2, ()):
        for tensor in _parts(kind.view, "type").get(1, ()):
            for shape in _parts(tensor.view, "tensor_type").get(2, ()):
                for dimension in _parts(shape.view, "shape").get(1, ()):
                    _text(
                        _parts(dimension.view, "dimension"), 2
                    )  # invalid UTF-8 would fail later, in onnxruntime's Python binding
    return _text(value, 1)


def _vocabulary_size(contents: _GraphContents) -> int:
    tables = [
        contents.constants[node.inputs[0]].shape
        for node in contents.nodes
        if node.operator == "Gather" and node.inputs[1] == "input_ids" and node.inputs[0] in contents.constants
    ]
    rows = [shape[0] for shape in tables if len(shape) == 2]
    if not rows:
        raise ValueError("no embedding table for input_ids")
    return min(rows)


def _parts(message: bytes | memoryview, name: str) -> dict[int, list[Field]]:
    """Return the fields of a message by number, after checking them against its rules."""
    rules = MESSAGES[name]
    by_number: dict[int, list[Field]] = {}
    for part in fields(message):
        kind = rules.once.get(part.number, rules.many.get(part.number))
        if kind is None:
            known = rules.named.get(part.number, f"an unknown field {part.number}")
            raise ValueError(f"{known} in {rules.called}")
        if part.kind != kind and not (
            part.number in rules.many and part.kind in (VARINT, FIXED32) and rules.numbers_one_a_field
        ):
            raise ValueError(f"field {part.number} of {rules.called} in another form")
        if part.number in rules.once and part.number in by_number:
            raise ValueError(f"field {part.number} of {rules.called} twice")
        by_number.setdefault(part.number, []).append(part)
    return by_number


def _text(parts: Mapping[int, list[Field]], number: int) -> str:
    return _decoded(parts[number][0]) if number in parts else ""


def _decoded(part: Field) -> str:
    try:
        return str(part.view, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("a name that is not UTF-8") from error


def _number(parts: Mapping[int, list[Field]], number: int) -> int:
    value = parts[number][0].value if number in parts else 0
    return value if isinstance(value, int) else 0
