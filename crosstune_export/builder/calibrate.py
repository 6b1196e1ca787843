"""Runs a float graph over texts and keeps what goes into its matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune.core.token_layout import TokenRow
from crosstune_export.runtime.session import open_inner
from crosstune_export.runtime.tokenization import TextTokenizer

#: By the name of a value in the graph: its rows, float32 (tokens, features).
Activations: TypeAlias = Mapping[str, npt.NDArray[np.float32]]

#: Tokens that are kept: enough for ranges and second moments, little enough for memory.
MAX_TOKENS = 3072


def collect(
    model: ir.Model, rows: Sequence[TokenRow], tokenizer: TextTokenizer, disabled_optimizers: Sequence[str]
) -> Activations:
    """Inputs of every product with constant float weights, and the graph's own output, on texts one by one.

    Args:
        model: Float graph; left as it is.
        rows: Texts; when they have too many tokens, evenly many from all over the list are taken.
        tokenizer: Makes batches of them.
        disabled_optimizers: What onnxruntime must not do to the graph.
    """
    names = list(dict.fromkeys([*_watched(model), str(model.graph.outputs[0].name)]))
    watched = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    values = {value.name: value for node in watched.graph for value in node.outputs}
    watched.graph.outputs.clear()
    watched.graph.outputs.extend(values[name] for name in names)
    for name in names:
        values[name].dtype = ir.DataType.FLOAT
    data = bytes(ir.serde.serialize_model(watched).SerializeToString())
    session = open_inner(data, "the graph to calibrate", disabled_optimizers=disabled_optimizers)
    inputs = {node.name for node in session.get_inputs()}
    kept: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in names}
    for row in _up_to(rows, MAX_TOKENS):
        feeds = {key: array for key, array in tokenizer.batch([row]).feeds().items() if key in inputs}
        for name, found in zip(names, session.run(names, feeds), strict=True):
            kept[name].append(found.reshape(-1, found.shape[-1]))
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def _watched(model: ir.Model) -> list[str]:
    names = []
    for node in model.graph:
        weights = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in ("MatMul", "Attention") and weights is not None and weights.is_initializer():
            names.append(str(node.inputs[0].name))
    return list(dict.fromkeys(names))


def _up_to(rows: Sequence[TokenRow], tokens: int) -> list[TokenRow]:
    share = tokens / max(1, sum(len(row.ids) for row in rows))
    if share >= 1:
        return list(rows)
    return [row for index, row in enumerate(rows) if int((index + 1) * share) > int(index * share)]
