"""What a phone needs beside a bundle: the graph in onnxruntime's own format, the operators it uses, and who would run them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from crosstune.core.errors import GateError
from crosstune.core.outputs import new_folder
from crosstune_export.bundle.manifest import BundleManifest, GraphFacts
from crosstune_export.runtime.session import open_inner

ORT_NAME, OPERATORS_NAME, REPORT_NAME = "model.ort", "required_operators.config", "README.md"
#: Largest difference of a probability between the two formats of one graph.
TOLERANCE = 1e-5
#: What we believe onnxruntime's XNNPACK provider has kernels for among the operators of an encoder; its wheel has no list.
_XNNPACK = ("Gemm", "MatMul", "Softmax")

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Accelerator:
    """What an execution provider would take of a graph.

    Attributes:
        name: The provider.
        nodes: How many nodes at most.
        partitions: Into how many pieces they fall; each is a way there and back.
        refused: Operators it does not have, sorted.
    """

    name: str
    nodes: int
    partitions: int
    refused: tuple[str, ...]


@dataclass(frozen=True)
class MobileFiles:
    """What was written.

    Attributes:
        path: The folder.
        size_bytes: Of the graph.
        operators: Distinct operators that a reduced build must have.
        nodes: Nodes of the graph.
        accelerators: What each would take.
    """

    path: Path
    size_bytes: int
    operators: int
    nodes: int
    accelerators: tuple[Accelerator, ...]


def mobile_path(bundle: Path) -> Path:
    """Where the folder for phones stands: beside the bundle.

    Example:
        >>> mobile_path(Path("out/phone.bundle")).name
        'phone.mobile'
    """
    return bundle.with_name(bundle.name.removesuffix(".bundle") + ".mobile")


@dataclass(frozen=True)
class PhoneGraph:
    """A bundle's graph for phones, not yet written.

    Attributes:
        converted: In onnxruntime's format.
        optimized: The same as ONNX, for what its nodes are.
        difference: Largest difference of a probability to the bundle's graph.
    """

    converted: bytes = field(repr=False)
    optimized: onnx.ModelProto = field(repr=False)
    difference: float


def convert(bundle: Path, facts: GraphFacts, model: bytes, samples: Sequence[Feeds]) -> PhoneGraph:
    """Convert a bundle's graph and check that the converted one answers the same.

    Args:
        bundle: The bundle's folder, there or not yet; for messages.
        facts: Of the graph.
        model: The graph.
        samples: Inputs of the graph to compare answers on.

    Raises:
        GateError: The converted graph answers otherwise.
    """
    converted, optimized = (_saved(model, facts, name) for name in ("ORT", "ONNX"))
    where = f"the graph for phones of {bundle.name}"
    before = open_inner(model, where, disabled_optimizers=facts.disabled_optimizers)
    after = open_inner(converted, where)
    names = list(facts.inputs)
    difference = max(
        float(np.abs(one - other).max())
        for feeds in samples
        for one, other in [
            [session.run(["probs"], {name: feeds[name] for name in names})[0] for session in (before, after)]
        ]
    )
    if not difference <= TOLERANCE:
        raise GateError(
            f"{where}: differs from the bundle by {difference:.1e}, expected at most {TOLERANCE:.0e}. Report it."
        )
    return PhoneGraph(converted, onnx.load_from_string(optimized), difference)


def write_mobile(bundle: Path, manifest: BundleManifest, phone: PhoneGraph) -> MobileFiles:
    """Write the folder for phones.

    Args:
        bundle: The bundle's folder.
        manifest: Of the bundle, as written.
        phone: Its graph, converted.

    Raises:
        ResourceError: The disk refuses a write.
    """
    graph = phone.optimized
    operators = required_operators(graph)
    found = MobileFiles(
        mobile_path(bundle),
        len(phone.converted),
        sum(line.count(",") + 1 for line in operators.splitlines()),
        len(graph.graph.node),
        accelerators(graph),
    )
    files = {
        ORT_NAME: phone.converted,
        OPERATORS_NAME: operators.encode(),
        REPORT_NAME: _report(manifest, found, phone.difference).encode(),
    }
    with new_folder(found.path) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return found


def required_operators(model: onnx.ModelProto) -> str:
    """The configuration file of a reduced build: ``domain;version;operators`` a line, versions as the operators' own.

    A version is the first opset in which the operator is as it is used, which is how onnxruntime numbers its kernels.
    """
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    lines: dict[tuple[str, int], set[str]] = {}
    for node in model.graph.node:
        domain = node.domain or "ai.onnx"
        version = 1
        if domain == "ai.onnx":
            version = onnx.defs.get_schema(node.op_type, opsets[domain], "").since_version
        lines.setdefault((domain, version), set()).add(node.op_type)
    return "".join(
        f"{domain};{version};{','.join(sorted(names))}\n" for (domain, version), names in sorted(lines.items())
    )


def accelerators(model: onnx.ModelProto) -> tuple[Accelerator, ...]:
    """What CoreML, NNAPI and XNNPACK would take, by onnxruntime's own checker where it has one.

    Lengths are taken as fixed, as a phone that wants an accelerator must fix them.
    """
    from onnxruntime.tools.mobile_helpers import usability_checker as checker

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        shaped = checker.ModelProtoWithShapeInfo(path).model_with_shape_info
    lists = {
        "CoreML (ML Program)": ("coreml", "coreml_supported_mlprogram_ops.md"),
        "CoreML (NeuralNetwork)": ("coreml", "coreml_supported_neuralnetwork_ops.md"),
        "NNAPI": ("nnapi", ""),
    }
    found = []
    for name, (kind, file) in lists.items():
        info = (
            checker.check_nnapi_partitions(shaped, False)
            if kind == "nnapi"
            else checker.check_coreml_partitions(shaped, False, file)
        )
        refused = tuple(sorted(operator.removeprefix("ai.onnx:") for operator in info.unsupported_ops))
        found.append(Accelerator(name, info.num_supported_nodes, info.num_partitions, refused))
    constants = {tensor.name for tensor in model.graph.initializer}
    taken = [
        node
        for node in model.graph.node
        if node.op_type in _XNNPACK and (node.op_type == "Softmax" or node.input[1] in constants)
    ]
    others = {
        f"{node.domain}:{node.op_type}".removeprefix(":") for node in model.graph.node if node.op_type not in _XNNPACK
    }
    found.append(Accelerator("XNNPACK", len(taken), len(taken), tuple(sorted(others))))
    return tuple(found)


def _saved(model: bytes, facts: GraphFacts, save_format: str) -> bytes:
    """The graph as onnxruntime saves it after its own rewrites that are good for every processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 4
        options.add_session_config_entry("session.save_model_format", save_format)
        onnxruntime.InferenceSession(
            model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(facts.disabled_optimizers) or None,
        )
        return path.read_bytes()


