"""Compose random graphs of one or two operators, and check that whatever passes the check is safe to run.

    python -m benchmarks.robustness.compose_graphs --graphs 50000 --json FILE

Most nodes have a form of ``graph_rules.json`` with random shapes, numbers and attributes. Some have an input too many, an input left out,
numbers of another type, or an attribute out of its range. The rest are operators drawn from all that onnxruntime has, with inputs and
attributes that fit their schemas. A graph that the check accepts is loaded and run by onnxruntime
in a child process, with two lengths, and twice each while new memory holds another pattern: results that differ come from memory
that nobody wrote. The benchmark fails if a process dies, a run takes long, results differ, or a graph was accepted that has a node
no build writes.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.progress import Progress

from crosstune_export import BundleContentError
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.graph_rules import OPERATORS, OperatorRules
from crosstune_export.bundle.manifest import GraphFacts

#: Graphs in one child process.
SHARE = 500
SLOW_S = 2.0
LONGEST = 16
_M_PERTURB = -6  # malloc.h: new memory holds the complement of this byte
_PATTERNS = (0x55, 0xAA)
_DTYPES: Mapping[str, type] = {
    "f": np.float32, "h": np.float16, "l": np.int64, "i": np.int32, "u": np.uint8, "c": np.int8, "b": np.bool_,
}  # fmt: skip
_SHAPES = (
    (), (), (1,), (1,), (4,), (4,), (12,), (2,), (3,), (0,),
    (1, 4), (4, 4), (4, 12), (8, 4), (1, 1, 4), (1, 3, 4), (2, 1, 1, 4),
)  # fmt: skip
_NUMBERS = (0, 0, 1, 1, -1, 2, 3, 4, -2, 5, 12, 127, 1 << 20, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-3, 3e4, -3e4, 65504.0)
#: Values that every graph computes: float32 (B, T, 4), the same in levels, int32 (B, T), float32 (B, 1, T, T).
_KNOWN = {"states": "f", "levels": "u", "mask": "i", "pairs": "f", "input_ids": "l", "attention_mask": "l"}
#: Inputs that an operator needs, where random ones would rarely fit: a value, a shape, or numbers.
_FITTING: Mapping[str, tuple[object, ...]] = {
    "Attention": ("states", (4, 12), (12,), "mask"),
    "BiasGelu": ("states", (4,)),
    "Clip": ("any", (), ()),
    "Expand": ("any", [2, 1, 4]),
    "FusedMatMul": ("states", (4, 12)),
    "GatherND": ("any", [[0, 0]]),
    "Gemm": ((3, 4), (12, 4), (12,)),
    "LayerNormalization": ("states", (4,), (4,)),
    "MatMul": ("states", (4, 12)),
    "MatMulIntegerToFloat": ("levels", (4, 12), (), (), (), (), (12,)),
    "MultiHeadAttention": ("states", "states", "states", (12,), None, "pairs"),
    "Pad": ("states", [0, 0, 0, 0, 1, 0], ()),
    "QAttention": ("levels", (4, 12), (12,), (), (), "mask", (), ()),
    "QuantizeLinear": ("states", (), ()),
    "Range": (0, 5, 1),
    "ReduceL2": ("states", [-1]),
    "ReduceMax": ("states", [1]),
    "ReduceMean": ("states", [1, 2]),
    "ReduceSum": ("any", [0]),
    "Reshape": ("states", [-1, 1, 4]),
    "ScatterND": ((3, 4), [[1], [0]], (2, 4)),
    "SkipLayerNormalization": ("states", "states", (4,), (4,), (4,)),
    "Slice": ("any", [0], [1], [1], [1]),
    "Split": ("states",),
    "Tile": ("states", [1, 2, 1]),
    "TopK": ((4,), [2]),
    "Unsqueeze": ("any", [0, -1]),
}


_LETTERS: Mapping[str, str] = {
    "tensor(float)": "f", "tensor(float16)": "h", "tensor(int64)": "l", "tensor(int32)": "i", "tensor(uint8)": "u",
    "tensor(int8)": "c", "tensor(bool)": "b",
}  # fmt: skip


@functools.cache
def _schemas() -> list[Any]:
    """The schemas of onnxruntime's operators in the domains that graphs may name."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    found = [schema for schema in get_all_operator_schema() if schema.domain in ("", "com.microsoft")]
    return sorted(found, key=lambda schema: (schema.domain, schema.name, schema.since_version))


