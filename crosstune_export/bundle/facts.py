"""Typed records of the manifest's sections ``backbone``, ``head``, ``training`` and ``quality``.

The manifest keeps these sections as JSON objects, so that fields of later versions survive an edit. All code reads and writes
them through the records in this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosstune.core.hub_ids import HUB_ID
from crosstune.core.strict_text import Json
from crosstune.core.training_facts import TaughtFacts
from crosstune_export.bundle.expected_changes import ExpectedChanges

#: Count of an optional graph rewrite that raised an error and was left out.
FAILED = -1


@dataclass(frozen=True)
class PredictionDifference:
    """Difference between two sets of probabilities for the same N texts.

    Attributes:
        texts: N.
        batch_sizes: Batch sizes at which the graph was run.
        max_difference: Largest absolute difference of a probability at any batch size.
        label_changes: Texts whose label differs at any batch size.
        margin_change: Mean change of the log-odds of the two most probable labels, at most 1 for each text; not stored.
    """

    texts: int
    batch_sizes: tuple[int, ...]
    max_difference: float
    label_changes: int
    margin_change: float = 0.0

    @property
    def summary(self) -> str:
        """Number of label changes and largest probability difference, in one line.

        Examples:
            >>> PredictionDifference(153, (1, 8, 32), 1e-6, 0).summary
            '0 of 153 labels differ, largest probability difference 1.0e-06'
        """
        return (
            f"{self.label_changes} of {self.texts} labels differ, "
            f"largest probability difference {self.max_difference:.1e}"
        )

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        return {
            "texts": self.texts,
            "batch_sizes": list(self.batch_sizes),
            "max_prob_difference": self.max_difference,
            "flips": self.label_changes,
        }

    @classmethod
    def from_json(cls, value: Json) -> PredictionDifference | None:
        """Read a record; None if the value is not one."""
        if not isinstance(value, dict):
            return None
        texts, changes, difference = (_integer(value, "texts"), _integer(value, "flips"), _number(value, _DIFFERENCE))
        if texts is None or changes is None or difference is None:
            return None
        sizes = value.get("batch_sizes")
        batch_sizes = tuple(size for size in sizes if isinstance(size, int)) if isinstance(sizes, list) else ()
        return cls(texts, batch_sizes, difference, changes)


@dataclass(frozen=True)
class QualityFacts:
    """Measurements of the build.

    Attributes:
        precision: Precision of the shipped graph: ``fp32``, ``fp16`` or ``int8``.
        fp32_to_torch: The fp32 graph compared with torch.
        to_fp32: The shipped graph compared with fp32; None if fp32 is shipped.
        to_fp32_truncated: The same on truncated texts, which the head was not trained on.
        batch_invariance: Padded batches and two threads compared with one text at a time.
        kernels_to_fp32: The fast kernels compared with fp32, on texts and truncated texts; None if they cannot run this graph.
        expected_changes: Labels of new texts that are expected to differ from fp32; None if no shots were held out.
        rewrites: Number of times that each graph rewrite was applied; ``FAILED`` for an optional one that was left out because
            it raised an error.
    """

    precision: str
    fp32_to_torch: PredictionDifference | None
    to_fp32: PredictionDifference | None
    to_fp32_truncated: PredictionDifference | None
    batch_invariance: PredictionDifference | None
    kernels_to_fp32: PredictionDifference | None = None
    rewrites: Mapping[str, int] = field(default_factory=dict)
    expected_changes: ExpectedChanges | None = None

    @property
    def failed_rewrites(self) -> tuple[str, ...]:
        """Names of the optional graph rewrites that were left out because they raised an error."""
        return tuple(name for name, count in self.rewrites.items() if count == FAILED)

    @property
    def comparisons(self) -> tuple[tuple[str, PredictionDifference], ...]:
        """All comparisons that were measured, each with a title."""
        rows = (
            ("fp32 graph vs torch", self.fp32_to_torch),
            (f"{self.precision} vs fp32", self.to_fp32),
            (f"{self.precision} vs fp32, truncated texts", self.to_fp32_truncated),
            (f"{self.precision} by fast kernels vs fp32", self.kernels_to_fp32),
            ("padded batches vs one text at a time", self.batch_invariance),
        )
        return tuple((title, difference) for title, difference in rows if difference is not None)

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        rows = (
            ("fp32_to_torch", self.fp32_to_torch),
            (f"{self.precision}_to_fp32", self.to_fp32),
            (f"{self.precision}_to_fp32_on_halves", self.to_fp32_truncated),
            ("kernels_to_fp32", self.kernels_to_fp32),
            ("together_to_alone", self.batch_invariance),
        )
        body: dict[str, Json] = {name: difference.to_json() for name, difference in rows if difference is not None}
        if self.expected_changes is not None:
            body["expected_flips"] = self.expected_changes.to_json()
        return body | {
            "rewrites": ", ".join(
                f"{name} {'failed' if count == FAILED else count}" for name, count in self.rewrites.items()
            )
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Json], precision: str) -> QualityFacts:
        """Read the record; a field that is missing or of another type becomes None."""
        rewrites = {}
        for item in str(table.get("rewrites") or "").split(", "):
            name, _, count = item.rpartition(" ")
            if name and (count.isdecimal() or count == "failed"):
                rewrites[name] = FAILED if count == "failed" else int(count)
        return cls(
            precision,
            PredictionDifference.from_json(table.get("fp32_to_torch")),
            PredictionDifference.from_json(table.get(f"{precision}_to_fp32")),
            PredictionDifference.from_json(table.get(f"{precision}_to_fp32_on_halves")),
            PredictionDifference.from_json(table.get("together_to_alone")),
            PredictionDifference.from_json(table.get("kernels_to_fp32")),
            rewrites,
            ExpectedChanges.from_json(table.get("expected_flips")),
        )


@dataclass(frozen=True)
class AllLayers:
    """The head on all layers, which a size or latency budget ruled out.

    Attributes:
        layers: Number of layers that it uses.
        cv_accuracy: Its accuracy on held-out folds, from 0 to 1; None if not measured.
    """

    layers: int
    cv_accuracy: float | None


@dataclass(frozen=True)
class TrainingFacts:
    """How the shipped head was trained.

    Attributes:
        examples: Number of training examples.
        examples_sha256: Digest of these texts and their labels.
        shots: Examples per label that were drawn; None if all were used.
        seed: Random seed.
        cv_accuracy: Accuracy on held-out folds of the shots, from 0 to 1; None if not measured.
        all_layers: The head on all layers, if a budget made the build use fewer.
        usual_similarity: Similarity that 95% of the held-out shots reach, in [-1, 1]; None if not measured.
        taught: How the head differs from the one on more layers that taught it; ``cv_accuracy`` is then that of the untaught head.
    """

    examples: int | None
    examples_sha256: str | None
    shots: int | None
    seed: int | None
    cv_accuracy: float | None
    all_layers: AllLayers | None = None
    usual_similarity: float | None = None
    taught: TaughtFacts | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        body: dict[str, Json] = {
            "examples": self.examples,
            "examples_sha256": self.examples_sha256,
            "shots": self.shots,
            "seed": self.seed,
            "cv_accuracy": self.cv_accuracy,
        }
        if self.usual_similarity is not None:
            body["usual_similarity"] = self.usual_similarity
        if self.all_layers is not None:
            body["all_layers"] = {"layers": self.all_layers.layers, "cv_accuracy": self.all_layers.cv_accuracy}
        if self.taught is not None:
            body["taught"] = self.taught.to_json()
        return body

    @classmethod
    def from_json(cls, table: Mapping[str, Json]) -> TrainingFacts:
        """Read the record; a field that is missing or of another type becomes None."""
        full, digest = table.get("all_layers"), table.get("examples_sha256")
        layers = _integer(full, "layers") if isinstance(full, dict) else None
        return cls(
            examples=_integer(table, "examples"),
            examples_sha256=digest if isinstance(digest, str) else None,
            shots=_integer(table, "shots"),
            seed=_integer(table, "seed"),
            cv_accuracy=_number(table, "cv_accuracy"),
            all_layers=AllLayers(layers, _number(full, "cv_accuracy"))
            if isinstance(full, dict) and layers is not None
            else None,
            usual_similarity=_number(table, "usual_similarity"),
            taught=TaughtFacts.or_none(table.get("taught")),
        )


@dataclass(frozen=True)
class BackboneFacts:
    """The backbone in the graph.

    Attributes:
        name: Human-readable name.
        digest: SHA-256 over weights, configuration and tokenizer (64 hex digits).
        hidden_size: Hidden size D.
        layers: Number of layers of the backbone.
        layers_used: Number of these layers in the graph.
        hub_id: Repository of the backbone on the model hub, ``owner/name``; None if it is not from there.
    """

    name: str
    digest: str
    hidden_size: int | None
    layers: int | None
    layers_used: int | None
    hub_id: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        return {
            "name": self.name,
            "digest": self.digest,
            "hidden_size": self.hidden_size,
            "layers": self.layers,
            "layers_used": self.layers_used,
            **({"hub_id": self.hub_id} if self.hub_id else {}),
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Json]) -> BackboneFacts:
        """Read the record; a missing string becomes "unknown", a missing number None."""
        name, digest = (str(table.get(key) or "unknown") for key in ("name", "digest"))
        size, layers, used = (_integer(table, key) for key in ("hidden_size", "layers", "layers_used"))
        repo = str(table.get("hub_id"))
        return cls(name, digest, size, layers, used, repo if HUB_ID.fullmatch(repo) else None)


@dataclass(frozen=True)
class HeadFacts:
    """The head in the graph.

    Attributes:
        kind: ``default`` or ``paper``.
        heads: Number of attention heads.
        merge: How the features of several layers are combined.
        atoms: Pooled features, each written ``pool:layer``.
        attention_layers: Layers whose tokens the label queries attend to.
        pooled_size: Length of the pooled part of a text vector.
        edits: Edits of the labels since the build, oldest first.
    """

    kind: str
    heads: int | None = None
    merge: str | None = None
    atoms: tuple[str, ...] = ()
    attention_layers: tuple[int, ...] = ()
    pooled_size: int | None = None
    edits: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        body: dict[str, Json] = {
            "kind": self.kind,
            "heads": self.heads,
            "merge": self.merge,
            "atoms": list(self.atoms),
            "attention_layers": list(self.attention_layers),
            "pooled_size": self.pooled_size,
        }
        return body | ({"edits": list(self.edits)} if self.edits else {})

    @classmethod
    def from_json(cls, table: Mapping[str, Json]) -> HeadFacts:
        """Read the record; a missing string becomes "unknown", a missing number None."""
        merge, atoms, layers, edits = (table.get(name) for name in ("merge", "atoms", "attention_layers", "edits"))
        return cls(
            kind=str(table.get("kind") or "unknown"),
            heads=_integer(table, "heads"),
            merge=merge if isinstance(merge, str) else None,
            atoms=tuple(map(str, atoms)) if isinstance(atoms, list) else (),
            attention_layers=tuple(item for item in layers if isinstance(item, int))
            if isinstance(layers, list)
            else (),
            pooled_size=_integer(table, "pooled_size"),
            edits=tuple(map(str, edits)) if isinstance(edits, list) else (),
        )


@dataclass(frozen=True)
class ExitFacts:
    """Early exits of the graph, as measured on the calibration texts.

    Attributes:
        layers: Layers after which texts may leave, ascending; 0 is after the word vectors.
        thresholds: Texts whose best probability reaches this number leave, one for each exit.
        shares: Share of the texts that leaves at each exit, and last of those that run all layers; in [0, 1].
        texts: Number of texts.
        label_changes: Texts whose label differs from that of all layers, by heads that had not learned from the text.
        truncated_texts: Number of truncated texts.
        truncated_label_changes: The same on truncated texts.
        expected_time: Mean time of a text as a share of the time without exits, by the layers that it runs.
    """

    layers: tuple[int, ...]
    thresholds: tuple[float, ...]
    shares: tuple[float, ...]
    texts: int
    label_changes: int
    truncated_texts: int
    truncated_label_changes: int
    expected_time: float

    @property
    def summary(self) -> str:
        """What the exits do, in one line."""
        places = ["the word vectors" if layer == 0 else f"layer {layer}" for layer in self.layers]
        leave = ", ".join(
            f"{100 * share:.0f}% after {place}" for share, place in zip(self.shares, places, strict=False)
        )
        return (
            f"{leave}; {self.label_changes} of {self.texts} labels change, {self.truncated_label_changes} of "
            f"{self.truncated_texts} of truncated texts; expected time {self.expected_time:.2f}"
        )

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        return {
            "layers": list(self.layers),
            "thresholds": list(self.thresholds),
            "shares": list(self.shares),
            "texts": self.texts,
            "label_changes": self.label_changes,
            "truncated_texts": self.truncated_texts,
            "truncated_label_changes": self.truncated_label_changes,
            "expected_time": self.expected_time,
        }

    @classmethod
    def from_json(cls, value: Json) -> ExitFacts | None:
        """Read a record; None if the value is not one."""
        if not isinstance(value, dict):
            return None
        layers, thresholds, shares = (_numbers(value, name) for name in ("layers", "thresholds", "shares"))
        expected = _number(value, "expected_time")
        if not len(layers) == len(thresholds) == len(shares) - 1 > 0 or expected is None:
            return None
        texts, changes, truncated_texts, truncated_changes = (_integer(value, name) or 0 for name in _EXIT_COUNTS)
        numbers = tuple(int(layer) for layer in layers)
        return cls(numbers, thresholds, shares, texts, changes, truncated_texts, truncated_changes, expected)


_EXIT_COUNTS = ("texts", "label_changes", "truncated_texts", "truncated_label_changes")
_DIFFERENCE = "max_prob_difference"


def _integer(table: Mapping[str, Json], name: str) -> int | None:
    value = table.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(table: Mapping[str, Json], name: str) -> float | None:
    value = table.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numbers(table: Mapping[str, Json], name: str) -> tuple[float, ...]:
    value = table.get(name)
    return tuple(float(item) for item in value if isinstance(item, (int, float))) if isinstance(value, list) else ()
