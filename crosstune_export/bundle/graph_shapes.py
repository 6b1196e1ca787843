"""The shape of every value of a graph, before onnxruntime sees the graph.

The shapes of a graph that a build writes follow from the number of texts, the number of tokens and its constants, never from the
ids of a text. A graph whose shapes cannot be told is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from crosstune_export.bundle.graph_values import MOST_ELEMENTS, MOST_NUMBERS, Inputs, Node, Shape, Value


def results_of(node: Node, inputs: Inputs, *, fewer_rows: bool = False) -> list[Value]:
    """Return the outputs of a node.

    With ``fewer_rows``, a node that selects rows of a batch leaves one out, so that rows of two selections do not fit.

    Raises:
        ValueError: A shape does not fit, cannot be told, or is too large.
    """
    shapes = _SHAPES[node.rules.shape](node, inputs)
    if fewer_rows and node.rules.shape == "rows":
        shapes = [(max(1, shape[0] - 1),) for shape in shapes]
    for shape in shapes:
        if len(shape) > MOST_NUMBERS:
            raise _unfit(node)
        if max((*shape, math.prod(shape))) > MOST_ELEMENTS:
            raise too_much(node)
    numbers = _numbers(node, inputs) if len(shapes[0]) <= 1 else None
    return [
        Value(kind, shape, numbers if index == 0 else None)
        for index, (kind, shape) in enumerate(zip(node.types, shapes, strict=True))
    ]


def _numbers(node: Node, inputs: Inputs) -> tuple[int, ...] | None:
    """Return the elements of a small integer result, for the operators that builds compute shapes with."""
    if node.operator == "Shape":
        return _dimensions(node, inputs)
    known = [None if value is None else value.numbers for value in inputs]
    if node.operator == "Concat":
        joined = [number for numbers in known if numbers is not None for number in numbers]
        return tuple(joined) if None not in known and len(joined) <= MOST_NUMBERS else None
    if node.operator == "Gather":
        data, places = known
        if data is None or places is None or len(_of(node, inputs, 0).shape) != 1:
            return None
        return tuple(data[_axis(node, place, len(data))] for place in places)
    if node.operator == "Mul":
        left, right = known
        if left is None or right is None or 1 not in (len(left), len(right)):
            return None
        products = tuple(x * y for x in left for y in right)
        return products if max(map(abs, products), default=0) <= MOST_ELEMENTS else None
    return known[0] if node.operator in ("Reshape", "Squeeze", "Unsqueeze") else None


def too_much(node: Node) -> ValueError:
    """Return the error that a graph takes too much."""
    return ValueError(f"a node {node.operator} that takes more than a graph of its size may")


def _unfit(node: Node) -> ValueError:
    return ValueError(f"a node {node.operator} whose shapes do not fit")


def _of(node: Node, inputs: Inputs, index: int) -> Value:
    value = inputs[index] if index < len(inputs) else None
    if value is None:
        raise _unfit(node)
    return value


def _contents(node: Node, inputs: Inputs, index: int) -> tuple[int, ...]:
    numbers = _of(node, inputs, index).numbers
    if numbers is None:
        raise ValueError(f"a node {node.operator} whose shape cannot be told")
    return numbers


def _axis(node: Node, axis: int, rank: int) -> int:
    """Return an axis counted from the front."""
    if not -rank <= axis < rank:
        raise _unfit(node)
    return axis % rank


def _require_vectors(node: Node, inputs: Inputs, first: int, size: int) -> None:
    """Refuse further inputs that are neither one number nor one for each of ``size`` columns."""
    for value in inputs[first:]:
        if value is not None and value.shape not in ((), (1,), (size,)):
            raise _unfit(node)


def _same(node: Node, inputs: Inputs) -> list[Shape]:
    shape = _of(node, inputs, 0).shape
    _require_vectors(node, inputs, 1, shape[-1] if shape else 1)
    return [shape]


def _broadcast_two(node: Node, a: Shape, b: Shape) -> Shape:
    rank = max(len(a), len(b))
    pairs = list(zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True))
    if any(x != y and 1 not in (x, y) for x, y in pairs):
        raise _unfit(node)
    return tuple(y if x == 1 else x for x, y in pairs)


def _broadcast(node: Node, inputs: Inputs) -> list[Shape]:
    shape = _of(node, inputs, 0).shape
    for index in range(1, len(inputs)):
        shape = _broadcast_two(node, shape, _of(node, inputs, index).shape)
    return [shape]


def _expand(node: Node, inputs: Inputs) -> list[Shape]:
    return [_broadcast_two(node, _of(node, inputs, 0).shape, _sizes(node, _contents(node, inputs, 1)))]


def _sizes(node: Node, numbers: tuple[int, ...]) -> Shape:
    if any(number < 0 for number in numbers):
        raise _unfit(node)
    return numbers


def _concat(node: Node, inputs: Inputs) -> list[Shape]:
    shapes = [_of(node, inputs, index).shape for index in range(len(inputs))]
    axis = _axis(node, node.number("axis", 0), len(shapes[0]))
    if len({(*shape[:axis], *shape[axis + 1 :], len(shape)) for shape in shapes}) != 1:
        raise _unfit(node)
    return [(*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])]


def _gather(node: Node, inputs: Inputs) -> list[Shape]:
    data = _of(node, inputs, 0).shape
    axis = _axis(node, node.number("axis", 0), len(data))
    return [(*data[:axis], *_of(node, inputs, 1).shape, *data[axis + 1 :])]


def _gather_elements(node: Node, inputs: Inputs) -> list[Shape]:
    data, places = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    axis = _axis(node, node.number("axis", 0), len(data))
    rows = (*data[:axis], *data[axis + 1 :])
    if len(places) != len(data) or any(a > b for a, b in zip((*places[:axis], *places[axis + 1 :]), rows, strict=True)):
        raise _unfit(node)
    return [places]


def _gather_nd(node: Node, inputs: Inputs) -> list[Shape]:
    data, places = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    if not places or not 1 <= places[-1] <= len(data):
        raise _unfit(node)
    return [(*places[:-1], *data[places[-1] :])]


def _scatter_nd(node: Node, inputs: Inputs) -> list[Shape]:
    data, places, rows = (_of(node, inputs, index).shape for index in range(3))
    if not data or len(places) != 2 or places[1] != 1 or rows != (places[0], *data[1:]):
        raise _unfit(node)
    return [data]


def _rows(node: Node, inputs: Inputs) -> list[Shape]:
    data, count = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    if len(data) != 1 or count != (1,):
        raise _unfit(node)
    return [data, data]  # of all rows, which are the most that there can be


def _either(node: Node, inputs: Inputs) -> list[Shape]:
    then, other = (_of(node, inputs, index).shape for index in (0, 1))
    if then != other:
        raise _unfit(node)
    return [then]


def _matmul(node: Node, inputs: Inputs) -> list[Shape]:
    a, b = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    if len(a) < 2 or len(b) < 2:
        raise _unfit(node)
    b = (*b[:-2], b[-1], b[-2]) if node.number("transB", 0) else b
    if a[-1] != b[-2]:
        raise _unfit(node)
    _require_vectors(node, inputs, 2, b[-1])
    return [(*_broadcast_two(node, a[:-2], b[:-2]), a[-2], b[-1])]


def _gemm(node: Node, inputs: Inputs) -> list[Shape]:
    a, b = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    if len(a) != 2 or len(b) != 2:
        raise _unfit(node)
    b = b[::-1] if node.number("transB", 0) else b
    if a[1] != b[0] or _broadcast_two(node, (a[0], b[1]), _of(node, inputs, 2).shape) != (a[0], b[1]):
        raise _unfit(node)
    return [(a[0], b[1])]


def _attention(node: Node, inputs: Inputs) -> list[Shape]:
    states, weights = _of(node, inputs, 0).shape, _of(node, inputs, 1).shape
    heads = node.number("num_heads", 1)
    if len(states) != 3 or len(weights) != 2 or states[2] != weights[0] or weights[1] % (3 * heads):
        raise _unfit(node)
    rest = [value for value in inputs[2:] if value is not None and value.type != "i"]
    _require_vectors(node, rest, 0, weights[1])
    masks = [value.shape for value in inputs[2:] if value is not None and value.type == "i"]
    if any(shape not in ((states[0],), states[:2]) for shape in masks):
        raise _unfit(node)
    return [(states[0], states[1], weights[1] // 3)]


def _multihead(node: Node, inputs: Inputs) -> list[Shape]:
    query, key, value = (_of(node, inputs, index).shape for index in range(3))
    heads = node.number("num_heads", 1)
    if (
        len(query) != 3
        or key != query
        or len(value) != 3
        or value[:2] != query[:2]
        or query[2] % heads
        or value[2] % heads
    ):
        raise _unfit(node)
    columns = (2 * query[2] + value[2],)
    if len(inputs) > 3 and inputs[3] is not None and inputs[3].shape != columns:  # added to query, key and value
        raise _unfit(node)
    for bias in inputs[4:]:  # one number for each pair of tokens
        if bias is None:
            continue
        pairs = (query[0], heads, query[1], query[1])
        if len(bias.shape) != 4 or bias.shape[2:] != pairs[2:] or _broadcast_two(node, pairs, bias.shape) != pairs:
            raise _unfit(node)
    return [(query[0], query[1], value[2])]


def _range(node: Node, inputs: Inputs) -> list[Shape]:
    ends = [_contents(node, inputs, index) for index in range(3)]
    if any(len(numbers) != 1 or abs(numbers[0]) > MOST_ELEMENTS for numbers in ends) or ends[2] != (1,):
        raise _unfit(node)
    return [(max(0, ends[1][0] - ends[0][0]),)]


def _skip_norm(node: Node, inputs: Inputs) -> list[Shape]:
    shape = _broadcast_two(node, _of(node, inputs, 0).shape, _of(node, inputs, 1).shape)
    if not shape or shape != _of(node, inputs, 0).shape:
        raise _unfit(node)
    _require_vectors(node, inputs, 2, shape[-1])
    row = (*shape[:-1], 1)
    return [shape, row, row, shape]


def _reduce(node: Node, inputs: Inputs) -> list[Shape]:
    shape = _of(node, inputs, 0).shape
    axes = {_axis(node, axis, len(shape)) for axis in _contents(node, inputs, 1)}
    if not axes:
        raise _unfit(node)
    if node.number("keepdims", 1):
        return [tuple(1 if index in axes else size for index, size in enumerate(shape))]
    return [tuple(size for index, size in enumerate(shape) if index not in axes)]


def _reshape(node: Node, inputs: Inputs) -> list[Shape]:
    data, wanted = _of(node, inputs, 0), _contents(node, inputs, 1)
    if wanted.count(-1) > 1 or any(number < -1 for number in wanted):
        raise _unfit(node)
    copied = not node.number("allowzero", 0)
    if copied and any(size == 0 for size in wanted[len(data.shape) :]):
        raise _unfit(node)
    shape = tuple(data.shape[i] if size == 0 and copied else size for i, size in enumerate(wanted))
    rest = math.prod(size for size in shape if size != -1)
    if -1 in shape:
        if rest == 0 or data.size % rest:
            raise _unfit(node)
        shape = tuple(data.size // rest if size == -1 else size for size in shape)
    if math.prod(shape) != data.size:
        raise _unfit(node)
    return [shape]


def _dimensions(node: Node, inputs: Inputs) -> tuple[int, ...]:
    shape = _of(node, inputs, 0).shape
    return shape[node.number("start", 0) : node.number("end", len(shape))]


def _shape(node: Node, inputs: Inputs) -> list[Shape]:
    return [(len(_dimensions(node, inputs)),)]


def _slice(node: Node, inputs: Inputs) -> list[Shape]:
    shape = list(_of(node, inputs, 0).shape)
    starts, ends, axes = (_contents(node, inputs, index) for index in (1, 2, 3))
    steps = _contents(node, inputs, 4) if len(inputs) == 5 else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or set(steps) - {1} or len(set(axes)) != len(axes):
        raise _unfit(node)
    for start, end, axis in zip(starts, ends, axes, strict=True):
        place = _axis(node, axis, len(shape))
        first, last = (max(0, min(shape[place], x + shape[place] if x < 0 else x)) for x in (start, end))
        shape[place] = max(0, last - first)
    return [tuple(shape)]


def _pad(node: Node, inputs: Inputs) -> list[Shape]:
    shape, pads = _of(node, inputs, 0).shape, _contents(node, inputs, 1)
    if len(pads) != 2 * len(shape) or min(pads, default=0) < 0 or max(pads, default=0) > MOST_ELEMENTS:
        raise _unfit(node)
    if _of(node, inputs, 2).size != 1:
        raise _unfit(node)
    return [tuple(size + pads[i] + pads[i + len(shape)] for i, size in enumerate(shape))]


def _split(node: Node, inputs: Inputs) -> list[Shape]:
    shape, parts = _of(node, inputs, 0).shape, len(node.outputs)
    axis = _axis(node, node.number("axis", 0), len(shape))
    if node.number("num_outputs", 0) != parts or shape[axis] % parts:
        raise _unfit(node)
    return [(*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])] * len(node.types)


def _squeeze(node: Node, inputs: Inputs) -> list[Shape]:
    shape = _of(node, inputs, 0).shape
    if len(inputs) == 1:
        return [tuple(size for size in shape if size != 1)]
    axes = {_axis(node, axis, len(shape)) for axis in _contents(node, inputs, 1)}
    if any(shape[axis] != 1 for axis in axes):
        raise _unfit(node)
    return [tuple(size for index, size in enumerate(shape) if index not in axes)]


def _tile(node: Node, inputs: Inputs) -> list[Shape]:
    shape, repeats = _of(node, inputs, 0).shape, _sizes(node, _contents(node, inputs, 1))
    if len(repeats) != len(shape):
        raise _unfit(node)
    return [tuple(size * count for size, count in zip(shape, repeats, strict=True))]


def _unsqueeze(node: Node, inputs: Inputs) -> list[Shape]:
    shape, added = list(_of(node, inputs, 0).shape), _contents(node, inputs, 1)
    rank = len(shape) + len(added)
    axes = {_axis(node, axis, rank) for axis in added}
    if len(axes) != len(added):
        raise _unfit(node)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    return [tuple(shape)]


def _transpose(node: Node, inputs: Inputs) -> list[Shape]:
    shape, order = _of(node, inputs, 0).shape, [int(axis) for axis in node.attributes.get("perm", ())]
    if sorted(order) != list(range(len(shape))):
        raise _unfit(node)
    return [tuple(shape[axis] for axis in order)]


_SHAPES: Mapping[str, Callable[[Node, Inputs], list[Shape]]] = {
    "attention": _attention,
    "broadcast": _broadcast,
    "concat": _concat,
    "either": _either,
    "expand": _expand,
    "gather": _gather,
    "gather elements": _gather_elements,
    "cast": _same,
    "gather nd": _gather_nd,
    "gemm": _gemm,
    "matmul": _matmul,
    "multihead": _multihead,
    "pad": _pad,
    "range": _range,
    "reduce": _reduce,
    "reshape": _reshape,
    "rows": _rows,
    "scatter nd": _scatter_nd,
    "same": _same,
    "shape": _shape,
    "skip norm": _skip_norm,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "tile": _tile,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
}
