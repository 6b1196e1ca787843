"""Exports the backbone and the features of the head from torch, as an ONNX graph from token ids to text vectors."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from onnxscript import ir
from torch import Tensor, nn

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import GateError
from crosstune.features.pooling import text_features
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder.exporters.runtime_target import OPSET


class _TextVector(nn.Module):
    """Computes the pooled features, and the token states that label queries attend to."""

    def __init__(self, backbone: Backbone, head: LabelAttentionHead) -> None:
        super().__init__()
        self.backbone = backbone.model
        self.head = head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        states = self.backbone(**inputs, output_hidden_states=True).hidden_states
        attended = () if self.head.queries is None else self.head.spec.attention
        pooled = text_features(states, attention_mask, self.head.spec, self.head.positions)
        return (pooled, *(states[layer] for layer in attended))


def trace(backbone: Backbone, head: LabelAttentionHead, text_pair: bool) -> ir.Model:
    """Export a backbone with dynamic batch size and length.

    Args:
        backbone: The backbone, on the CPU.
        head: Head whose features the graph will compute.
        text_pair: Whether token types are an input, if the backbone has them.

    Returns:
        A model with the inputs ``input_ids``, ``attention_mask`` and optionally ``token_type_ids``, int64 (B, T), and the outputs
        ``text_vector``, float32 (B, A·D), the pooled features, and, for a head with label queries, ``token_states_k``,
        float32 (B, T, D), for each attention layer. It contains no information about this machine.

    Raises:
        GateError: torch cannot export this backbone.
    """
    names = ["input_ids", "attention_mask"]
    if text_pair and backbone.has_token_types:
        names.append("token_type_ids")
    ids = torch.full((2, 9), backbone.tokens.pad_id, dtype=torch.int64)
    ids[:, : len(backbone.tokens.prefix_ids)] = torch.tensor(backbone.tokens.prefix_ids)
    example = (ids, torch.ones_like(ids), torch.zeros_like(ids))[: len(names)]
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("tokens", min=1)
    module = _TextVector(backbone, head).eval()
    try:
        attended = 0 if head.queries is None else len(head.spec.attention)
        outputs = ["text_vector", *(f"token_states_{index}" for index in range(attended))]
        axes = {0: batch, 1: length}
        model = export(module, example, names, outputs, tuple(dict(axes) for _ in example))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise GateError(f"{backbone.name}: torch cannot export it ({reason}). Choose another backbone.") from error
    strip(model)
    for node in model.graph:  # a bundle's graph has no attributes that are texts; this one is the default
        if node.op_type == "Pad" and node.attributes.get_string("mode") == "constant":
            node.attributes.pop("mode")
    return model


def export(
    module: nn.Module,
    example: tuple[Any, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    shapes: tuple[Any, ...],
) -> ir.Model:
    """Export a module with torch at ``OPSET``, without its log messages.

    Args:
        module: Module to export.
        example: Example arguments of its ``forward``.
        names: Names of the inputs, with nested ones flattened.
        outputs: Names of the outputs.
        shapes: Dynamic axes of the arguments, nested as in ``example``.

    Raises:
        KeyboardInterrupt: A signal came during the export; it is delayed until torch is done, for some seconds.
    """
    with _signals_delayed(), _logging_off():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            external_data=False,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            verbose=False,
        )
        model: ir.Model = program.model
        return model


@contextlib.contextmanager
def _signals_delayed() -> Iterator[None]:
    """Delay signals until the end of the block.

    An exception raised inside a C++ callback of torch becomes a ``TypeError``, after which torch exports another graph by a
    fallback, or it aborts the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # Handlers that are not callable are ignored signals, or handlers of C code.
    replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
    received: list[tuple[signal.Signals, FrameType | None]] = []
    for number in replaced:
        signal.signal(number, lambda number, frame: received.append((signal.Signals(number), frame)))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        for number, frame in received[-1:]:
            replaced[number](number, frame)


@contextlib.contextmanager
def _logging_off() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def strip(model: ir.Model) -> None:
    """Remove information about this machine from a model: source files, stack traces, module paths."""
    model.metadata_props.clear()
    model.producer_name, model.producer_version, model.doc_string = "crosstune-export", None, None
    model.graph.name, model.graph.doc_string = "crosstune", None
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
