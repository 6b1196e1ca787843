"""Write the operators of ``graph_rules.json`` from graphs that builds write.

    python -m benchmarks.robustness.make_graph_rules --graphs FOLDER

Builds bundles of small random encoders of every architecture below, with both heads, for pairs, in every precision and with the
graphs of torch's older exporter, and takes the union of what their nodes look like. FOLDER keeps the graphs; those that are there
already are not built again. A graph that is one call of the function ``Classify`` counts with the nodes of the function. An operator
that comes new needs a rule for its shape in ``_SHAPES``, and the same in ``graph_shapes`` of the three runtimes.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

RULES = Path(__file__).parents[2] / "crosstune_export" / "bundle" / "graph_rules.json"
#: How the shapes of the outputs follow from the inputs.
_SHAPES = {
    "attention": "Attention QAttention",
    "broadcast": "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Pow Sub Where",
    "cast": "Cast",
    "concat": "Concat",
    "expand": "Expand",
    "gather": "Gather",
    "gather elements": "GatherElements",
    "gather nd": "GatherND",
    "gemm": "Gemm",
    "multihead": "MultiHeadAttention",
    "matmul": "FusedMatMul MatMul MatMulIntegerToFloat",
    "pad": "Pad",
    "range": "Range",
    "reduce": "ReduceL2 ReduceMax ReduceMean ReduceSum",
    "reshape": "Reshape",
    "rows": "TopK",
    "same": "Abs BiasGelu Ceil Clip Cos CumSum FastGelu Gelu Identity LayerNormalization Log Neg Not QuantizeLinear "
    "Reciprocal Relu Sigmoid Sign SimplifiedLayerNormalization Sin Softmax Sqrt Tanh",
    "scatter nd": "ScatterND",
    "shape": "Shape",
    "skip norm": "SkipLayerNormalization SkipSimplifiedLayerNormalization",
    "slice": "Slice",
    "split": "Split",
    "squeeze": "Squeeze",
    "tile": "Tile",
    "transpose": "Transpose",
    "unsqueeze": "Unsqueeze",
}
_SHAPE_OF = {name: shape for shape, names in _SHAPES.items() for name in names.split()}
#: Operators that take any number of inputs of one type.
_VARIADIC = frozenset({"Concat"})
#: Attributes that depend on the size of the encoder or of the head: the range to allow instead of the values of small ones.
_WIDER: Mapping[str, tuple[float, float]] = {
    "num_heads": (1, 256),
    "epsilon": (1e-13, 1e-2),
    "alpha": (0.001, 1.0),  # of FusedMatMul: one by the root of the size of a head
    "scale": (0.001, 1.0),  # of MultiHeadAttention: the same
}
_LETTERS = {1: "f", 2: "u", 3: "c", 6: "i", 7: "l", 9: "b", 10: "h", 11: "d"}
_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
_BY_NAME = {
    "tensor(float)": 1,
    "tensor(uint8)": 2,
    "tensor(int8)": 3,
    "tensor(int32)": 6,
    "tensor(int64)": 7,
    "tensor(bool)": 9,
    "tensor(float16)": 10,
    "tensor(double)": 11,
}


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with the nodes of its function in place of the call; values have the same names inside and outside."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for function in model.functions:
        [call] = plain.graph.node
        if [*call.input, *call.output] != [*function.input, *function.output]:
            raise SystemExit(f"{function.name}: found other names outside, expected the same: teach the runtimes first")
        del plain.graph.node[:], plain.functions[:]
        plain.graph.node.extend(function.node)
    for node in [node for node in plain.graph.node if node.op_type == "If"]:  # both branches, and one of their results
        branches = {attribute.name: attribute.g for attribute in node.attribute}
        at = list(plain.graph.node).index(node)
        results = zip(branches["then_branch"].output, node.output, strict=True)
        nodes = [
            *branches["then_branch"].node,
            *branches["else_branch"].node,
            *(helper.make_node("Identity", [result.name], [name]) for result, name in results),
        ]
        rest = [*plain.graph.node[:at], *nodes, *plain.graph.node[at + 1 :]]
        del plain.graph.node[:]
        plain.graph.node.extend(rest)
    return plain


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the number type of each value, as onnxruntime infers it."""
    import onnxruntime

    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return types | {value.name: _BY_NAME[value.type] for value in session.get_outputs()}


