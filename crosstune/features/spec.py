"""Which vectors of a text a head reads."""

from __future__ import annotations

from dataclasses import dataclass

#: How the states of a layer become one vector: mean or maximum over tokens, the text's first token, the mask of a template, or the
#: first or last token of the whole row, for backbones that were trained to put the text's vector there.
POOLS = ("mean", "max", "first", "mask", "cls", "last")

#: How the atoms of a spec become one vector.
MERGES = ("concat", "max")


@dataclass(frozen=True)
class Atom:
    """One vector of a text: one layer (0 is the embeddings), pooled over tokens."""

    pool: str
    layer: int


@dataclass(frozen=True)
class FeatureSpec:
    """Which vectors of a text a head reads, and how they become one.

    Attributes:
        atoms: A of them, distinct, those of one pool together, pools in the order of ``POOLS``.
        merge: ``concat``: each vector scaled to length 1, side by side, A·D numbers. ``max``: the largest value over the
            atoms, then scaled to length 1, D numbers.
        attention: K layers whose tokens the label queries attend to; K·Q further numbers, after the others.
    """

    atoms: tuple[Atom, ...]
    merge: str = "concat"
    attention: tuple[int, ...] = ()

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that the atoms need, in order."""
        return tuple(dict.fromkeys(atom.pool for atom in self.atoms))

    @property
    def last_layer(self) -> int:
        """The last layer that is read; the backbone's later ones are not needed."""
        return max([*(atom.layer for atom in self.atoms), *self.attention])

    def size(self, hidden_size: int, queries: int = 0) -> int:
        """F, for so many label queries."""
        pooled = hidden_size * len(self.atoms) if self.merge == "concat" else hidden_size
        return pooled + len(self.attention) * queries
