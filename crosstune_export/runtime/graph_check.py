"""Refuses a graph that no build writes, before onnxruntime sees a byte of it.

A graph is a program: onnxruntime opens other files for some of them, runs loops, and loads code by name. A right digest does
not say who wrote it. So every field, operator and constant of ``model.onnx`` is looked at here, in its bytes, without the onnx
package; what is not on the lists of this file is refused, not skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from crosstune_export.errors import BundleContentError
from crosstune_export.manifest import GraphFacts
from crosstune_export.wire import BYTES, FIXED32, VARINT, Field, fields, numbers

_ONNX = (
    "Abs Add And Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv Cos CumSum DequantizeLinear Div Einsum Equal Erf "
    "Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish "
    "Identity IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log MatMul MatMulInteger Max Min Mod Mul Neg Not "
    "OneHot Or Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice Softmax Softplus "
    "Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor"
)
_MICROSOFT = (
    "Attention BiasGelu DequantizeLinear DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedMatMul Gelu "
    "MatMulIntegerToFloat MultiHeadAttention QAttention QGemm QLinearAdd QLinearMul QLinearSigmoid QLinearSoftmax "
    "QuantizeLinear QuickGelu SkipLayerNormalization SimplifiedLayerNormalization SkipSimplifiedLayerNormalization"
)
#: What a build writes, and what torch writes for the encoders of transformers, by domain. No control flow, no sequences, no
#: strings, nothing random, nothing that opens a file.
OPERATORS: Mapping[str, frozenset[str]] = {
    "": frozenset(_ONNX.split()),
    "com.microsoft": frozenset(_MICROSOFT.split()),
}
_DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}
#: Bytes of an element by the number of its type in onnx.proto.
_SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8}
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}

#: Field numbers of onnx.proto and how each is written: those that stand at most once, and those that may repeat.
_Schema: TypeAlias = "tuple[Mapping[int, int], Mapping[int, int]]"
_MODEL: _Schema = ({1: VARINT, 2: BYTES, 3: BYTES, 5: VARINT, 7: BYTES}, {8: BYTES, 14: BYTES})
_OPSET: _Schema = ({1: BYTES, 2: VARINT}, {})
_ENTRY: _Schema = ({1: BYTES, 2: BYTES}, {})
_GRAPH: _Schema = ({2: BYTES, 10: BYTES}, {1: BYTES, 5: BYTES, 11: BYTES, 12: BYTES, 13: BYTES, 16: BYTES})
_NODE: _Schema = ({3: BYTES, 4: BYTES, 6: BYTES, 7: BYTES}, {1: BYTES, 2: BYTES, 5: BYTES, 9: BYTES})
_ATTRIBUTE: _Schema = (
    {1: BYTES, 2: FIXED32, 3: VARINT, 4: BYTES, 5: BYTES, 13: BYTES, 20: VARINT},
    {7: BYTES, 8: BYTES, 9: BYTES},
)
_TENSOR: _Schema = ({2: VARINT, 8: BYTES, 9: BYTES, 12: BYTES}, {1: BYTES, 16: BYTES})
_VALUE: _Schema = ({1: BYTES, 2: BYTES, 3: BYTES}, {4: BYTES})
_TYPE: _Schema = ({1: BYTES, 6: BYTES}, {})
_TENSOR_TYPE: _Schema = ({1: VARINT, 2: BYTES}, {})
_SHAPE: _Schema = ({}, {1: BYTES})
_DIMENSION: _Schema = ({1: VARINT, 2: BYTES, 3: BYTES}, {})
_NAMES = {
    "a model": {20: "training code", 25: "a function"},
    "a graph": {15: "a sparse constant"},
    "an attribute": {6: "a graph of its own", 11: "graphs of its own", 21: "a reference", 22: "a sparse constant"},
    "a constant": {13: "external data", 14: "external data", 6: "strings"},
}


@dataclass
class _Found:
    """What the walk over a graph has seen."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    gathers: list[tuple[str, str]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def check_graph(model: bytes, facts: GraphFacts, where: str) -> int:
    """Read a whole ONNX file and refuse it unless it is one that a build can have written.

    Args:
        model: The bytes of ``model.onnx``.
        facts: What the manifest says of it.
        where: What to call it in messages.

    Returns:
        Rows of the table that ``input_ids`` pick from: every id must be below.

    Raises:
        BundleContentError: An operator, a domain, a kind of field or a constant that is not on the lists, a number that is
            not finite, or facts other than the manifest's.
    """
    try:
        return _checked(model, facts)
    except (ValueError, UnicodeDecodeError) as error:
        raise BundleContentError(
            f"{where}: the graph has {error}, expected only what a build writes. Do not use it; build the bundle again."
        ) from error


def constants(model: bytes) -> dict[str, tuple[tuple[int, ...], memoryview]]:
    """Shape and bytes of each constant of a graph that ``check_graph`` lets pass, by name; views, nothing is copied."""
    graph = _parts(_parts(model, _MODEL, "a model")[7][0].view, _GRAPH, "a graph")
    found = {}
    for part in graph.get(5, ()):
        name, shape = _check_tensor(part.view)
        found[name] = shape, _parts(part.view, _TENSOR, "a constant")[9][0].view
    return found


