"""What a run of a graph takes, from the shapes of its values; a graph that takes more than one of its size may is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstune_export.bundle.graph_rules import LIMITS
from crosstune_export.bundle.graph_shapes import results_of, too_much
from crosstune_export.bundle.graph_values import Inputs, Node, Value


def require_bounded(nodes: Sequence[Node], known: Mapping[str, Value], inputs: Sequence[str], longest: int) -> None:
    """Refuse a graph that takes more memory or time than one with as many constants can need.

    Args:
        nodes: Nodes in the order of the graph, each after those that it reads.
        known: The constants.
        inputs: Names of the inputs, int64 (B, T).
        longest: Largest number of tokens T.

    Raises:
        ValueError: A shape does not fit or cannot be told, or the graph takes too much.
    """
    constants = sum(value.size for value in known.values())
    _require_rows(nodes, known)
    last_use = {name: index for index, node in enumerate(nodes) for name in node.inputs}
    for texts, tokens, fewer_rows in ((1, 1, False), (1, longest, False), (2, longest, False), (3, longest, True)):
        values = dict(known)
        values.update((name, Value("l", (texts, tokens))) for name in inputs)
        most_alive = texts * tokens * (LIMITS.values_per_token + tokens * LIMITS.values_per_token_pair)
        most_alive += constants * LIMITS.values_per_constant
        most_work = LIMITS.work + texts * tokens * (
            constants * LIMITS.work_per_token_and_constant + tokens * LIMITS.work_per_token_pair
        )
        alive = work = 0
        for index, node in enumerate(nodes):
            read = [values[name] if name else None for name in node.inputs]
            results = results_of(node, read, fewer_rows=fewer_rows)
            work += _work(node, read, results[0])
            for name, result in zip(node.outputs, results, strict=False):
                if name:
                    values[name] = result
                    alive += result.size
            if alive > most_alive or work > most_work:
                raise too_much(node)
            for name in set(node.inputs):
                if name and last_use[name] == index and name not in known and name not in inputs:
                    alive -= values[name].size


def _require_rows(nodes: Sequence[Node], known: Mapping[str, Value]) -> None:
    """Refuse a selection of rows that may be empty: onnxruntime's attention divides by the number of rows.

    Their number must be the larger one of a number and a constant of at least 1.
    """
    producers = {name: node for node in nodes for name in node.outputs}
    for node in nodes:
        if node.rules.shape == "rows":
            count = producers.get(node.inputs[1])
            constants = [] if count is None or count.operator != "Max" else [known.get(name) for name in count.inputs]
            if not any(value is not None and value.numbers and min(value.numbers) >= 1 for value in constants):
                raise ValueError(f"a node {node.operator} that may select no row")


def _work(node: Node, inputs: Inputs, result: Value) -> int:
    """Return the multiplications of a node; one per element that it reads or writes, for a node without products."""
    plain = result.size + sum(value.size for value in inputs if value is not None)
    kind, shapes = node.rules.shape, [() if value is None else value.shape for value in inputs]
    if kind in ("matmul", "gemm"):
        return plain + result.size * shapes[0][-1]
    if kind == "attention":
        (texts, tokens, size), (_, width) = shapes[:2]
        return plain + texts * tokens * (size + tokens) * width
    if kind == "multihead":
        texts, tokens, size = shapes[0]
        return plain + texts * tokens * tokens * (size + result.shape[2])
    return plain