class Composer:
    """Composes one graph. The seed decides everything."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._constants: dict[str, npt.NDArray[np.generic]] = {
            "table": np.arange(32, dtype=np.float32).reshape(8, 4) / 8,
            "step": np.array(0.02, np.float32),
            "zero": np.array(3, np.uint8),
            "first": np.array([1], np.int64),
            "last": np.array([2], np.int64),
        }
        self._values = dict(_KNOWN)
        self._nodes = [
            helper.make_node("Gather", ["table", "input_ids"], ["states"], axis=0),
            helper.make_node("QuantizeLinear", ["states", "step", "zero"], ["levels"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=6),
            helper.make_node("Cast", ["attention_mask"], ["ones"], to=1),
            helper.make_node("Unsqueeze", ["ones", "last"], ["columns"]),
            helper.make_node("Unsqueeze", ["ones", "first"], ["rows"]),
            helper.make_node("MatMul", ["columns", "rows"], ["products"]),
            helper.make_node("Unsqueeze", ["products", "first"], ["pairs"]),
        ]
        self.names: list[str] = []

    def compose(self) -> tuple[bytes, GraphFacts]:
        """Return a graph and the section ``graph`` of its manifest."""
        keys = [
            (domain, name)
            for domain, operators in OPERATORS.items()
            for name, rules in operators.items()
            if rules.forms
        ]
        for _ in range(self._draw.choice((1, 1, 2))):
            if self._draw.random() < 0.2:
                self._add_any()
                continue
            domain, name = self._draw.choice(keys)
            self._add(domain, name, OPERATORS[domain][name])
        outputs = self._draw.sample(sorted(self._values), len(self._values)) if self._draw.random() < 0.02 else []
        outputs = outputs or [name for name in self._values if name.startswith("y")] or ["states"]
        graph = helper.make_graph(
            self._nodes,
            "g",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"])
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="")
        facts = GraphFacts(("input_ids", "attention_mask"), tuple(outputs), "fp32", 18, 10, "1.20.0", (), 1)
        return model.SerializeToString(), facts

    def _add(self, domain: str, name: str, rules: OperatorRules) -> None:
        draw = self._draw
        form = draw.choice(sorted(rules.forms))
        types = form[0] * draw.randrange(1, 5) if form.endswith("+") else form
        attributes = {key: self._attribute(rule.type, rule.lowest, rule.highest, rule.most)
                      for key, rule in rules.attributes.items() if key in ("to", "num_heads", "perm") or draw.random() < 0.7}  # fmt: skip
        if rules.shape == "cast":
            attributes["to"] = next(
                number for number, letter in ((1, "f"), (6, "i"), (7, "l"), (9, "b")) if letter == types[-1]
            )
            types = types[:-1]
        fitting = _FITTING.get(name, ()) if draw.random() < 0.8 else ()
        wanted = [*fitting, *["any"] * len(types)]
        inputs = [self._input(letter, wanted[index]) for index, letter in enumerate(types)]
        if draw.random() < 0.15:  # what no build writes
            self._spoil(inputs, attributes)
        outputs = [f"y{len(self._nodes)}_{index}" for index in range(draw.choice((1, len(rules.forms[form]))))]
        if draw.random() < 0.03:
            outputs.append("y_more")
        self._nodes.append(helper.make_node(name, inputs, outputs, domain=domain, **attributes))
        self.names.append(name)
        for output, letter in zip(outputs, rules.forms[form], strict=False):
            self._values[output] = letter

    def _add_any(self) -> None:
        """A node as the schema of an operator of onnxruntime allows it."""
        draw, schema = self._draw, self._draw.choice(_schemas())
        kinds = {
            kind.type_param_str: draw.choice(
                [_LETTERS[name] for name in kind.allowed_type_strs if name in _LETTERS] or ["f"]
            )
            for kind in schema.type_constraints
        }
        fewest, most = max(schema.min_input, 0), min(schema.max_input, 8)
        inputs = []
        for index in range(draw.randint(fewest, max(fewest, most)) if schema.inputs else 0):
            declared = schema.inputs[min(index, len(schema.inputs) - 1)].typeStr
            letter = kinds.get(declared) or _LETTERS.get(declared, "f")
            left_out = index >= fewest and draw.random() < 0.35
            inputs.append("" if left_out else self._input(letter, draw.choice(("any", "states"))))
        attributes = {
            name: self._any_attribute(str(attribute.type).rpartition(".")[2])
            for name, attribute in schema.attributes.items()
            if attribute.required or draw.random() < 0.5
        }
        count = draw.randint(max(1, schema.min_output), max(1, min(schema.max_output, 4)))
        outputs = [f"y{len(self._nodes)}_{index}" for index in range(count)]
        self._nodes.append(helper.make_node(schema.name, inputs, outputs, domain=schema.domain, **attributes))
        self.names.append(schema.name)
        self._values |= dict.fromkeys(outputs, kinds.get(schema.outputs[0].typeStr, "f") if schema.outputs else "f")

    def _any_attribute(self, kind: str) -> object:
        numbers = (0, 1, 1, 2, 3, -1, -2, 7, 16, 1 << 31, (1 << 63) - 1)
        if kind == "INT":
            return self._draw.choice(numbers)
        if kind == "INTS":
            return self._draw.choices(numbers, k=self._draw.randrange(1, 5))
        if kind == "FLOAT":
            return self._draw.choice((0.0, 1.0, -1.0, 1e-5, 1e30))
        return self._draw.choice(("", "constant", "ij,jk->ik", "NOTSET", "tanh")) if kind == "STRING" else None

    def _input(self, letter: str, wanted: object) -> str:
        if letter == "-" or wanted is None:
            return ""
        known = [name for name, kind in self._values.items() if kind == letter]
        if _KNOWN.get(str(wanted)) == letter:
            return str(wanted)
        if wanted == "any" and known and self._draw.random() < 0.5:
            return self._draw.choice(known[-3:])
        name = f"c{len(self._constants)}"
        if isinstance(wanted, (int, list)):
            self._constants[name] = np.array(wanted, _DTYPES[letter])
            return name
        shape = wanted if isinstance(wanted, tuple) else self._draw.choice(_SHAPES)
        self._constants[name] = self._array(letter, shape)
        return name

    def _array(self, letter: str, shape: tuple[int, ...]) -> npt.NDArray[np.generic]:
        dtype, size = _DTYPES[letter], int(np.prod(shape, dtype=int))
        if letter in "fh":
            return np.array([self._draw.choice(_FLOATS) for _ in range(size)]).astype(dtype).reshape(shape)
        if letter == "b":
            return np.array([self._draw.random() < 0.5 for _ in range(size)], bool).reshape(shape)
        limits, few = np.iinfo(dtype), self._draw.random() < 0.8
        numbers = [self._draw.choice(_NUMBERS[:10] if few else _NUMBERS) for _ in range(size)]
        return np.array([max(limits.min, min(limits.max, number)) for number in numbers], dtype).reshape(shape)

    def _attribute(self, kind: str, lowest: float, highest: float, most: int) -> object:
        if kind == "float":
            return self._draw.choice((lowest, highest, self._draw.uniform(lowest, highest)))
        if kind == "ints":
            return self._draw.sample(range(int(highest) + 1), self._draw.choice((most, most - 1)))
        return self._draw.randint(int(lowest), int(min(highest, lowest + 4)))

    def _spoil(self, inputs: list[str], attributes: dict[str, object]) -> None:
        how = self._draw.randrange(6)
        if how == 0:
            inputs.insert(self._draw.randint(0, len(inputs)), "")
        elif how == 1:
            inputs.append(self._draw.choice(sorted(self._values)))
        elif how == 2 and inputs:
            del inputs[self._draw.randrange(len(inputs))]
        elif how == 3 and inputs:
            inputs[self._draw.randrange(len(inputs))] = self._draw.choice(("", "states", "input_ids"))
        elif how == 4 and attributes:
            attributes[self._draw.choice(sorted(attributes))] = self._draw.choice(
                (-9, 7, 1 << 31, (1 << 63) - 1, float("nan"), [1, 2], "x")
            )
        else:
            attributes[self._draw.choice(("saturate", "batch_dims", "axis", "to", "num_outputs"))] = self._draw.choice(
                _NUMBERS
            )


def unknown_form(node: NodeProto) -> str:
    """Why no build writes a node, by what the onnx package reads; "" where one does."""
    rules = OPERATORS.get(node.domain, {}).get(node.op_type)
    if rules is None:
        return f"{node.op_type}: not in the rules"
    for attribute in node.attribute:
        if attribute.name not in rules.attributes:
            return f"{node.op_type}: attribute {attribute.name}"
        allowed, value = rules.attributes[attribute.name], helper.get_attribute_value(attribute)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, (int, float)) and allowed.lowest <= v <= allowed.highest for v in values):
            return f"{node.op_type}: {attribute.name}={value!r}"
    counts = {len(form) - (rules.shape == "cast") for form in rules.forms}
    gaps = {tuple(i for i, letter in enumerate(form) if letter == "-") for form in rules.forms}
    if any(form.endswith("+") for form in rules.forms):
        counts, gaps = set(range(1, 257)), {()}
    if len(node.input) not in counts or tuple(i for i, name in enumerate(node.input) if not name) not in gaps:
        return f"{node.op_type}: inputs {list(node.input)}"
    return ""


def run_once(model: bytes, feeds: Mapping[str, npt.NDArray[np.int64]]) -> list[bytes] | None:
    """Load and run a graph; None where onnxruntime refuses it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena, options.enable_mem_pattern = False, False
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return [np.asarray(array).tobytes() for array in session.run(None, dict(feeds))]
    except Exception:  # onnxruntime's errors have no common class
        return None


