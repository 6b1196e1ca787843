"""Refuses graphs that no build writes, before onnxruntime reads them.

A graph is a program: it can make onnxruntime open other files, run loops, or load code by name, and a correct digest does not
prove who wrote it. Every field, operator and constant of ``model.onnx`` is therefore checked against the lists in
``graph_rules.json``, without the onnx package, and anything else is refused. The C++ and web runtimes use the same lists and
give the same verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crosstune.core.errors import BundleContentError
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.bundle.onnx_wire import BYTES, FIXED32, VARINT, Field, fields, numbers

_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}


@dataclass(frozen=True)
class _Message:
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


def _read_message(body: dict[str, Any]) -> _Message:
    def kinds(listed: dict[str, str]) -> dict[int, int]:
        return {int(number): _KINDS[kind] for number, kind in listed.items()}

    named = {int(number): name for number, name in body["named"].items()}
    return _Message(body["called"], kinds(body["once"]), kinds(body["many"]), named, body["numbers_one_a_field"])


_KINDS = {"varint": VARINT, "bytes": BYTES, "fixed32": FIXED32}
_RULES = json.loads(Path(__file__).with_name("graph_rules.json").read_bytes())
#: Operators by domain: those of our rewrites, and those that torch exports for the encoders of transformers. None of them has
#: control flow, sequences, strings or randomness, or opens a file.
OPERATORS: Mapping[str, frozenset[str]] = {domain: frozenset(names) for domain, names in _RULES["operators"].items()}
_DOMAINS: Mapping[str, str] = _RULES["domains"]
#: Bytes per element, by element type of onnx.proto.
_SIZES: Mapping[int, int] = {int(kind): size for kind, size in _RULES["element_bytes"].items()}
_MESSAGES = {name: _read_message(body) for name, body in _RULES["messages"].items()}


@dataclass
class _GraphContents:
    """Contents of a graph, collected by the check.

    Attributes:
        shapes: Shape of each constant by name.
        gathers: Both inputs (table, indices) of each Gather.
        inputs: Names of the inputs.
        outputs: Names of the outputs.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    gathers: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def check_graph(model: bytes, facts: GraphFacts, where: str) -> int:
    """Check a whole ONNX file and refuse it unless a build can have written it.

    Args:
        model: Contents of ``model.onnx``.
        facts: Section ``graph`` of the manifest.
        where: Name of the graph in messages.

    Returns:
        Number of rows of the embedding table; every token id must be smaller.

    Raises:
        BundleContentError: An operator, domain, field or constant is not allowed, a number is not finite, or inputs, outputs
            or versions differ from the manifest.
    """
    try:
        return _checked(model, facts)
    except ValueError as error:
        raise BundleContentError(
            f"{where}: the graph has {error}, expected only what a build writes. Do not use it; build the bundle again."
        ) from error


def constants(model: bytes) -> dict[str, tuple[tuple[int, ...], memoryview]]:
    """Return shape and bytes of each constant by name, as views; the graph must have passed ``check_graph``."""
    graph = _parts(_parts(model, "model")[7][0].view, "graph")
    result = {}
    for part in graph.get(5, ()):
        name, shape = _check_tensor(part.view)
        result[name] = shape, _parts(part.view, "constant")[9][0].view
    return result


def _checked(model: bytes, facts: GraphFacts) -> int:
    parts = _parts(model, "model")
    opsets = {}
    for part in parts.get(8, ()):
        inner = _parts(part.view, "opset")
        domain = _DOMAINS.get(_text(inner, 1))
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
    contents = _GraphContents()
    _check_nodes(_parts(parts[7][0].view, "graph"), contents)
    if contents.inputs != list(facts.inputs) or contents.outputs != list(facts.outputs):
        raise ValueError(f"inputs {contents.inputs} and outputs {contents.outputs} differ from the manifest"[:200])
    return _vocabulary_size(contents)


def _check_entries(parts: Mapping[int, list[Field]], number: int) -> None:
    """Check metadata entries; their contents are not used."""
    for part in parts.get(number, ()):
        _parts(part.view, "entry")


def _check_nodes(graph: Mapping[int, list[Field]], contents: _GraphContents) -> None:
    _check_entries(graph, 16)
    for part in graph.get(5, ()):
        name, shape = _check_tensor(part.view)
        if not name or name in contents.shapes:
            raise ValueError(f"the constant {name!r:.60} twice" if name else "a constant without a name")
        contents.shapes[name] = shape
    for number, names in ((11, contents.inputs), (12, contents.outputs), (13, [])):
        for part in graph.get(number, ()):
            names.append(_check_value(part.view))
    for part in graph.get(1, ()):
        node = _parts(part.view, "node")
        _check_entries(node, 9)
        domain, operator = _text(node, 7), _text(node, 4)
        if operator not in OPERATORS.get(_DOMAINS.get(domain, "?"), ()):
            raise ValueError(f"the operator {operator!r:.60} of {domain or 'ai.onnx':.60}")
        for attribute in node.get(5, ()):
            _check_attribute(attribute.view, operator)
        if operator == "Gather":
            inputs = [_decoded(value) for value in node.get(1, ())]
            if len(inputs) == 2:
                contents.gathers.append((inputs[0], inputs[1]))


def _check_attribute(message: memoryview, operator: str) -> None:
    attribute = _parts(message, "attribute")
    for part in attribute.get(8, ()):
        numbers(part)
    if 5 in attribute:
        _check_tensor(attribute[5][0].view)
    floats = [part.value for number in (2, 7) for part in attribute.get(number, ())]
    for value in floats:
        if isinstance(value, memoryview) and len(value) % 4:
            raise ValueError(f"an attribute of {operator} that is cut short")
        if isinstance(value, memoryview) and not _finite(value, "<f4"):
            raise ValueError(f"an attribute of {operator} that is not finite")


def _check_tensor(message: memoryview) -> tuple[str, tuple[int, ...]]:
    """Return name and shape of a constant, after checking that its bytes fit its shape and are finite."""
    tensor = _parts(message, "constant")
    _check_entries(tensor, 16)
    name, kind = _text(tensor, 8), _number(tensor, 2)
    shape = tuple(size for part in tensor.get(1, ()) for size in numbers(part))
    raw = tensor[9][0].view if 9 in tensor else memoryview(b"")
    if kind not in _SIZES:
        raise ValueError(f"the constant {name!r:.60} of type {kind}")
    if len(shape) > 8 or math.prod(shape) * _SIZES[kind] != len(raw):
        raise ValueError(f"{len(raw)} bytes for the constant {name!r:.60} of shape {shape[:8]}")
    if kind in _FLOATS and not _finite(raw, _FLOATS[kind]):
        raise ValueError(f"numbers in the constant {name!r:.60} that are not finite")
    return name, shape


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
    rows = [
        contents.shapes[table][0]
        for table, ids in contents.gathers
        if ids == "input_ids" and len(contents.shapes.get(table, ())) == 2
    ]
    if not rows:
        raise ValueError("no embedding table for input_ids")
    return min(rows)


def _parts(message: bytes | memoryview, name: str) -> dict[int, list[Field]]:
    """Return the fields of a message by number, after checking them against its rules."""
    rules = _MESSAGES[name]
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