def _report(manifest: BundleManifest, found: MobileFiles, difference: float) -> str:
    rows = [
        f"| {one.name} | {one.nodes} of {found.nodes} | {one.partitions} | {', '.join(one.refused)} |"
        for one in found.accelerators
    ]
    same = f"to {difference:.0e}" if difference else "bit for bit"
    return "\n".join(
        [
            f"# {' '.join(manifest.name.split())} for phones",
            "",
            f"Made from the bundle with digest `{manifest.digest}` by onnxruntime {onnxruntime.__version__}.",
            "",
            "| file | what |",
            "|---|---|",
            f"| `{ORT_NAME}` | the bundle's graph in onnxruntime's format, {found.size_bytes / 1e6:.1f} MB; its probabilities "
            f"on the self-test are the bundle's {same} |",
            f"| `{OPERATORS_NAME}` | the {found.operators} operators it uses, for `build.py --include_ops_by_config` |",
            "",
            "Tokenizer, labels and thresholds are in the bundle. The graph runs on the CPU provider as it is.",
            "",
            "## What accelerators would take",
            "",
            "CoreML and NNAPI by the checker that comes with onnxruntime, lengths taken as fixed; XNNPACK by the operators that "
            "it is believed to have, at most. Each partition is a way to the accelerator and back: many small ones are slower than none.",
            "",
            "| provider | nodes | partitions | operators it does not have |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
