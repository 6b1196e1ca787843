"""Build the table of a ``Precompiled`` normalizer: a double array that maps characters to texts, as SentencePiece writes it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK = 256


@dataclass
class Node:
    """A node of a tree over the bytes of keys; nodes may be shared.

    Attributes:
        children: The next node for each byte.
        text: The index of the text for the key that ends here; None if none ends here.
    """

    children: dict[int, Node] = field(default_factory=dict)
    text: int | None = None


def charsmap(mapping: Mapping[str, str]) -> bytes:
    """Return the table of a mapping from characters, or short sequences of them, to texts."""
    texts = sorted(set(mapping.values()))
    root = Node()
    for key, text in mapping.items():
        node = root
        for byte in key.encode():
            node = node.children.setdefault(byte, Node())
        node.text = texts.index(text)
    return packed(root, texts)


def packed(root: Node, texts: list[str]) -> bytes:
    """Return the table of a tree: every node has a block of 256 units, whose first holds the place of its text."""
    starts = [0]
    for text in texts:
        starts.append(starts[-1] + len(text.encode()) + 1)
    blocks: dict[int, int] = {}
    nodes: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in blocks:
            nodes.append(node)
            blocks[id(node)] = BLOCK * len(nodes)
            waiting += node.children.values()
    units = [0] * (BLOCK * (len(nodes) + 1))
    units[0] = blocks[id(root)] << 10
    for node in nodes:
        block = blocks[id(node)]
        if node.text is not None:
            units[block] = starts[node.text] | 1 << 31
        for byte, child in node.children.items():
            offset = block ^ byte ^ blocks[id(child)]
            units[block ^ byte] = byte | (child.text is not None) << 8 | offset << 10
    tree = struct.pack(f"<{len(units)}I", *units)
    return struct.pack("<I", len(tree)) + tree + b"".join(text.encode() + b"\0" for text in texts)
