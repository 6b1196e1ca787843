"""Graphs of an attacker who can make the hashes right, made from one that a build wrote."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from crosstune_export.wire import BYTES, bytes_field, fields, number_field

Forgery = Callable[[ModelProto], object]


def _node(operator: str, domain: str = "", **attributes: object) -> Forgery:
    return lambda model: model.graph.node.append(
        helper.make_node(operator, ["input_ids"], ["x"], domain=domain, **attributes)
    )


def _inner_graph(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "inner", [], [])))


def _function(model: ModelProto) -> None:
    opset = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("com.microsoft", "Gelu", ["x"], ["y"], [], opset))


def _sparse(model: ModelProto) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))


def _outside(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def _outside_in_an_attribute(model: ModelProto) -> None:
    tensor = TensorProto(dims=[1], data_type=TensorProto.FLOAT)
    tensor.external_data.add(key="location", value="x")
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor))


def _constant(array: np.ndarray) -> Forgery:
    return lambda model: model.graph.initializer.append(numpy_helper.from_array(array, "planted"))


def _inside(number: int, planted: bytes) -> Callable[[bytes], bytes]:
    """Something in the first of these fields of the graph."""

    def forge(data: bytes) -> bytes:
        (graph,) = (part for part in fields(data) if part.number == 7)
        parts = [(part.number, part.data, bytes(part.raw)) for part in fields(graph.view)]
        first = next(index for index, (found, _, _) in enumerate(parts) if found == number)
        changed = [
            raw if index != first else bytes_field(number, inner + planted)
            for index, (_, inner, raw) in enumerate(parts)
        ]
        return b"".join(bytes(part.raw) for part in fields(data) if part.number != 7) + bytes_field(
            7, b"".join(changed)
        )

    return forge


def _odd_dimension(data: bytes) -> bytes:
    """A value whose dimension has a name that is not UTF-8."""
    (graph,) = (part for part in fields(data) if part.number == 7)
    shape = bytes_field(2, bytes_field(1, bytes_field(2, b"\xff")))
    value = bytes_field(13, bytes_field(1, b"v") + bytes_field(2, bytes_field(1, number_field(1, 1) + shape)))
    return b"".join(bytes(part.raw) for part in fields(data) if part.number != 7) + bytes_field(
        7, bytes(graph.view) + value
    )


def _odd_metadata(data: bytes) -> bytes:
    del data
    return number_field(1, 10) + bytes_field(7, bytes_field(16, b"ai.onnx.ml")) + bytes_field(8, number_field(2, 18))


def _no_table(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == "input_ids":
            node.op_type = "GatherND"


#: Each is refused; what each is called says why.
FORGERIES: Mapping[str, Forgery] = {
    "a loop": _node("Loop"),
    "a branch": _node("If"),
    "an operator of another domain": _node("LabelEncoder", "ai.onnx.ml"),
    "an operator that opens files": _node("EPContext", "com.microsoft"),
    "code": _node("PythonOp", "ai.onnx.contrib"),
    "an operator that nobody has": _node("MadeUp"),
    "a name with odd characters": _node("Made\n\x7f\\Up"),
    "a very long name": _node("M" * 300),
    "a foreign domain": lambda model: model.opset_import.append(helper.make_opsetid("evil.example", 1)),
    "a domain twice": lambda model: model.opset_import.append(helper.make_opsetid("ai.onnx", 18)),
    "an inner graph": _inner_graph,
    "a function": _function,
    "a sparse constant": _sparse,
    "external data": _outside,
    "external data in an attribute": _outside_in_an_attribute,
    "strings": _constant(np.array(["a", "b"], object)),
    "a constant of another type": _constant(np.zeros(2, np.complex64)),
    "a number that is not finite": _constant(np.array([1, np.nan], np.float32)),
    "a half that is not finite": _constant(np.array([[1, -np.inf]], np.float16)),
    "a double that is not finite": _constant(np.array([np.inf, 1], np.float64)),
    "a number alone that is none": _constant(np.float32("nan")),
    "an attribute that is not finite": _node("LeakyRelu", alpha=float("nan")),
    "attributes that are not finite": _node("LeakyRelu", alphas=[1.0, float("nan")]),
    "a size beyond the bytes": lambda model: model.graph.initializer[0].dims.__setitem__(0, 10**15),
    "a negative size": lambda model: model.graph.initializer[0].dims.__setitem__(0, -1),
    "a size that overflows": lambda model: model.graph.initializer[0].dims.extend([2**32, 2**32]),
    "a constant without a name": lambda model: model.graph.initializer[0].ClearField("name"),
    "a constant twice": lambda model: model.graph.initializer.append(model.graph.initializer[0]),
    "another opset": lambda model: model.opset_import[0].__setattr__("version", 28),
    "no opset": lambda model: model.ClearField("opset_import"),
    "another IR version": lambda model: model.__setattr__("ir_version", 14),
    "another input": lambda model: model.graph.input[0].__setattr__("name", "ids"),
    "no output": lambda model: model.graph.ClearField("output"),
    "an input that is a sequence": lambda model: model.graph.input[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.INT64, None))
    ),
    "no table": _no_table,
    "no nodes": lambda model: model.ClearField("graph"),
}

#: What two readers could understand in two ways, and what is no message at all.
BROKEN: Mapping[str, Callable[[bytes], bytes]] = {
    "two graphs": lambda data: data + bytes_field(7, b""),
    "two versions": lambda data: data + number_field(1, 10),
    "a number for a graph": lambda data: data + number_field(7, 1),
    "a field of no list": lambda data: data + bytes_field(99, b"x"),
    "training code": lambda data: data + bytes_field(20, b""),
    "a name that is not UTF-8": lambda data: data + bytes_field(8, bytes_field(1, b"\xff")),
    "a dimension whose name is not UTF-8": _odd_dimension,
    "a number beyond 64 bits": lambda data: data + b"\x28" + b"\xff" * 9 + b"\x7f",
    "a number without an end": lambda data: data + b"\x28" + b"\xff" * 10,
    "a field of number 0": lambda data: data + b"\x00",
    "a group": lambda data: data + b"\x0b",
    "a field beyond the end": lambda data: data + b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "metadata of a node that is none": _inside(1, bytes_field(9, b"J\x07Softmax")),
    "metadata of a constant that is none": _inside(5, bytes_field(16, b"\xff")),
    "metadata of a constant that is a number": _inside(5, number_field(16, 1)),
    "metadata of a value that is none": _inside(11, bytes_field(4, b'"\x06Gather')),
    "metadata of a graph that is none": _odd_metadata,
    "numbers of an attribute that are none": _inside(
        1, bytes_field(5, bytes_field(1, b"axes") + bytes_field(8, b"\xff"))
    ),
    "a cut end": lambda data: data[:-1],
    "nothing": lambda data: b"",
    "something else": lambda data: b"not a graph",
}


def forged(data: bytes, name: str) -> bytes:
    """The graph with the forgery of this name."""
    if name in BROKEN:
        return BROKEN[name](data)
    model = ModelProto.FromString(data)
    FORGERIES[name](model)
    return model.SerializeToString()


def failing(data: bytes, output: str = "probs") -> bytes:
    """The graph with nothing to refuse, and an output that is not finite."""
    model = ModelProto.FromString(data)
    (last,) = (node for node in model.graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "right"
    for operator, given, made in (
        ("Abs", "right", "size"),
        ("Neg", "size", "below_zero"),
        ("Log", "below_zero", output),
    ):
        model.graph.node.append(helper.make_node(operator, [given], [made]))
    return model.SerializeToString()


def with_open_columns(data: bytes) -> bytes:
    """The graph with nothing to refuse, and no more probabilities than the text has ids."""
    model = ModelProto.FromString(data)
    (last,) = (node for node in model.graph.node if "probs" in node.output)
    last.output[0] = "right"
    for name, value in (("first", 0), ("second", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    for operator, given, made in (
        ("Shape", ["input_ids"], "sizes"), ("Gather", ["sizes", "second"], "length"),
        ("Slice", ["right", "first", "length", "second"], "probs"),
    ):  # fmt: skip
        model.graph.node.append(helper.make_node(operator, given, [made]))
    (output,) = (output for output in model.graph.output if output.name == "probs")
    output.type.tensor_type.shape.dim[1].dim_param = "open"
    return model.SerializeToString()


def scrambled(data: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """The graph with some bytes changed near the beginning of one of its fields, where the structure is."""
    (graph,) = (part for part in fields(data) if part.number == 7)
    parts = [bytes(part.raw) for part in fields(graph.view) if part.kind == BYTES]
    outside = b"".join(bytes(part.raw) for part in fields(data) if part.number != 7)
    for _ in range(count):
        changed, index = list(parts), chance.randrange(len(parts))
        field = bytearray(parts[index])
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(min(len(field), 80))
            field[at : at + chance.choice((0, 1, 1))] = chance.randbytes(chance.choice((0, 1, 1, 1)))
            if not field:
                break
        changed[index] = bytes(field)
        yield bytes_field(7, b"".join(changed)) + outside
