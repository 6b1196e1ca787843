"""Uses a backbone graph of another exporter: finds its layers by their values, and appends the features of the head."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import version_converter
from onnxscript import ir, optimizer
from onnxscript.ir.passes import common
from torch import Tensor, nn

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import BackboneError, GateError, MissingExtraError
from crosstune.core.token_layout import TokenRow
from crosstune.features.pooling import text_features
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder.exporters.runtime_target import OPSET
from crosstune_export.builder.exporters.torch_export import export, strip
from crosstune_export.runtime.session import open_inner

Floats = npt.NDArray[np.float32]

GRAPH_NAME = "model.onnx"
#: Largest difference between a layer of the backbone and a value of the graph, relative to the layer's largest number. Chosen by
#: hand: above the rounding of fp32, far below the difference between layers.
LAYER_TOLERANCE = 1e-4
#: Number of texts to identify layers on; chosen by hand.
_TEXTS = 3
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_EXPORT = "Make one with: optimum-cli export onnx --task feature-extraction --model BACKBONE FOLDER"


def read_backbone_graph(folder: Path) -> onnx.ModelProto:
    """Read the graph in a folder from ``optimum-cli export onnx``, converted to ``OPSET``.

    Raises:
        BackboneError: The graph cannot be read, has its weights in other files, or has other inputs or a newer opset.
    """
    path = folder / GRAPH_NAME
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror}), expected a graph. {_EXPORT}.") from error
    except Exception as error:  # DecodeError of protobuf, which is not a dependency of ours
        raise BackboneError(f"{path}: not an ONNX file. {_EXPORT}.") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise BackboneError(f"{path}: its weights are in other files, expected one file below 2 GB. {_EXPORT}.")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input} - weights
    if not {*_INPUTS[:2]} <= inputs <= {*_INPUTS}:
        raise BackboneError(
            f"{path}: inputs {', '.join(sorted(inputs)) or 'none'}, expected {', '.join(_INPUTS)}. {_EXPORT}."
        )
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset > OPSET:
        raise BackboneError(f"{path}: opset {opset}, expected at most {OPSET}. Add --opset {OPSET} to the export.")
    return model if opset == OPSET else version_converter.convert_version(model, OPSET)


def export_by_optimum(backbone: Backbone) -> onnx.ModelProto:
    """Export a backbone with optimum.

    Raises:
        MissingExtraError: optimum is not installed.
        GateError: optimum cannot export this backbone.
        BackboneError: The exported graph is invalid, see ``read_backbone_graph``.
    """
    try:
        from optimum.exporters.onnx import onnx_export_from_model
    except ImportError as error:
        raise MissingExtraError(
            "optimum: not installed, expected for --exporter optimum. In a separate environment run: "
            "pip install 'crosstune-export[optimum,cpu]'"
        ) from error
    with tempfile.TemporaryDirectory() as temporary:
        try:
            onnx_export_from_model(
                backbone.model, temporary, opset=OPSET, task="feature-extraction", do_validation=False
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise GateError(f"{backbone.name}: optimum cannot export it ({reason}). Use --exporter torch.") from error
        return read_backbone_graph(Path(temporary))


def with_features(
    proto: onnx.ModelProto,
    where: str,
    backbone: Backbone,
    head: LabelAttentionHead,
    rows: Sequence[TokenRow],
    text_pair: bool,
) -> ir.Model:
    """Append the features of a head to a backbone graph of another exporter.

    Args:
        proto: Graph that computes hidden states from token ids, at ``OPSET``.
        where: Name of the graph in messages.
        backbone: The same backbone in torch, on the CPU.
        head: Head whose features the graph will compute.
        rows: Texts to identify the layers on.
        text_pair: Whether token types remain an input.

    Returns:
        A model with the inputs and outputs of ``torch_export.trace``.

    Raises:
        GateError: A layer that the head uses is not in the graph.
    """
    spec = head.spec
    layers = sorted({atom.layer for atom in spec.atoms} | set(spec.attention))
    names = _find_layers(proto, where, backbone, layers, rows)
    model = ir.from_proto(proto)
    graph = model.graph
    values = {value.name: value for node in graph for value in node.outputs}
    states = {layer: values[name] for layer, name in names.items()}
    inputs = {str(value.name): value for value in graph.inputs}
    features = _features_graph(head, layers, backbone.hidden_size)
    _graft(graph, features, [inputs["attention_mask"], *states.values()])
    for index, layer in enumerate(spec.attention):
        states[layer].name = f"token_states_{index}"
        graph.outputs.append(states[layer])
    if "token_type_ids" in inputs and not text_pair:
        _types_are_zero(graph, inputs)
    remaining = [inputs[name] for name in _INPUTS if name in inputs and (text_pair or name != "token_type_ids")]
    graph.inputs.clear()
    graph.inputs.extend(remaining)
    for value in graph.inputs:
        value.shape = ir.Shape(["batch", "tokens"])
    optimizer.remove_unused_nodes(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(
        model
    )  # a bundle has no Constant nodes
    strip(model)
    return model


def _find_layers(
    proto: onnx.ModelProto, where: str, backbone: Backbone, layers: Sequence[int], rows: Sequence[TokenRow]
) -> Mapping[int, str]:
    """Return for each layer the name of the first value that equals its hidden states on all texts."""
    probe = onnx.ModelProto()  # the same graph with every float value as an output
    probe.CopyFrom(proto)
    typed = onnx.shape_inference.infer_shapes(proto).graph.value_info
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    floats |= {value.name for value in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name in floats]
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = open_inner(probe.SerializeToString(), where)
    accepted = {node.name for node in session.get_inputs()}
    errors_of = {layer: dict.fromkeys(names, 0.0) for layer in layers}
    for row in sorted(rows, key=lambda row: -len(row.ids))[:_TEXTS]:
        hidden = backbone.forward([row])
        feeds = {"input_ids": row.ids, "attention_mask": (1,) * len(row.ids), "token_type_ids": row.type_ids}
        arrays = session.run(names, {key: np.array([ids], np.int64) for key, ids in feeds.items() if key in accepted})
        for layer in layers:
            expected: Floats = hidden.states[layer].numpy()
            size = float(np.abs(expected).max())
            for name, array in zip(names, arrays, strict=True):
                same_shape = array.shape == expected.shape
                error = float(np.abs(array - expected).max()) / size if same_shape else float("inf")
                errors_of[layer][name] = max(errors_of[layer][name], error)
    chosen = {}
    for layer, errors in errors_of.items():
        chosen[layer] = next((name for name, error in errors.items() if error <= LAYER_TOLERANCE), "")
        if not chosen[layer]:
            raise GateError(
                f"{where}: no value in the graph is layer {layer} of {backbone.name} (the nearest is off by "
                f"{min(errors.values()):.0e} of its size), expected one within {LAYER_TOLERANCE:.0e}. "
                "Export the checkpoint's own backbone."
            )
    return chosen


class _Features(nn.Module):
    """Computes the pooled features from the states of some layers."""

    def __init__(self, head: LabelAttentionHead, layers: Sequence[int]) -> None:
        super().__init__()
        self.head, self.layers = head, layers

    def forward(self, attention_mask: Tensor, states: tuple[Tensor, ...]) -> Tensor:
        by_layer = [states[0]] * (max(self.layers) + 1)  # layers that the head does not use are placeholders
        for layer, state in zip(self.layers, states, strict=True):
            by_layer[layer] = state
        return text_features(by_layer, attention_mask, self.head.spec, self.head.positions)


def _features_graph(head: LabelAttentionHead, layers: Sequence[int], hidden_size: int) -> ir.Model:
    mask = torch.ones((2, 9), dtype=torch.int64)
    states = tuple(torch.randn(2, 9, hidden_size) for _ in layers)
    names = ["attention_mask", *(f"states_{layer}" for layer in layers)]
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("tokens", min=1)}
    shapes = (dict(axes), tuple(dict(axes) for _ in layers))
    module = _Features(head, layers).eval()
    model: ir.Model = export(module, (mask, states), names, ["text_vector"], shapes)
    return model


def _graft(graph: ir.Graph, features: ir.Model, sources: Sequence[ir.Value]) -> None:
    """Append a second graph whose inputs are values of the first; its outputs replace those of the first."""
    added = features.graph
    for value, source in zip(added.inputs, sources, strict=True):
        value.replace_all_uses_with(source)
    for value in [*added.initializers.values(), *(value for node in added for value in node.outputs)]:
        if value.name != "text_vector":
            value.name = f"features.{value.name}"
    constants = list(added.initializers.values())
    added.initializers.clear()
    outputs, nodes = list(added.outputs), list(added)
    added.outputs.clear()
    added.remove(nodes)
    for node in nodes:
        node.name = f"features.{node.name}"
    for value in constants:
        graph.initializers[str(value.name)] = value
    graph.extend(nodes)
    graph.outputs.clear()
    graph.outputs.extend(outputs)


def _types_are_zero(graph: ir.Graph, inputs: Mapping[str, ir.Value]) -> None:
    """Replace the input of token types by zeros of the same shape, since single texts have type 0 only."""
    zero = ir.node("Sub", [inputs["input_ids"], inputs["input_ids"]], name="no_token_types")
    zero.outputs[0].name, zero.outputs[0].dtype = "no_token_types", ir.DataType.INT64
    inputs["token_type_ids"].replace_all_uses_with(zero.outputs[0])
    graph.insert_before(graph[0], zero)
