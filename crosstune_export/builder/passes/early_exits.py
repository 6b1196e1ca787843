"""Lets easy texts leave the graph early: after the word vectors or after some layers, with the answer of a small head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from crosstune_export.bundle.label_bank import EXIT_PREFIX

Floats = npt.NDArray[np.float32]
_MASK = "attention_mask"


@dataclass(frozen=True)
class ExitHead:
    """What answers a text that leaves: a linear map of its mean token state, scaled to length 1.

    Attributes:
        layer: Number of layers below it; 0 is after the word vectors.
        keys: Weights of the labels, float32 (L, D).
        bias: float32 (L,).
        threshold: Texts whose best probability reaches it leave, from 0 to 1; 2 for none.
        similarity_key: Weights of the similarity, float32 (1, D); None for a graph without it.
        similarity_bias: float32 (1,); None for a graph without it.
    """

    layer: int
    keys: Floats
    bias: Floats
    threshold: float
    similarity_key: Floats | None = None
    similarity_bias: Floats | None = None


class NoExitsError(ValueError):
    """The graph cannot have exits; the message says why."""


def apply(model: onnx.ModelProto, states: Sequence[str], exits: Sequence[ExitHead]) -> None:
    """Split the graph into parts at the exits; an ``If`` runs each part but the first, for the texts that have not left.

    The rows that go on are gathered before a part and scattered back after it, so that a batch may mix texts that leave with
    texts that do not. All constants stay in the main graph, since onnxruntime packs those of one level of branches only, and
    the ``If`` nodes follow each other instead of being nested.

    Requires: a graph without a function, whose parts share only the states of layers and what follows from the mask.
    Ensures: the outputs of the graph for texts that do not leave; for others ``text_vector`` is zero.

    Args:
        model: Changed in place.
        states: Names of the hidden states, (B, T, D) each: the word vectors, then the output of each layer.
        exits: At least one, by ascending layer.

    Raises:
        NoExitsError: A later part needs something else of an earlier one.
    """
    graph = model.graph
    fixed, parts = _parts(graph, [states[part.layer] for part in exits])
    writer = _Writer(graph, [*fixed, *parts[0]])
    base, outputs = states[exits[0].layer], [value.name for value in graph.output]
    # Where the main graph has the answers, the flags of texts that go on, and the states of parts that have run.
    current = {"text_vector": _no_vectors(writer, graph)} | _head(writer, 0, exits[0], base, _MASK)
    for number, part in enumerate(parts[1:]):
        later = {name for other in parts[number + 2 :] for node in other for name in node.input}
        made = {name for node in part for name in node.output}
        handed = [name for name in states if name in made & later]
        branch = _Writer(graph, [], f"{EXIT_PREFIX}{number}.on.")
        rows, where = _rows(branch, current["go"])
        gathered = {_MASK: branch.add("Gather", [_MASK, rows], _MASK, axis=0)}
        for node in part:
            for name in node.input:
                if name in states and name not in made and name not in gathered:
                    gathered[name] = branch.add("Gather", [current.get(name, name), rows], name, axis=0)
        _again(branch, graph, part, gathered, {name: branch.prefix + name for name in outputs})
        fresh = {name: branch.prefix + name for name in outputs}
        if number + 1 < len(exits):
            head = exits[number + 1]
            fresh = _head(branch, number + 1, head, states[head.layer], gathered[_MASK])
        fresh |= {name: name for name in handed}
        other = _Writer(graph, [], f"{EXIT_PREFIX}{number}.left.")
        merged, left = [], []
        for name, value in fresh.items():
            before = current.get(name, base)
            merged.append(branch.add("ScatterND", [before, where, value], "all." + name))
            left.append(other.add("Identity", [before], name))
        after = [f"{EXIT_PREFIX}{number}.after.{name}" for name in fresh]
        if number + 1 == len(exits):
            after = list(fresh)
        some = writer.add(
            "ReduceMax", [current["go"], writer.integers("first_axis", [0])], f"{number}.some", keepdims=0
        )
        goes_on = writer.add("Cast", [some], f"{number}.goes_on", to=TensorProto.BOOL)
        writer.nodes.append(
            helper.make_node(
                "If",
                [goes_on],
                after,
                name=f"{EXIT_PREFIX}{number}",
                then_branch=branch.graph("go_on", merged),
                else_branch=other.graph("left", left),
            )
        )
        current |= dict(zip(fresh, after, strict=True))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(writer.nodes)


@dataclass
class _Writer:
    """Collects the nodes of the main graph or of a branch, and adds constants to the main graph."""

    main: onnx.GraphProto
    nodes: list[onnx.NodeProto]
    prefix: str = EXIT_PREFIX

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: int) -> str:
        """Add a node with one output and return the output's name."""
        self.nodes.append(helper.make_node(operator, inputs, [self.prefix + name], **attributes))
        return self.prefix + name

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        """Add a constant, unless there is one of this name, and return its whole name."""
        whole = EXIT_PREFIX + name
        if whole not in {tensor.name for tensor in self.main.initializer}:
            self.main.initializer.append(numpy_helper.from_array(np.asarray(array), whole))
        return whole

    def integers(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int64))

    def graph(self, name: str, outputs: Sequence[str]) -> onnx.GraphProto:
        values = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
        return helper.make_graph(self.nodes, name, [], values)


