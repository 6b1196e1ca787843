"""Turns the whole graph into one call of a function, which a runtime with fast kernels runs as one operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper

from crosstune.features.attention import SHARPNESS
from crosstune_export.builder.passes import distance_bias
from crosstune_export.builder.passes.embedding_ids import EmbeddingIds
from crosstune_export.bundle.manifest import FUNCTION, FUNCTION_DOMAIN

#: Domain and name of the function, and of the operator that may take its place.
DOMAIN, NAME = FUNCTION_DOMAIN, FUNCTION
_NORMS = ("LayerNormalization", "SkipLayerNormalization")
_GELUS = {"Gelu": 0, "FastGelu": 1}


@dataclass(frozen=True)
class HeadLayout:
    """What the head reads, which the graph does not tell; layers are numbered as hidden states, 0 is the embeddings.

    Attributes:
        mean: Layers whose mean over the tokens is a feature.
        maximum: Layers whose maximum is one.
        first: Layers whose token at ``first_place`` is one.
        first_place: Position of the text's first token.
        attend: Layers that the label queries attend to.
        label_heads: Number H of softmaxes that are averaged.
    """

    mean: tuple[int, ...]
    maximum: tuple[int, ...]
    first: tuple[int, ...]
    first_place: int
    attend: tuple[int, ...]
    label_heads: int


class NoFunctionError(ValueError):
    """The graph has parts that the kernels do not know; the message says which."""


def apply(model: onnx.ModelProto, head: HeadLayout) -> None:
    """Move all nodes into the model-local function ``crosstune::Classify`` and call it once.

    onnxruntime inlines the function, so that answers, speed and files' sizes stay as they are. A runtime that registers an
    operator of this domain and name runs it instead. Constants stay in the main graph, as inputs of the call; those of the
    encoder get names that say what they are (``layer.0.up.weights``; docs/bundle_format.md lists them).

    Requires: an int8 encoder of BERT's form as a build writes it, and the label attention.
    Ensures: the same graph after inlining, up to the names of constants.

    Args:
        model: Changed in place; left as it is if it cannot be done.
        head: What the head reads.

    Raises:
        NoFunctionError: The encoder has another form.
    """
    reader = _Reader(model.graph)
    reader.read()
    attributes: dict[str, int | float | Sequence[int]] = {
        "heads": reader.heads,
        "epsilon": reader.epsilon,
        "tanh_gelu": reader.tanh_gelu,
        "mean": head.mean,
        "maximum": head.maximum,
        "first": head.first,
        "first_place": head.first_place,
        "attend": head.attend,
        "padding": reader.padding,
        "sharpness": float(SHARPNESS),
        "label_heads": head.label_heads,
    }
    attributes = {name: value for name, value in attributes.items() if value != ()}
    graph = model.graph
    names = reader.names
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    _wrap(model, [_attribute(name, value) for name, value in attributes.items()])


def apply_with_exits(model: onnx.ModelProto, without: onnx.ModelProto, layers: Sequence[int]) -> None:
    """Move all nodes of a graph that got early exits into the function again.

    Args:
        model: The graph with exits, and without a function; changed in place.
        without: The same without exits, as one call of the function.
        layers: The layer of each exit, ascending.
    """
    [call] = without.graph.node
    _wrap(model, [*call.attribute, _attribute("exits", layers)])


def _wrap(model: onnx.ModelProto, attributes: Iterable[onnx.AttributeProto]) -> None:
    """Move all nodes into the function, and call it with all inputs and constants."""
    graph, attributes = model.graph, list(attributes)
    inputs = [*(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)]
    outputs = [value.name for value in graph.output]
    function = helper.make_function(
        DOMAIN,
        NAME,
        inputs,
        outputs,
        list(graph.node),
        list(model.opset_import),
        [attribute.name for attribute in attributes],
    )
    call = helper.make_node(NAME, inputs, outputs, name=NAME, domain=DOMAIN)
    call.attribute.extend(attributes)
    del graph.node[:]
    graph.node.append(call)
    del graph.value_info[:]
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def layer_states(model: onnx.ModelProto) -> list[str]:
    """Return the names of the hidden states, float32 (B, T, D) each: the word vectors, then the output of each layer.

    Args:
        model: A graph, before or after ``apply``.

    Raises:
        NoFunctionError: The encoder is no int8 encoder of BERT's form.
    """
    reader = _Reader(inlined(model).graph)
    reader.read()
    return reader.states


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the graph with the nodes of its function, if it has one, in place of the call."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for function in model.functions:
        del plain.graph.node[:], plain.functions[:]
        plain.graph.node.extend(function.node)
    opsets = [opset for opset in plain.opset_import if opset.domain != DOMAIN]
    del plain.opset_import[:]
    plain.opset_import.extend(opsets)
    return plain


def _attribute(name: str, value: int | float | Sequence[int]) -> onnx.AttributeProto:
    if isinstance(value, (int, float)):
        return helper.make_attribute(name, value)
    return helper.make_attribute(name, list(value), attr_type=onnx.AttributeProto.INTS)


@dataclass
class _Reader:
    """Follows the encoder from the ids to its last layer, and names its constants.

    Attributes:
        graph: The graph.
        heads: Attention heads.
        epsilon: Of all normalizations.
        tanh_gelu: 1 if Gelu is computed by the tanh formula.
        states: Names of the hidden states.
        names: New names of constants by their old ones.
    """

    graph: onnx.GraphProto
    heads: int = 0
    epsilon: float = 0.0
    tanh_gelu: int = 0
    states: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self._producers = {name: node for node in self.graph.node for name in node.output}
        self._ids = EmbeddingIds(self._constants, self._producers)
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        self._epsilons: set[float] = set()
        self._heads: set[int] = set()
        self._gelus: set[int] = set()
        self._biases: set[str | None] = set()

    @property
    def padding(self) -> tuple[int, ...]:
        """Id and position of padding, see ``EmbeddingIds``."""
        return self._ids.padding

    def read(self) -> None:
        """Read the whole encoder.

        Raises:
            NoFunctionError: It has another form.
        """
        first = next((node for node in self.graph.node if node.op_type in _NORMS), None)
        if first is None or first.op_type != "LayerNormalization":
            raise NoFunctionError("the embeddings are not normalized")
        self._embeddings(first.input[0])
        self._norm(first, "norm")
        state, layers = first.output[0], 0
        self.states.append(state)
        while (after := self._layer(state, f"layer.{layers}")) is not None:
            state, layers = after, layers + 1
            self.states.append(state)
        if layers == 0:
            raise NoFunctionError("no layer has the form of BERT's")
        products = sum(node.op_type in ("QAttention", "MatMulIntegerToFloat") for node in self.graph.node)
        if products != 4 * layers:
            raise NoFunctionError(f"{products - 4 * layers} int8 products are outside of the layers")
        if any(len(found) != 1 for found in (self._epsilons, self._heads, self._gelus, self._biases)):
            raise NoFunctionError("layers differ in epsilon, heads, Gelu or biases")
        (self.epsilon,), (self.heads,), (self.tanh_gelu,) = self._epsilons, self._heads, self._gelus

    def _embeddings(self, name: str) -> None:
        """Name the tables of a sum of embeddings."""
        parts = list(self._addends(name))
        roles = [self._table(part) for part in parts]
        if sorted(roles) not in (["place", "word"], ["place", "type", "word"]):
            raise NoFunctionError(f"the embeddings are the sum of {roles}")

    def _addends(self, name: str) -> Iterator[str]:
        node = self._producers.get(name)
        if node is not None and node.op_type == "Add":
            for part in node.input:
                yield from self._addends(part)
        else:
            yield name

    def _table(self, name: str) -> str:
        """Name the constants of ``Cast(Gather(rows, ids)) * Gather(scale, ids) * columns``."""
        product, columns = self._by_constant(name, "Mul")
        scaled = self._expect(product, "Mul")
        rows = self._expect(self._expect(scaled.input[0], "Cast").input[0], "Gather")
        scales = self._expect(scaled.input[1], "Gather")
        if rows.input[1] != scales.input[1]:
            raise NoFunctionError("an embedding is not one int8 table")
        role = self._ids.role(rows.input[1])
        if role is None:
            raise NoFunctionError("an embedding is neither of words, of types nor of positions")
        for part, constant in (("rows", rows.input[0]), ("scale", scales.input[0]), ("columns", columns)):
            self._name(constant, f"{role}.{part}")
        return role

    def _layer(self, state: str, role: str) -> str | None:
        """Name the constants of the layer that reads a state, and return the state after it; None if no layer reads it."""
        attention = self._attention(state, f"{role}.attend_in")
        if attention is None:
            return None
        mixed = self._matmul(attention, f"{role}.attend_out")
        between = self._residual(mixed, state, f"{role}.attend_norm")
        raised = self._matmul(between, f"{role}.up")
        gelu = self._only_user(raised, tuple(_GELUS))
        if len(gelu.input) != 1:
            raise NoFunctionError("Gelu has a bias")
        self._gelus.add(_GELUS[gelu.op_type])
        return self._residual(self._matmul(gelu.output[0], f"{role}.down"), between, f"{role}.norm")

    def _attention(self, state: str, role: str) -> str | None:
        """Name the constants of the projections of a state, and return the result of the attention; None if nothing reads the state."""
        product = self._quantized_user(state, role, ("QAttention", "MatMulIntegerToFloat"))
        if product is None:
            return None
        if product.op_type == "QAttention":
            node, bias = product, None
            _, weights, added, step, scale, _, zero, weight_zero = product.input
            self._product(role, weights, added, step, scale, zero, weight_zero)
        else:
            parts = self._only_user(self._matmul(state, role), ("Split",))
            node = self._only_user(parts.output[0], ("MultiHeadAttention",))
            bias = node.input[-1]
            if (
                list(node.input) != [*parts.output, "", "", distance_bias.VALUE]
                or distance_bias.TABLE not in self._constants
            ):
                raise NoFunctionError(f"{role} has biases that are not by distance")
        values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        if values.pop("unidirectional", 0) != 0 or set(values) - {"num_heads", "mask_filter_value"}:
            raise NoFunctionError(f"attention has the attributes {sorted(values)}")
        self._heads.add(int(values["num_heads"]))
        self._biases.add(bias)
        return str(node.output[0])

    def _matmul(self, name: str, role: str) -> str:
        product = self._quantized_user(name, role, ("MatMulIntegerToFloat",))
        if product is None or len(product.input) != 7:
            raise NoFunctionError(f"{role} is no int8 product with a bias")
        _, weights, step, scale, zero, weight_zero, bias = product.input
        self._product(role, weights, bias, step, scale, zero, weight_zero)
        return str(product.output[0])

    def _product(self, role: str, weights: str, bias: str, step: str, scale: str, zero: str, weight_zero: str) -> None:
        parts = {
            "weights": weights,
            "bias": bias,
            "step": step,
            "scale": scale,
            "zero": zero,
            "weight_zero": weight_zero,
        }
        for part, constant in parts.items():
            self._name(constant, f"{role}.{part}")

    def _quantized_user(self, name: str, role: str, operators: Sequence[str]) -> onnx.NodeProto | None:
        """Return the one product that reads ``quantize(x)`` or ``quantize(x * smooth)``."""
        found = None
        for node in self._users.get(name, ()):
            smooth = node.input[1] if node.op_type == "Mul" and node.input[1] in self._constants else None
            quantizes = self._users.get(node.output[0], ()) if smooth is not None else [node]
            for quantize in quantizes:
                if quantize.op_type != "QuantizeLinear":
                    continue
                product = self._only_user(quantize.output[0], operators)
                if found is not None or product.input[0] != quantize.output[0]:
                    raise NoFunctionError(f"several int8 products read {role}")
                at = {"QAttention": (3, 6), "MatMulIntegerToFloat": (2, 4)}[product.op_type]
                if [product.input[i] for i in at] != list(quantize.input[1:3]):
                    raise NoFunctionError(f"{role} has two steps")
                found = product
                if smooth is not None:
                    self._name(smooth, f"{role}.smooth")
        return found

    def _residual(self, name: str, skip: str, role: str) -> str:
        """Name the constants of ``norm(x + skip)`` and return its result."""
        node = self._only_user(name, ("Add", "SkipLayerNormalization"))
        if {name, skip} != set(node.input[:2]):
            raise NoFunctionError(f"{role} does not add the layer's input")
        if node.op_type == "Add":
            node = self._only_user(node.output[0], ("LayerNormalization",))
        self._norm(node, role)
        return str(node.output[0])

    def _norm(self, node: onnx.NodeProto, role: str) -> None:
        values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        affine = node.input[1:] if node.op_type == "LayerNormalization" else node.input[2:]
        if len(affine) != 2 or values.get("axis", -1) != -1:
            raise NoFunctionError(f"{role} has another form")
        self._epsilons.add(float(values.get("epsilon", 1e-5)))
        self._name(affine[0], f"{role}.gamma")
        self._name(affine[1], f"{role}.beta")

    def _by_constant(self, name: str, operator: str) -> tuple[str, str]:
        node = self._expect(name, operator)
        if node.input[1] not in self._constants:
            raise NoFunctionError("an embedding is not one int8 table")
        return node.input[0], node.input[1]

    def _expect(self, name: str, operator: str) -> onnx.NodeProto:
        node = self._producers.get(name)
        if node is None or node.op_type != operator:
            raise NoFunctionError(f"{operator} expected, found {'none' if node is None else node.op_type}")
        return node

    def _only_user(self, name: str, operators: Sequence[str]) -> onnx.NodeProto:
        users = self._users.get(name, [])
        if len(users) != 1 or users[0].op_type not in operators:
            raise NoFunctionError(f"{' or '.join(operators)} expected, found {[node.op_type for node in users]}")
        return users[0]

    def _name(self, constant: str, role: str) -> None:
        if constant not in self._constants or self.names.setdefault(constant, role) != role:
            raise NoFunctionError(f"{role} is no constant of its own")
