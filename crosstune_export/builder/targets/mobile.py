"""A folder for phones next to a bundle: the graph in the format of onnxruntime, and the list of its operators."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from crosstune.core.errors import GateError
from crosstune.core.outputs import new_folder
from crosstune_export.bundle.manifest import BundleManifest, GraphFacts
from crosstune_export.runtime.session import open_inner

ORT_NAME, OPERATORS_NAME, README_NAME = "model.ort", "required_operators.config", "README.md"
#: Largest difference of a probability between the two formats; chosen by hand, above the rounding of fp32.
TOLERANCE = 1e-5

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class MobileFiles:
    """The folder for phones, as written.

    Attributes:
        path: The folder.
        size_bytes: Size of ``model.ort``.
        operators: Number of distinct operators that a reduced build of onnxruntime needs.
    """

    path: Path
    size_bytes: int
    operators: int


def mobile_path(bundle: Path) -> Path:
    """Return the path of the folder for phones, next to the bundle.

    Examples:
        >>> mobile_path(Path("out/phone.bundle")).name
        'phone.mobile'
    """
    return bundle.with_name(bundle.name.removesuffix(".bundle") + ".mobile")


@dataclass(frozen=True)
class PhoneGraph:
    """A bundle's graph converted for phones, not yet written.

    Attributes:
        converted: The graph in the format of onnxruntime.
        optimized: The same graph as ONNX, to read its operators.
        difference: Largest difference of a probability from the bundle's graph.
    """

    converted: bytes = field(repr=False)
    optimized: onnx.ModelProto = field(repr=False)
    difference: float


def convert(bundle: Path, facts: GraphFacts, model: bytes, samples: Sequence[Feeds]) -> PhoneGraph:
    """Convert a bundle's graph and check that the converted one gives the same probabilities.

    Args:
        bundle: Path of the bundle, for messages; it need not exist yet.
        facts: Section ``graph`` of the manifest.
        model: Contents of ``model.onnx``.
        samples: Inputs of the graph on which the probabilities are compared.

    Raises:
        GateError: The converted graph gives other probabilities.
    """
    converted, optimized = (_saved(model, facts, name) for name in ("ORT", "ONNX"))
    where = f"the graph for phones of {bundle.name}"
    original_session = open_inner(model, where, disabled_optimizers=facts.disabled_optimizers)
    converted_session = open_inner(converted, where)
    difference = 0.0
    for sample in samples:
        feeds = {name: sample[name] for name in facts.inputs}
        original, phone = (session.run(["probs"], feeds)[0] for session in (original_session, converted_session))
        difference = float(np.maximum(difference, np.abs(original - phone).max()))  # np.maximum propagates NaN
    if not difference <= TOLERANCE:
        raise GateError(
            f"{where}: differs from the bundle by {difference:.1e}, expected at most {TOLERANCE:.0e}. Report it."
        )
    return PhoneGraph(converted, onnx.load_from_string(optimized), difference)


def write_mobile(bundle: Path, manifest: BundleManifest, phone: PhoneGraph) -> MobileFiles:
    """Write the folder for phones.

    Args:
        bundle: The bundle's folder.
        manifest: The bundle's manifest, as written.
        phone: The converted graph.

    Raises:
        ResourceError: A file cannot be written.
    """
    operators = required_operators(phone.optimized)
    count = sum(line.count(",") + 1 for line in operators.splitlines())
    written = MobileFiles(mobile_path(bundle), len(phone.converted), count)
    files = {
        ORT_NAME: phone.converted,
        OPERATORS_NAME: operators.encode(),
        README_NAME: _readme(manifest, written, phone.difference).encode(),
    }
    with new_folder(written.path) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return written


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def required_operators(model: onnx.ModelProto) -> str:
    """Return the configuration for a reduced build of onnxruntime: one ``domain;opset;operators`` per line.

    The opset is the one that last changed the operator, because kernels of onnxruntime are registered under it.
    """
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    lines: dict[tuple[str, int], set[str]] = {}
    for node in _nodes(model.graph):
        domain = node.domain or "ai.onnx"
        version = 1
        if domain == "ai.onnx":
            version = onnx.defs.get_schema(node.op_type, opsets[domain], "").since_version
        lines.setdefault((domain, version), set()).add(node.op_type)
    return "".join(
        f"{domain};{version};{','.join(sorted(names))}\n" for (domain, version), names in sorted(lines.items())
    )


def _saved(model: bytes, facts: GraphFacts, save_format: str) -> bytes:
    """Return the graph as saved by onnxruntime after the optimizations that do not depend on the processor."""
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


def _readme(manifest: BundleManifest, written: MobileFiles, difference: float) -> str:
    equal = f"differ from the bundle's by at most {difference:.0e}" if difference else "are the bundle's, bit for bit"
    return "\n".join(
        [
            f"# {' '.join(manifest.name.split())} for phones",
            "",
            f"Made from the bundle with digest `{manifest.digest}` by onnxruntime {onnxruntime.__version__}.",
            "",
            "| file | content |",
            "|---|---|",
            f"| `{ORT_NAME}` | the bundle's graph in onnxruntime's format, {written.size_bytes / 1e6:.1f} MB; its "
            f"probabilities on the self-test {equal} |",
            f"| `{OPERATORS_NAME}` | the {written.operators} operators of the graph, for `build.py --include_ops_by_config` |",
            "",
            f"Runtimes that read the bundle: {', '.join(manifest.runtimes)}. It has the tokenizer, the labels and the thresholds. "
            "The graph runs on onnxruntime's CPU provider.",
            "",
        ]
    )