def _parts(graph: onnx.GraphProto, ends: Sequence[str]) -> tuple[list[onnx.NodeProto], list[list[onnx.NodeProto]]]:
    """Return the nodes that read constants only, and the others, split after the nodes that compute ``ends``."""
    fixed = {tensor.name for tensor in graph.initializer}
    constant, rest = [], []
    for node in graph.node:
        if all(name in fixed for name in node.input):
            constant.append(node)
            fixed.update(node.output)
        else:
            rest.append(node)
    parts = []
    for end in ends:
        needed, below = {end}, []
        for node in reversed(rest):
            if needed.intersection(node.output):
                needed.update(node.input)
                below.append(node)
        parts.append(below[::-1])
        taken = {node.output[0] for node in below}
        rest = [node for node in rest if node.output[0] not in taken]
    return constant, [*parts, rest]


def _no_vectors(writer: _Writer, graph: onnx.GraphProto) -> str:
    """Return text vectors of zeros, for texts that leave."""
    [output] = [value for value in graph.output if value.name == "text_vector"]
    size = output.type.tensor_type.shape.dim[1].dim_value
    texts = writer.add("Shape", [_MASK], "texts", start=0, end=1)
    shape = writer.add("Concat", [texts, writer.integers("vector_size", [size])], "vector_shape", axis=0)
    return writer.add("Expand", [writer.constant("zero", np.zeros((1, 1), np.float32)), shape], "no_vectors")


def _head(writer: _Writer, number: int, head: ExitHead, state: str, mask: str) -> dict[str, str]:
    """Write the head of an exit, and return its answers: ``probs``, ``go`` (1 for texts that go on) and ``scope``."""
    last, middle = writer.integers("last_axis", [-1]), writer.integers("middle_axis", [1])
    weights = writer.add("Unsqueeze", [writer.add("Cast", [mask], "mask", to=TensorProto.FLOAT), middle], "weights")
    total = writer.add("MatMul", [weights, state], "total")
    unit = writer.add("Div", [total, writer.add("ReduceL2", [total, last], "length", keepdims=1)], "unit")
    vector = writer.add("Squeeze", [unit, middle], "vector")
    keys = [writer.constant(f"{number}.{name}", array) for name, array in (("keys", head.keys), ("bias", head.bias))]
    probs = writer.add("Softmax", [writer.add("Gemm", [vector, *keys], "logits", transB=1)], "head_probs", axis=-1)
    best = writer.add("ReduceMax", [probs, last], "best", keepdims=0)
    stays = writer.add(
        "Less", [best, writer.constant(f"{number}.threshold", np.array(head.threshold, np.float32))], "stays"
    )
    answers = {"probs": probs, "go": writer.add("Cast", [stays], "go", to=TensorProto.FLOAT)}
    if head.similarity_key is not None and head.similarity_bias is not None:
        keys = [
            writer.constant(f"{number}.{name}", array)
            for name, array in (("scope_key", head.similarity_key), ("scope_bias", head.similarity_bias))
        ]
        column = writer.add("Gemm", [vector, *keys], "scope_column", transB=1)
        answers["scope"] = writer.add("Squeeze", [column, middle], "head_scope")
    return answers


def _rows(writer: _Writer, go: str) -> tuple[str, str]:
    """Write which rows go on, and return their indices, (R,) and (R, 1)."""
    ones = writer.add("Cast", [go], "ones", to=TensorProto.INT64)
    count = writer.add("ReduceSum", [ones, writer.integers("first_axis", [0])], "count", keepdims=1)
    # Never none, even in a graph that somebody changed: onnxruntime's attention cannot take an empty batch.
    some = writer.add("Max", [count, writer.integers("one", [1])], "at_least_one")
    rows = writer.prefix + "rows"
    outputs = [writer.prefix + "sorted", rows]
    writer.nodes.append(helper.make_node("TopK", [go, some], outputs, axis=0, largest=1, sorted=0))
    return rows, writer.add("Unsqueeze", [rows, writer.integers("middle_axis", [1])], "where")


def _again(
    writer: _Writer,
    graph: onnx.GraphProto,
    part: Sequence[onnx.NodeProto],
    renamed: dict[str, str],
    outputs: dict[str, str],
) -> None:
    """Copy a part into a branch; what earlier parts computed of the mask is computed again, of the rows that go on."""
    producers = {name: node for node in graph.node for name in node.output}
    made = {name for node in part for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    renamed = renamed | {name: outputs[name] for name in made & set(outputs)}

    def value(name: str) -> str:
        if name in renamed or name in made or name in constants or not name:
            return renamed.get(name, name)
        node = producers.get(name)
        if node is None:
            raise NoExitsError(f"a layer reads {name}")
        if not node.input or all(fixed(part) for part in node.input):
            return name
        inputs = [value(part) for part in node.input]
        copy = _copied(node, inputs, [writer.prefix + output for output in node.output])
        writer.nodes.append(copy)
        renamed.update(zip(node.output, copy.output, strict=True))
        return renamed[name]

    def fixed(name: str) -> bool:
        node = producers.get(name)
        return name in constants or (node is not None and all(fixed(part) for part in node.input))

    for node in part:
        writer.nodes.append(
            _copied(node, [value(name) for name in node.input], [outputs.get(name, name) for name in node.output])
        )


def _copied(node: onnx.NodeProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:], copy.output[:] = inputs, outputs
    return copy
