"""Product quantization of large embedding tables: one byte for several numbers, for size budgets that int8 exceeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnxscript import ir

from crosstune_export.builder.passes.initializers import add_initializer

#: Smaller tables, such as positions and token types, are not worth it. Chosen by hand.
LEAST_ROWS = 4096
#: Codes per group, as many as fit in a byte.
CODES = 256
#: Rows that k-means runs on, and its iterations; chosen by hand to take a few seconds per table.
SAMPLE, ROUNDS = 6144, 10

Floats = npt.NDArray[np.float32]


def apply(model: ir.Model, group: int) -> int:
    """Replace ``Gather(table, ids)`` by a lookup of codes: each ``group`` numbers of a row become the nearest of 256 vectors.

    Product quantization (Jégou et al. 2011). Rows and columns are first divided by their root mean squares, so that 256 vectors
    suit all rows of a group of columns. Token ids do not change.

    Requires: a float32 table (V, D) with V at least ``LEAST_ROWS`` and D a multiple of ``group``.
    Ensures: the same shapes; a table takes V · D / group bytes for codes, 2 V for row scales and 512 D for the vectors.

    Args:
        model: Changed in place.
        group: Numbers that share a byte.

    Returns:
        Number of rewritten tables.
    """
    graph = model.graph
    done = 0
    for node in list(graph):
        table = node.inputs[0] if node.op_type == "Gather" else None
        if table is None or not table.is_initializer() or table.dtype != ir.DataType.FLOAT:
            continue
        array = table.const_value.numpy()
        if array.ndim != 2 or len(array) < LEAST_ROWS or array.shape[1] % group:
            continue
        _rewrite(graph, node, array, group)
        if not table.uses():
            del graph.initializers[table.name]
        done += 1
    return done


def encode(array: Floats, group: int) -> tuple[npt.NDArray[np.uint8], Floats]:
    """Return codes, uint8 (V, D / group), of rows (V, D), and the vectors of the codes, float32 (D / group, 256, group)."""
    rows, width = array.shape
    sample = np.random.RandomState(13).permutation(rows)[:SAMPLE]
    codes = np.empty((rows, width // group), np.uint8)
    book = np.empty((width // group, CODES, group), np.float32)
    for index in range(width // group):
        part = np.ascontiguousarray(array[:, index * group : (index + 1) * group])
        points = part[sample]
        centres = points[:CODES].copy()
        for _ in range(ROUNDS):
            cluster = _nearest(points, centres)
            count = np.bincount(cluster, minlength=CODES)
            sums = np.stack([np.bincount(cluster, points[:, axis], CODES) for axis in range(group)], 1)
            centres[count > 0] = (sums[count > 0] / count[count > 0, None]).astype(np.float32)
        book[index] = centres.astype(np.float16)
        codes[:, index] = _nearest(part, book[index])
    return codes, book


def _nearest(points: Floats, centres: Floats) -> npt.NDArray[np.int64]:
    nearest: npt.NDArray[np.int64] = (np.square(centres).sum(1) - 2 * (points @ centres.T)).argmin(1)
    return nearest


def _rewrite(graph: ir.Graph, node: ir.Node, array: Floats, group: int) -> None:
    table, ids, name = node.inputs[0].name, node.inputs[1], str(node.outputs[0].name)
    column = np.maximum(np.sqrt(np.square(array, dtype=np.float64).mean(0)), 1e-12).astype(np.float32)
    scale = np.sqrt(np.square(array / column, dtype=np.float64).mean(1, keepdims=True))
    scale = scale.astype(np.float16).astype(np.float32)  # 0 for rows of zeros
    codes, book = encode((array / column / np.maximum(scale, 2.0**-14)).astype(np.float32), group)
    parts = codes.shape[1]
    new: list[ir.Node] = []

    def add(operator: str, inputs: list[ir.Value], role: str, **attributes: int) -> ir.Value:
        new.append(ir.node(operator, inputs, attributes=attributes, name=f"{name}_{role}"))
        new[-1].outputs[0].name = f"{name}_{role}"
        return new[-1].outputs[0]

    def constant(role: str, values: npt.NDArray[np.generic]) -> ir.Value:
        return add_initializer(graph, f"{table}_{role}", values)

    def half(role: str, values: Floats) -> ir.Value:
        return add("Cast", [constant(role, values.astype(np.float16))], f"{role}_float", to=int(ir.DataType.FLOAT))

    first = (CODES * np.arange(parts)).astype(
        np.int32
    )  # index of the first vector of each group in the book of all groups
    code = add("Cast", [add("Gather", [constant("codes", codes), ids], "codes")], "numbers", to=int(ir.DataType.INT32))
    index = add("Add", [code, constant("first", first)], "index")  # (B, T, D / group)
    vectors = add("Gather", [half("book", book.reshape(-1, group)), index], "vectors")  # (B, T, D / group, group)
    row = add("Reshape", [vectors, constant("shape", np.array([0, 0, parts * group], np.int64))], "row")
    scaled = add("Mul", [row, add("Gather", [half("scale", scale), ids], "scales")], "scaled")
    result = add("Mul", [scaled, constant("columns", column)], "embed")
    result.dtype, result.shape = ir.DataType.FLOAT, node.outputs[0].shape
    graph.insert_before(node, new)
    node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    result.name = name