def outcome(seed: int) -> dict[str, object]:
    """What became of one graph."""
    composer = Composer(seed)
    try:
        model, facts = composer.compose()
    except (ValueError, TypeError, OverflowError):  # the onnx package cannot write it
        return {"result": "not written", "names": composer.names}
    try:
        check_graph(model, facts, "here", LONGEST)
    except BundleContentError:
        return {"result": "refused", "names": composer.names}
    parsed = ModelProto.FromString(model)
    wrong = [reason for node in parsed.graph.node if (reason := unknown_form(node))]
    started, ran = time.process_time(), False
    libc = ctypes.CDLL(None)
    for texts, tokens in ((1, LONGEST), (2, 5)):
        ids = np.arange(texts * tokens, dtype=np.int64).reshape(texts, tokens) % 8
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        found = []
        for pattern in _PATTERNS:
            libc.mallopt(_M_PERTURB, pattern)
            found.append(run_once(model, feeds))
        libc.mallopt(_M_PERTURB, 0)
        ran = ran or found[0] is not None
        if found[0] != found[1]:
            wrong.append("results depend on memory that nobody wrote")
    if time.process_time() - started > SLOW_S:
        wrong.append(f"slow: {time.process_time() - started:.1f} s")
    return {"result": "ran" if ran else "onnxruntime refused", "names": composer.names, "wrong": wrong}


