"""Runs a float graph on texts and records the inputs of its matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune.core.token_layout import TokenRow
from crosstune_export.runtime.session import open_inner
from crosstune_export.runtime.tokenization import TextTokenizer

#: Values by their name in the graph, float32 (tokens, features).
Activations: TypeAlias = Mapping[str, npt.NDArray[np.float32]]

#: Maximum number of tokens to record; chosen by hand: enough for ranges and second moments, and fits in memory.
MAX_TOKENS = 3072


def collect(
    model: ir.Model, rows: Sequence[TokenRow], tokenizer: TextTokenizer, disabled_optimizers: Sequence[str]
) -> Activations:
    """Record the inputs of every product with constant weights, and the first output, one text at a time.

    Args:
        model: Float graph; not changed.
        rows: Texts; if they have more than ``MAX_TOKENS`` tokens, an evenly spaced subset is used.
        tokenizer: Batches the texts.
        disabled_optimizers: Optimizers of onnxruntime to turn off.

    Returns:
        The recorded values by name.
    """
    names = list(dict.fromkeys([*_product_inputs(model), str(model.graph.outputs[0].name)]))
    watched = model.clone()
    values = {value.name: value for node in watched.graph for value in node.outputs}
    watched.graph.outputs.clear()
    watched.graph.outputs.extend(values[name] for name in names)
    for name in names:
        values[name].dtype = ir.DataType.FLOAT
    data = bytes(ir.serde.serialize_model(watched).SerializeToString())
    session = open_inner(data, "the graph to calibrate", disabled_optimizers=disabled_optimizers)
    inputs = {node.name for node in session.get_inputs()}
    recorded: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in names}
    for row in _subset(rows, MAX_TOKENS):
        feeds = {key: array for key, array in tokenizer.batch([row]).feeds().items() if key in inputs}
        for name, array in zip(names, session.run(names, feeds), strict=True):
            recorded[name].append(array.reshape(-1, array.shape[-1]))
    return {name: np.concatenate(parts) for name, parts in recorded.items()}


def _product_inputs(model: ir.Model) -> list[str]:
    names = []
    for node in model.graph:
        weights = node.inputs[1] if len(node.inputs) > 1 else None
        if node.op_type in ("MatMul", "Attention") and weights is not None and weights.is_initializer():
            names.append(str(node.inputs[0].name))
    return list(dict.fromkeys(names))


def _subset(rows: Sequence[TokenRow], tokens: int) -> list[TokenRow]:
    share = tokens / max(1, sum(len(row.ids) for row in rows))
    if share >= 1:
        return list(rows)
    return [row for index, row in enumerate(rows) if int((index + 1) * share) > int(index * share)]
