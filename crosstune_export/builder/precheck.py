"""Says before training whether a bundle may contain the graph of a backbone."""

from __future__ import annotations

import copy
import warnings

import torch

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import BundleContentError, CrossTuneWarning, GateError
from crosstune.heads.default.head import PriorHead, mean_atoms
from crosstune.heads.feature_plan import default_views, spec_of
from crosstune_export.builder.assemble import graph_facts, serialize, with_labels
from crosstune_export.builder.calibrate import Activations
from crosstune_export.builder.exporters.runtime_target import DEFAULT_ONNXRUNTIME, runtime_target
from crosstune_export.builder.exporters.torch_export import trace
from crosstune_export.builder.variants import FP32, VariantMaker
from crosstune_export.runtime.session import open_session


def warn_if_no_graph(backbone: Backbone) -> None:
    """Warn if no bundle can be built with a backbone, because its graph cannot be exported or has a part that bundles may not have.

    The graph is exported with an untrained head, which takes about as long as the export of a build.

    Args:
        backbone: The backbone, before training.

    Warns:
        CrossTuneWarning: A build with this backbone would fail.
    """
    try:
        _try_graph(_on_cpu(backbone))
    except (GateError, BundleContentError) as error:
        reason = str(error.__cause__ or error).rstrip(".")
        warnings.warn(
            f"{backbone.name}: no bundle may contain its graph ({reason}): training works, crosstune-export build will not. "
            "To build a bundle, choose another backbone, such as minilm.",
            CrossTuneWarning,
            stacklevel=2,
        )


def _try_graph(backbone: Backbone) -> None:
    """Export a backbone with an untrained head of two labels, as fp32, and load it.

    Raises:
        GateError: torch cannot export the backbone.
        BundleContentError: A bundle may not contain the graph.
    """
    head = _untrained_head(backbone)
    longest, runtime = backbone.tokens.max_length_tokens, runtime_target(DEFAULT_ONNXRUNTIME)
    maker = VariantMaker(
        trace(backbone, head, text_pair=False), backbone.head_count, backbone.hidden_size, longest, _no_activations
    )
    encoder, _ = maker.make(FP32)
    encoder.ir_version = runtime.ir_version
    facts = graph_facts(encoder, head, FP32, runtime, backbone.hidden_size)
    open_session(serialize(with_labels(encoder, head)), facts, backbone.name, longest=longest)


def _untrained_head(backbone: Backbone) -> PriorHead:
    depth, size = backbone.layer_count, backbone.hidden_size
    spec = spec_of(default_views(depth, backbone.pool), depth)
    count, queries = spec.size(size, 2), torch.ones(len(spec.attention), 2, size) / size**0.5
    tensors = {name: torch.zeros(count) for name in ("prior_centre", "prior_scale", "prior_shift")}
    tensors |= {"label_bias": torch.zeros(2), "label_keys": torch.zeros(2, count), "label_queries": queries}
    tensors["scope_offsets"] = torch.zeros(0)
    tensors["scope_keys"] = torch.zeros(2, mean_atoms(spec) * size)
    return PriorHead(spec, backbone.pool_positions(backbone.tokens), tensors)


def _on_cpu(backbone: Backbone) -> Backbone:
    if backbone.device == "cpu":
        return backbone
    moved = copy.copy(backbone)
    moved.model, moved.device = copy.deepcopy(backbone.model).to("cpu"), "cpu"
    return moved


def _no_activations(_: object) -> Activations:
    return {}