def _checked(model: bytes, facts: GraphFacts) -> int:
    parts = _parts(model, _MODEL, "a model")
    opsets = {}
    for part in parts.get(8, ()):
        inner = _parts(part.view, _OPSET, "an opset")
        domain = _DOMAINS.get(_text(inner, 1))
        if domain is None:
            raise ValueError(f"the domain {_text(inner, 1)!r:.60}")
        if domain in opsets:
            raise ValueError(f"the domain {_text(inner, 1)!r} twice")
        opsets[domain] = _number(inner, 2)
    if opsets.get("") != facts.opset or _number(parts, 1) != facts.ir_version:
        raise ValueError(
            f"opset {opsets.get('')} and IR version {_number(parts, 1)} where the manifest says "
            f"{facts.opset} and {facts.ir_version}"
        )
    if 7 not in parts:
        raise ValueError("no nodes")
    for part in parts.get(14, ()):
        _parts(part.view, _ENTRY, "metadata")
    found = _Found()
    _check_nodes(_parts(parts[7][0].view, _GRAPH, "a graph"), found)
    if found.inputs != list(facts.inputs) or found.outputs != list(facts.outputs):
        raise ValueError(f"inputs {found.inputs} and outputs {found.outputs} unlike the manifest"[:200])
    return _vocabulary(found)


def _check_nodes(graph: Mapping[int, list[Field]], found: _Found) -> None:
    for part in graph.get(5, ()):
        name, shape = _check_tensor(part.view)
        if not name or name in found.shapes:
            raise ValueError(f"the constant {name!r:.60} twice" if name else "a constant without a name")
        found.shapes[name] = shape
    for number, names in ((11, found.inputs), (12, found.outputs), (13, [])):
        for part in graph.get(number, ()):
            names.append(_check_value(part.view))
    for part in graph.get(1, ()):
        node = _parts(part.view, _NODE, "a node")
        domain, operator = _text(node, 7), _text(node, 4)
        if operator not in OPERATORS.get(_DOMAINS.get(domain, "?"), ()):
            raise ValueError(f"the operator {operator!r:.60} of {domain or 'ai.onnx':.60}")
        for attribute in node.get(5, ()):
            _check_attribute(attribute.view, operator)
        if operator == "Gather":
            inputs = [str(value.view, "utf-8") for value in node.get(1, ())]
            if len(inputs) == 2:
                found.gathers.append((inputs[0], inputs[1]))


def _check_attribute(message: memoryview, operator: str) -> None:
    attribute = _parts(message, _ATTRIBUTE, "an attribute")
    if 5 in attribute:
        _check_tensor(attribute[5][0].view)
    floats = [part.value for number in (2, 7) for part in attribute.get(number, ())]
    for value in floats:
        if isinstance(value, memoryview) and not _finite(value, "<f4"):
            raise ValueError(f"an attribute of {operator} that is not finite")


def _check_tensor(message: memoryview) -> tuple[str, tuple[int, ...]]:
    """Name and shape of a constant whose bytes are as many as its shape says, and finite."""
    tensor = _parts(message, _TENSOR, "a constant")
    name, kind = _text(tensor, 8), _number(tensor, 2)
    shape = tuple(size for part in tensor.get(1, ()) for size in numbers(part))
    raw = tensor[9][0].view if 9 in tensor else memoryview(b"")
    if kind not in _SIZES:
        raise ValueError(f"the constant {name!r:.60} of type {kind}")
    count = 1
    for size in shape:
        count *= size
    if len(shape) > 8 or count * _SIZES[kind] != len(raw):
        raise ValueError(f"{len(raw)} bytes for the constant {name!r:.60} of shape {shape[:8]}")
    if kind in _FLOATS and not _finite(raw, _FLOATS[kind]):
        raise ValueError(f"numbers in the constant {name!r:.60} that are not finite")
    return name, shape


def _finite(raw: memoryview, dtype: str) -> bool:
    """Whether all numbers are finite; a number alone may be infinite, as what hides padding is."""
    array = np.frombuffer(raw, dtype)
    if array.size == 1:
        return not bool(np.isnan(array[0]))
    return all(bool(np.isfinite(array[start : start + (1 << 20)]).all()) for start in range(0, array.size, 1 << 20))


def _check_value(message: memoryview) -> str:
    """Name of an input, an output or a value between, a tensor of any shape."""
    value = _parts(message, _VALUE, "a value")
    for kind in value.get(2, ()):
        for tensor in _parts(kind.view, _TYPE, "a type").get(1, ()):
            for shape in _parts(tensor.view, _TENSOR_TYPE, "a type").get(2, ()):
                for dimension in _parts(shape.view, _SHAPE, "a shape").get(1, ()):
                    _parts(dimension.view, _DIMENSION, "a shape")
    return _text(value, 1)


def _vocabulary(found: _Found) -> int:
    rows = [
        found.shapes[table][0]
        for table, ids in found.gathers
        if ids == "input_ids" and len(found.shapes.get(table, ())) == 2
    ]
    if not rows:
        raise ValueError("no table that input_ids pick from")
    return min(rows)


def _parts(message: bytes | memoryview, schema: _Schema, what: str) -> dict[int, list[Field]]:
    """The fields of a message by number; only those of the schema, written as it says, single ones once."""
    once, many = schema
    found: dict[int, list[Field]] = {}
    for part in fields(message):
        kind = once.get(part.number, many.get(part.number))
        if kind is None:
            name = _NAMES.get(what, {}).get(part.number, f"an unknown field {part.number}")
            raise ValueError(f"{name} in {what}")
        if part.kind != kind and not (
            part.number in many and part.kind in (VARINT, FIXED32) and what in ("an attribute", "a constant")
        ):
            raise ValueError(f"field {part.number} of {what} in another form")
        if part.number in once and part.number in found:
            raise ValueError(f"field {part.number} of {what} twice")
        found.setdefault(part.number, []).append(part)
    return found


def _text(parts: Mapping[int, list[Field]], number: int) -> str:
    return str(parts[number][0].view, "utf-8") if number in parts else ""


def _number(parts: Mapping[int, list[Field]], number: int) -> int:
    value = parts[number][0].value if number in parts else 0
    return value if isinstance(value, int) else 0
