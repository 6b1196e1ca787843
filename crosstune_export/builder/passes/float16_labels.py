"""Stores the constants of the labels in float16 to halve their size; computation stays in float32."""

from __future__ import annotations

import re

import numpy as np
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer

_NAMES = re.compile(r"label_keys|label_queries_\d+|scope_keys")


def apply(model: ir.Model) -> int:
    """Store label keys, label queries and scope keys as float16, each followed by a Cast to float32.

    Requires: nothing.
    Ensures: the initializers keep their names and shapes; the relative error of each number is at most 2^-11. onnxruntime folds
    the Casts when it loads the graph. Constants beyond the range of float16 are not changed.

    Args:
        model: Model with the label attention; changed in place.

    Returns:
        Number of constants stored in float16.
    """
    graph = model.graph
    done = 0
    for name, value in list(graph.initializers.items()):
        if not _NAMES.fullmatch(name) or value.dtype != ir.DataType.FLOAT:
            continue
        array = value.const_value.numpy()
        if array.size and np.abs(array).max() > float(np.finfo(np.float16).max):
            continue
        users = list(value.uses())
        half = add_initializer(graph, name, array.astype(np.float16))
        cast = ir.node("Cast", [half], attributes={"to": ir.DataType.FLOAT}, name=f"{name}_float")
        cast.outputs[0].name, cast.outputs[0].dtype, cast.outputs[0].shape = cast.name, ir.DataType.FLOAT, value.shape
        first = next(node for node in graph if any(node is user.node for user in users))
        graph.insert_before(first, cast)
        for user in users:
            user.node.replace_input_with(user.idx, cast.outputs[0])
        done += 1
    return done
