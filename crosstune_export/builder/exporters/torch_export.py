"""The backbone and the features of the head as an ONNX graph: ids and mask in, text vectors out."""

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

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.core.errors import GateError
from crosstune.features.pooling import text_features
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder.exporters.runtime_target import OPSET


class _TextVector(nn.Module):
    """Pooled features, and the token states that label queries will attend to."""

    def __init__(self, backbone: FrozenBackbone, head: LabelAttentionHead) -> None:
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


def trace(backbone: FrozenBackbone, head: LabelAttentionHead, text_pair: bool) -> ir.Model:
    """Export with dynamic batch and length.

    Args:
        backbone: On the CPU.
        head: Whose features the graph is to compute.
        text_pair: Whether token types are an input (where the backbone has them).

    Returns:
        A model with inputs ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids`` (int64, (B, T)) and the outputs
        ``text_vector`` (float32, (B, A·D), the pooled features) and, for a head with label queries, ``token_states_k``
        (float32, (B, T, D)) for each attention layer; nothing of this machine is left in it.

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
    return model


def export(
    module: nn.Module,
    example: tuple[Any, ...],
    names: Sequence[str],
    outputs: Sequence[str],
    shapes: tuple[Any, ...],
) -> ir.Model:
    """Torch's own export of a module at our opset, without its chatter.

    Args:
        module: What to export.
        example: Arguments of its ``forward``.
        names: Of the inputs, nested ones in a row.
        outputs: Names of the outputs.
        shapes: Which axes of which argument are dynamic, nested as ``example`` is.

    Raises:
        KeyboardInterrupt: An interrupt came meanwhile; it waits until torch is done, some seconds.
    """
    with _held_back(), _without_chatter():
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
def _held_back() -> Iterator[None]:
    """Let a signal that comes inside the block come at its end.

    An interrupt raised inside torch's C++ callbacks becomes a ``TypeError``, after which torch exports in another way, which
    gives another graph; or it meets a place where C++ may not throw, and the process is aborted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {
        number: handler for number, handler in handlers.items() if callable(handler)
    }  # not those of C, or ignored
    came: list[tuple[signal.Signals, FrameType | None]] = []
    for number in before:
        signal.signal(number, lambda number, frame: came.append((signal.Signals(number), frame)))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, frame in came[-1:]:
            before[number](number, frame)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def strip(model: ir.Model) -> None:
    """Take out what the exporter notes about this machine: source files, stack traces, module paths."""
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