def outcomes(count: int, first: int) -> Iterator[dict[str, object]]:
    """What became of each graph; a child that dies is a crash, and the next goes on behind it."""
    at, end = first, first + count
    while at < end:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            for seed in range(at, min(end, at + SHARE)):
                os.write(writer, f"{seed}\n".encode())
                os.write(writer, (json.dumps(outcome(seed)) + "\n").encode())
            os._exit(0)
        os.close(writer)
        done = True
        with os.fdopen(reader) as lines:
            for line in lines:
                done = line.startswith("{")
                if done:
                    yield {"seed": at - 1, **json.loads(line)}
                else:
                    at = int(line) + 1
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not done or status:
            yield {"seed": at - 1, "result": "crash", "names": [], "wrong": [f"the process ended with {status}"]}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=5_000, help="number of graphs")
    parser.add_argument("--first", type=int, default=0, help="seed of the first graph")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    results: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    wrong = []
    with Progress(console=Console(stderr=True)) as progress:
        for row in progress.track(outcomes(arguments.graphs, arguments.first), arguments.graphs, description="graphs"):
            results[str(row["result"])] += 1
            if row["result"] == "ran":
                ran.update(set(row["names"]))  # type: ignore[call-overload]
            if row.get("wrong"):
                wrong.append(row)
    known = {name for operators in OPERATORS.values() for name, rules in operators.items() if rules.forms}
    never = sorted(known - set(ran))
    found = {
        "graphs": arguments.graphs,
        "first": arguments.first,
        "results": dict(results),
        "wrong": wrong,
        "ran": dict(sorted(ran.items())),
        "never_ran": never,
    }
    print(json.dumps(found, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