def form_of(node: onnx.NodeProto, types: Mapping[str, int]) -> str:
    """Return the types of a node's inputs and outputs, such as ``ff>f``."""
    inputs, outputs = (
        "".join(_LETTERS[types[name]] if name else "-" for name in part) for part in (node.input, node.output)
    )
    if node.op_type == "Cast":  # the type that it casts to counts as its last input
        inputs += _LETTERS[helper.get_attribute_value(node.attribute[0])]
    if node.op_type in _VARIADIC and inputs == inputs[0] * len(inputs):
        inputs = f"{inputs[0]}+"
    return f"{inputs}>{outputs}"


def operators(models: Iterator[onnx.ModelProto]) -> dict[str, Any]:
    """Return the section ``operators`` of the rules."""
    forms: dict[tuple[str, str], set[str]] = defaultdict(set)
    values: dict[tuple[str, str], dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for model in map(inlined, models):
        types = types_of(model)
        for node in model.graph.node:
            key = node.domain, node.op_type
            forms[key].add(form_of(node, types))
            for attribute in node.attribute:
                values[key][attribute.name].append(helper.get_attribute_value(attribute))
    rules: dict[str, Any] = {"": {}, "com.microsoft": {}, "crosstune": {}}
    for (domain, name), seen in sorted(forms.items()):
        # A node may leave out its last outputs.
        whole = {form for form in seen if not any(other != form and other.startswith(form) for other in seen)}
        if len({form.partition(">")[0] for form in whole}) != len(whole):
            raise SystemExit(f"{name}: two results for the same types, expected one: {sorted(whole)}")
        entry: dict[str, Any] = {"shape": _SHAPE_OF[name], "forms": sorted(whole)}
        attributes = {key: _attribute(key, found) for key, found in sorted(values[domain, name].items())}
        rules[domain][name] = entry | ({"attributes": attributes} if attributes else {})
    return rules


def _attribute(name: str, found: list[Any]) -> dict[str, Any]:
    many = isinstance(found[0], list)
    flat = [value for item in found for value in (item if many else [item])]
    if not all(isinstance(value, (int, float)) for value in flat):
        raise SystemExit(f"{name}: found {found[0]!r}, expected numbers: teach the runtimes to check others first")
    kind = "ints" if many else "float" if isinstance(flat[0], float) else "int"
    rules = {"type": kind, "range": list(_WIDER.get(name, (min(flat), max(flat))))}
    return rules | ({"most": max(map(len, found))} if many else {})


def written(rules: dict[str, Any]) -> str:
    """Return the rules as JSON, with one operator or message a line."""
    sections = []
    for name, body in rules.items():
        if name == "operators":
            domains = (
                f"    {json.dumps(domain)}: {{\n"
                + ",\n".join(f"      {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
                + "\n    }"
                for domain, entries in body.items()
            )
            sections.append('  "operators": {\n' + ",\n".join(domains) + "\n  }")
        elif name == "messages":
            lines = (f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in body.items())
            sections.append('  "messages": {\n' + ",\n".join(lines) + "\n  }")
        else:
            sections.append(f"  {json.dumps(name)}: {json.dumps(body)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def main() -> None:
    """Entry point."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=Path, required=True, help="folder that keeps the graphs")
    parser.add_argument("--no-build", action="store_true", help="use the graphs of the folder as they are")
    arguments = parser.parse_args()
    if not arguments.no_build:
        from benchmarks.robustness.graph_corpus import write_graphs  # needs torch and some minutes

        write_graphs(arguments.graphs)
    paths = sorted(arguments.graphs.glob("*.onnx"))
    rules = json.loads(RULES.read_bytes())
    rules["operators"] = operators(onnx.load(path) for path in paths)
    used = {
        letter
        for part in rules["operators"].values()
        for entry in part.values()
        for form in entry["forms"]
        for letter in form
    }
    rules["types"] = {
        number: {"letter": letter, "bytes": _BYTES[number]} for number, letter in _LETTERS.items() if letter in used
    }
    RULES.write_text(written(rules), "utf-8")
    count = sum(len(part) for part in rules["operators"].values())
    print(f"{count} operators from {len(paths)} graphs")


if __name__ == "__main__":
    main()
