"""Takes a backbone as another exporter wrote it, finds its layers by what they compute, and puts the features on top."""

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
from torch import Tensor, nn

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.core.errors import BackboneError, GateError, MissingExtraError
from crosstune.core.token_layout import TokenRow
from crosstune.features.pooling import text_features
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder.exporters.runtime_target import OPSET
from crosstune_export.builder.exporters.torch_export import export, strip
from crosstune_export.runtime.session import open_inner

Floats = npt.NDArray[np.float32]

GRAPH_NAME = "model.onnx"
#: A value of the graph is a layer of the backbone when no number is off by more than this share of the largest.
LAYER_TOLERANCE = 1e-4
#: Texts on which layers are found.
_TEXTS = 3
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_EXPORT = "Make one with: optimum-cli export onnx --task feature-extraction --model BACKBONE FOLDER"


def read_backbone_graph(folder: Path) -> onnx.ModelProto:
    """Read the graph of a folder that ``optimum-cli export onnx`` made, at our opset.

    Raises:
        BackboneError: There is none, its weights are in other files, or its inputs or opset are not those of a text encoder here.
    """
    path = folder / GRAPH_NAME
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise BackboneError(f"{path}: cannot be read ({error.strerror}), expected a graph. {_EXPORT}.") from error
    except Exception as error:  # protobuf's DecodeError, whose package is not ours to name
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


def export_by_optimum(backbone: FrozenBackbone) -> onnx.ModelProto:
    """The graph that optimum makes of a backbone.

    Raises:
        MissingExtraError: optimum is not installed.
        GateError: It cannot export this backbone.
    """
    try:
        from optimum.exporters.onnx import onnx_export_from_model
    except ImportError as error:
        raise MissingExtraError(
            "optimum: not installed, expected for --exporter optimum. In an environment of its own run: "
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
    backbone: FrozenBackbone,
    head: LabelAttentionHead,
    rows: Sequence[TokenRow],
    text_pair: bool,
) -> ir.Model:
    """The features of a head on a foreign graph of its backbone; the same inputs and outputs as ``trace.trace``.

    Args:
        proto: A graph from ids to hidden states, at our opset.
        where: What to call it in messages.
        backbone: The same in torch, on the CPU.
        head: Whose features the graph is to compute.
        rows: Some texts, to find the layers by.
        text_pair: Whether token types stay an input.

    Raises:
        GateError: A layer that the head looks at is nowhere in the graph.
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
    wanted = [inputs[name] for name in _INPUTS if name in inputs and (text_pair or name != "token_type_ids")]
    graph.inputs.clear()
    graph.inputs.extend(wanted)
    for value in graph.inputs:
        value.shape = ir.Shape(["batch", "tokens"])
    optimizer.remove_unused_nodes(model)
    strip(model)
    return model


def _find_layers(
    proto: onnx.ModelProto, where: str, backbone: FrozenBackbone, layers: Sequence[int], rows: Sequence[TokenRow]
) -> Mapping[int, str]:
    """The name of the first value that equals each layer's hidden states on every text."""
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    typed = onnx.shape_inference.infer_shapes(proto).graph.value_info
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    floats |= {value.name for value in proto.graph.output}
    candidates = [name for node in proto.graph.node for name in node.output if name in floats]
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in candidates)
    session = open_inner(watched.SerializeToString(), where)
    accepted = {node.name for node in session.get_inputs()}
    off = {layer: dict.fromkeys(candidates, 0.0) for layer in layers}
    for row in sorted(rows, key=lambda row: -len(row.ids))[:_TEXTS]:
        hidden = backbone.forward([row])
        feeds = {"input_ids": row.ids, "attention_mask": (1,) * len(row.ids), "token_type_ids": row.type_ids}
        found = session.run(
            candidates, {key: np.array([ids], np.int64) for key, ids in feeds.items() if key in accepted}
        )
        for layer in layers:
            expected: Floats = hidden.states[layer].numpy()
            size = float(np.abs(expected).max())
            for name, array in zip(candidates, found, strict=True):
                same = array.shape == expected.shape
                error = float(np.abs(array - expected).max()) / size if same else float("inf")
                off[layer][name] = max(off[layer][name], error)
    chosen = {}
    for layer, errors in off.items():
        chosen[layer] = next((name for name, error in errors.items() if error <= LAYER_TOLERANCE), "")
        if not chosen[layer]:
            raise GateError(
                f"{where}: no value in the graph is layer {layer} of {backbone.name} (the nearest is off by "
                f"{min(errors.values()):.0e} of its size), expected one within {LAYER_TOLERANCE:.0e}. "
                "Export the checkpoint's own backbone."
            )
    return chosen


class _Features(nn.Module):
    """Pooled features of some layers' states."""

    def __init__(self, head: LabelAttentionHead, layers: Sequence[int]) -> None:
        super().__init__()
        self.head, self.layers = head, layers

    def forward(self, attention_mask: Tensor, states: tuple[Tensor, ...]) -> Tensor:
        whole = [states[0]] * (max(self.layers) + 1)
        for layer, state in zip(self.layers, states, strict=True):
            whole[layer] = state
        return text_features(whole, attention_mask, self.head.spec, self.head.positions)


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
    """Append the nodes of a second graph, fed from values of the first; its outputs become those of the first."""
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
    """Token types of single texts are 0: made of the ids, which have their shape."""
    zero = ir.node("Sub", [inputs["input_ids"], inputs["input_ids"]], name="no_token_types")
    zero.outputs[0].name, zero.outputs[0].dtype = "no_token_types", ir.DataType.INT64
    inputs["token_type_ids"].replace_all_uses_with(zero.outputs[0])
    graph.insert_before(graph[0], zero)
