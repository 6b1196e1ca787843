"""Read and replace the label keys in the bytes of ``model.onnx``, without the onnx package.

Shapes: H attention heads, L labels, F features.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import BundleContentError
from crosstune_export.bundle.onnx_wire import Field, bytes_field, fields, number_field, numbers

Floats = npt.NDArray[np.float32]

#: Metadata entries of the graph that hold the prior map, as base64 of little-endian float32.
PRIOR_NAMES = ("prior_scale", "prior_shift", "prior_centre")
#: Names of the constants of early exits start with this; exit number i has ``exit.i.keys``, ``exit.i.bias`` and so on.
EXIT_PREFIX = "exit."
_EXIT_THRESHOLD = ".threshold"

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
_GRAPH_INITIALIZER, _GRAPH_OUTPUT = 5, 12
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 8, 9
_FLOAT, _INT64, _HALF = 1, 7, 10
_NUMPY_TYPES = {_FLOAT: "<f4", _INT64: "<i8", _HALF: "<f2"}


@dataclass(frozen=True)
class PriorMap:
    """Computes a label's key and bias from its description's features h, for a label without examples.

    ``key = scale * (h - shift)``, element by element, and ``bias = -(key @ centre)``; see docs/head.md.

    Attributes:
        scale: float32 (F,).
        shift: float32 (F,).
        centre: float32 (F,).
    """

    scale: Floats
    shift: Floats
    centre: Floats

    def key(self, described: Floats) -> tuple[Floats, np.float32]:
        """Return key, float32 (F,), and bias of a label whose description has the features ``described``, float32 (F,)."""
        key = self.scale * (described - self.shift)
        return key, np.float32(-(key @ self.centre))

    def metadata(self) -> dict[str, str]:
        """Return the map as metadata entries of a graph."""
        arrays = (self.scale, self.shift, self.centre)
        return {
            name: base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")
            for name, array in zip(PRIOR_NAMES, arrays, strict=True)
        }


@dataclass(frozen=True)
class LabelBank:
    """The label parameters of a graph.

    Attributes:
        keys: float32 (H, L, F).
        bias: float32 (H, L).
        prior: Map from descriptions to keys; None if the head has none.
        scope_keys: float32 (S, L), label vectors that a text's similarity is measured against; None if the graph has no such output.
    """

    keys: Floats
    bias: Floats
    prior: PriorMap | None
    scope_keys: Floats | None = None


def read_bank(model: bytes, labels: int, where: str) -> LabelBank:
    """Read the label bank of a graph.

    Args:
        model: Contents of ``model.onnx``.
        labels: Number of labels L.
        where: Name of the bundle in messages.

    Raises:
        BundleContentError: The label bank is missing or invalid.
    """
    try:
        parts = list(fields(model))
        graph = next(part.view for part in parts if part.number == _MODEL_GRAPH)
        tensors = {_name(part, _TENSOR_NAME): part for part in fields(graph) if part.number == _GRAPH_INITIALIZER}
        keys, bias = (_float_array(tensors[name].view) for name in ("label_keys", "label_bias"))
        metadata = {}
        for part in parts:
            if part.number == _MODEL_METADATA:
                entry = {inner.number: inner.data for inner in fields(part.view)}
                metadata[entry[1].decode()] = entry[2].decode()
        prior = None
        if all(name in metadata for name in PRIOR_NAMES):
            arrays = (np.frombuffer(base64.b64decode(metadata[name], validate=True), "<f4") for name in PRIOR_NAMES)
            prior = PriorMap(*arrays)
            if not all(np.isfinite(array).all() for array in (prior.scale, prior.shift, prior.centre)):
                raise ValueError("a prior that is not finite")
        features = keys.shape[1]
        scope_keys = _float_array(tensors["scope_keys"].view) if "scope_keys" in tensors else None
        if scope_keys is not None and scope_keys.shape[1:] != (labels,):
            raise ValueError(f"scope_keys {scope_keys.shape}")
        return LabelBank(keys.reshape(-1, labels, features), bias.reshape(-1, labels), prior, scope_keys)
    except (ValueError, KeyError, IndexError, StopIteration, binascii.Error) as error:
        raise BundleContentError(f"{where}: no label bank in the graph ({error!r}). Build the bundle again.") from error


def with_bank(model: bytes, bank: LabelBank) -> bytes:
    """Return the graph with another label bank, for any number of labels; nothing else changes, not even number types."""
    heads, labels, features = bank.keys.shape
    new: dict[str, npt.NDArray[np.generic]] = {
        "label_keys": bank.keys.reshape(heads * labels, features),
        "label_bias": bank.bias.reshape(heads * labels),
        "label_shape": np.array([0, heads, labels]),
    }
    if bank.scope_keys is not None:
        new["scope_keys"] = bank.scope_keys
    new |= _closed_exits(model, labels)

    def output(part: Field) -> bytes | memoryview:
        return bytes_field(_GRAPH_OUTPUT, _with_columns(part.view, labels)) if _name(part, 1) == "probs" else part.raw

    return _with_tensors(model, new, {_GRAPH_OUTPUT: output})


def without_exits(model: bytes, kept: int = 0) -> bytes:
    """Return the graph with all early exits but the first ``kept`` closed; the same graph if it has no others.

    With all closed, every text runs all layers.
    """
    open_ones = {f"{EXIT_PREFIX}{number}{_EXIT_THRESHOLD}" for number in range(kept)}
    thresholds = {
        name: array
        for name, array in _closed_exits(model, 0).items()
        if name.endswith(_EXIT_THRESHOLD) and name not in open_ones
    }
    return _with_tensors(model, thresholds, {}) if thresholds else model


def _closed_exits(model: bytes, labels: int) -> dict[str, npt.NDArray[np.generic]]:
    """Return constants of early exits that no text takes, for any number of labels."""
    [graph] = [part.view for part in fields(model) if part.number == _MODEL_GRAPH]
    closed: dict[str, npt.NDArray[np.generic]] = {}
    for part in fields(graph):
        name = _name(part, _TENSOR_NAME) if part.number == _GRAPH_INITIALIZER else ""
        if not name.startswith(EXIT_PREFIX):
            continue
        if name.endswith(_EXIT_THRESHOLD):
            closed[name] = np.array(2, np.float32)
        elif name.endswith(".keys"):
            closed[name] = np.zeros((labels, _float_array(part.view).shape[1]), np.float32)
        elif name.endswith(".bias"):
            closed[name] = np.zeros(labels, np.float32)
    return closed


def _with_tensors(
    model: bytes,
    new: Mapping[str, npt.NDArray[np.generic]],
    others: Mapping[int, Callable[[Field], bytes | memoryview]],
) -> bytes:
    """Return the graph with some constants replaced, in the number types that they had, and other fields of it as well."""

    def tensor(part: Field) -> bytes | memoryview:
        name = _name(part, _TENSOR_NAME)
        return bytes_field(_GRAPH_INITIALIZER, _tensor(name, new[name], _type(part.view))) if name in new else part.raw

    def graph(part: Field) -> bytes:
        return bytes_field(_MODEL_GRAPH, _mapped(part.view, {_GRAPH_INITIALIZER: tensor, **others}))

    return _mapped(model, {_MODEL_GRAPH: graph})


def with_metadata(model: bytes, entries: Mapping[str, str]) -> bytes:
    """Return the graph with further metadata entries."""
    added = (
        bytes_field(_MODEL_METADATA, bytes_field(1, key.encode()) + bytes_field(2, value.encode()))
        for key, value in sorted(entries.items())
    )
    return model + b"".join(added)


def _with_columns(value_info: memoryview, columns: int) -> bytes:
    """Return a ValueInfoProto with another second dimension (type.tensor_type.shape.dim[1])."""

    def shape(part: Field) -> bytes:
        dims = [inner for inner in fields(part.view) if inner.number == 1]
        return bytes_field(2, bytes(dims[0].raw) + bytes_field(1, number_field(1, columns)))

    def tensor_type(part: Field) -> bytes:
        return bytes_field(1, _mapped(part.view, {2: shape}))

    return _mapped(value_info, {2: lambda part: bytes_field(2, _mapped(part.view, {1: tensor_type}))})


def _mapped(message: bytes | memoryview, replacements: Mapping[int, Callable[[Field], bytes | memoryview]]) -> bytes:
    """Return a message with the fields of some numbers replaced."""
    changed = bytearray()
    for part in fields(message):
        changed += replacements[part.number](part) if part.number in replacements else part.raw
    return bytes(changed)


def _name(part: Field, number: int) -> str:
    return next((inner.data.decode() for inner in fields(part.view) if inner.number == number), "")


def _type(tensor: memoryview) -> int:
    return next(part.value for part in fields(tensor) if part.number == _TENSOR_TYPE and isinstance(part.value, int))


def _float_array(tensor: memoryview) -> Floats:
    """Return a float32 or float16 tensor as float32."""
    dims: list[int] = []
    raw = None
    for part in fields(tensor):
        if part.number == _TENSOR_DIMS:
            dims += numbers(part)
        elif part.number == _TENSOR_RAW:
            raw = part.view
    kind = _type(tensor)
    if raw is None or kind not in (_FLOAT, _HALF):
        raise ValueError(f"{len(raw or b'')} bytes of type {kind}")
    return np.frombuffer(raw, _NUMPY_TYPES[kind]).reshape(dims).astype(np.float32)


def _tensor(name: str, array: npt.NDArray[np.generic], kind: int) -> bytes:
    dims: Sequence[int] = array.shape
    return (
        b"".join(number_field(_TENSOR_DIMS, size) for size in dims)
        + number_field(_TENSOR_TYPE, kind)
        + bytes_field(_TENSOR_NAME, name.encode())
        + bytes_field(_TENSOR_RAW, array.astype(_NUMPY_TYPES[kind]).tobytes())
    )
