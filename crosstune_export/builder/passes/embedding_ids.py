"""Finds out which embedding a graph looks up: of words, of token types or of positions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper


class EmbeddingIds:
    """The numbers by which a graph looks up its embeddings.

    Attributes:
        padding: Id of padding and its position p, if the other tokens of a text are counted from p + 1 on, as in RoBERTa; empty if the
            position of token t is t. Known once the positions have been asked for.
    """

    def __init__(self, constants: Mapping[str, onnx.TensorProto], producers: Mapping[str, onnx.NodeProto]) -> None:
        self._constants, self._producers = constants, producers
        self.padding: tuple[int, ...] = ()

    def role(self, name: str) -> Literal["word", "type", "place"] | None:
        """Which embedding is looked up by the value of this name; None if it is none of the three."""
        if name in ("input_ids", "token_type_ids"):
            return "word" if name == "input_ids" else "type"
        if counted := self._counted(name):
            self.padding = counted
            return "place"
        sources = self._sources(name)
        tables = [self._array(source).reshape(-1) for source in sources & set(self._constants)]
        tables = [table for table in tables if table.size > 1]
        zeros = [table for table in tables if not table.any()]
        if tables and "input_ids" not in sources and len(zeros) + sum(map(_counts_up, tables)) == len(tables):
            return "type" if zeros else "place"
        return None

    def _counted(self, name: str) -> tuple[int, ...]:
        """Id and position of padding, if these are the positions of RoBERTa: ``cumsum(is_token) * is_token + p``; else empty."""
        added = self._made_by(name, "Add")
        product, place = self._made_by(name if added is None else added.input[0], "Mul"), 0
        if product is None:
            return ()
        if added is not None:
            place = self._number(added.input[1])
        for counts, tokens in (product.input, product.input[::-1]):
            count, is_token = self._made_by(counts, "CumSum"), self._made_by(tokens, "Not")
            if count is None or is_token is None or self._made_by(count.input[0], "Not") != is_token:
                continue
            is_padding = self._made_by(is_token.input[0], "Equal")
            if is_padding is None or is_padding.input[0] != "input_ids":
                continue
            padding, axis = self._number(is_padding.input[1]), self._number(count.input[1])
            if padding >= 0 and place >= 0 and axis == 1 and _is_plain_sum(count):
                return padding, place
        return ()

    def _made_by(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that computes a value, seen through casts; None if it has another operator."""
        node = self._producers.get(name)
        while node is not None and node.op_type == "Cast":
            node = self._producers.get(node.input[0])
        return node if node is not None and node.op_type == operator else None

    def _sources(self, name: str) -> set[str]:
        """Names of the inputs and constants that a value is computed from; shapes of inputs do not count, nor places among zeros."""
        found, todo = set(), [name]
        while todo:
            current = todo.pop()
            node = self._producers.get(current)
            if node is None:
                found.add(current)
            elif node.op_type in ("Gather", "GatherElements") and self._is_zero(node.input[0]):
                todo.append(node.input[0])
            elif node.op_type != "Shape":
                todo += node.input
        return found

    def _is_zero(self, name: str) -> bool:
        """Whether a value consists of zeros: a constant, or one that is expanded."""
        node = self._producers.get(name)
        if node is not None and node.op_type == "Expand":
            return self._is_zero(node.input[0])
        return name in self._constants and not self._array(name).any()

    def _number(self, name: str) -> int:
        """A constant of one number; -1 if the value is none."""
        array = self._array(name) if name in self._constants else np.empty(0)
        return int(array.item()) if array.size == 1 else -1

    def _array(self, name: str) -> np.ndarray:
        array: np.ndarray = numpy_helper.to_array(self._constants[name])
        return array


def _is_plain_sum(node: onnx.NodeProto) -> bool:
    """Whether a CumSum starts with the first element, and goes forwards."""
    return not any(helper.get_attribute_value(attribute) for attribute in node.attribute)


def _counts_up(array: np.ndarray) -> bool:
    return bool(np.array_equal(array, np.arange(len(array))))
