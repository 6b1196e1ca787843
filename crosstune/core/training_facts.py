"""What a training records of itself, and how that stands in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crosstune.core.strict_text import Json


@dataclass(frozen=True)
class BackboneFacts:
    """Which backbone a head belongs to.

    Attributes:
        name: ``minilm``, a folder, or a hub id.
        digest: SHA-256 (hex) of its weights and tokenizer.
        hidden_size: D.
        layer_count: Transformer layers; hidden states are one more, the embeddings.
    """

    name: str
    digest: str
    hidden_size: int
    layer_count: int


@dataclass(frozen=True)
class Quality:
    """How good a head is on shots that it was not fitted to; None where it was not measured.

    Attributes:
        cv_accuracy: Accuracy on held-out folds, in [0, 1].
        cv_loss: Cross-entropy on held-out folds, in nats a shot.
    """

    cv_accuracy: float | None = None
    cv_loss: float | None = None


@dataclass(frozen=True)
class LayersTried:
    """A number of layers that was tried, and how good the head on them is."""

    layers: int
    quality: Quality


@dataclass(frozen=True)
class ViewFacts:
    """A view of the default head.

    Attributes:
        name: Human-readable.
        weight: Its weight in the mixture, at least 0.
        scale: Mean multiplier of the description's part.
        penalty: Geometric mean of the shrinkage towards the description.
        cv_accuracy: Accuracy of the view alone on held-out folds, in [0, 1].
    """

    name: str
    weight: float
    scale: float
    penalty: float
    cv_accuracy: float


@dataclass(frozen=True)
class TaughtFacts:
    """How a head on fewer layers that learned from a log differs from the head on more layers that taught it.

    Examples:
        >>> TaughtFacts(layers=6, texts=400, label_changes=42, low=0.079, high=0.139, untaught_label_changes=78).summary
        '42 of 400 labels differ (10.5%, 95% interval 7.9% to 13.9%; 19.5% untaught)'

    Attributes:
        layers: Layers of the teacher.
        texts: Texts of the log.
        label_changes: Texts whose label differs from the teacher's, by heads that had not learned from the text.
        low: Lower end of the 95% interval of their share, in [0, 1].
        high: Upper end.
        untaught_label_changes: Texts whose label differs from the teacher's by the head before it was taught.
    """

    layers: int
    texts: int
    label_changes: int
    low: float
    high: float
    untaught_label_changes: int

    @property
    def summary(self) -> str:
        """One line."""
        share, before = (
            100 * count / max(1, self.texts) for count in (self.label_changes, self.untaught_label_changes)
        )
        return (
            f"{self.label_changes} of {self.texts} labels differ ({share:.1f}%, 95% interval {100 * self.low:.1f}% to "
            f"{100 * self.high:.1f}%; {before:.1f}% untaught)"
        )

    @classmethod
    def from_json(cls, value: Json) -> TaughtFacts:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: A value is missing or of another type.
        """
        row = _row(value)
        return cls(
            layers=_count(row, "layers"),
            texts=_count(row, "texts"),
            label_changes=_count(row, "label_changes"),
            low=_number(row, "low"),
            high=_number(row, "high"),
            untaught_label_changes=_count(row, "untaught_label_changes"),
        )

    @classmethod
    def or_none(cls, value: Json) -> TaughtFacts | None:
        """Read what ``to_json`` wrote; None if it is anything else."""
        try:
            return cls.from_json(value)
        except ValueError:
            return None

    def to_json(self) -> dict[str, Json]:
        """As checkpoints and manifests keep it."""
        return {
            "layers": self.layers,
            "texts": self.texts,
            "label_changes": self.label_changes,
            "low": self.low,
            "high": self.high,
            "untaught_label_changes": self.untaught_label_changes,
        }


@dataclass(frozen=True)
class HeadFacts:
    """What the fit of a head reports.

    Attributes:
        quality: On held-out folds of the shots.
        layers: Layers that the default head uses; None for the paper's head, which reads the last one.
        layers_tried: One entry a number of layers.
        views: One entry a view; empty without shots to choose by.
        threshold: Probability below which no label is given, in [0, 1], or None.
        usual_similarity: Similarity that 95% of the held-out shots reach, in [-1, 1]; None if not measured.
        min_similarity: Similarity below which no label is given, in [-1, 1], or None.
        close_shots: Held-out shots whose margin is below ``close_margin``, see ``metrics.margins``; None if no shots were held out.
        close_margin: At most 1, and less if many shots are that close.
        log_texts: Texts of a log that ``min_similarity`` was chosen on; 0 if it was the shots.
        taught: How the head differs from the one that taught it; None if it was fitted to the shots only. What is measured on held-out
            shots is that of the head before it was taught, because its teacher has learned from all shots.
    """

    quality: Quality = field(default_factory=Quality)
    layers: int | None = None
    layers_tried: tuple[LayersTried, ...] = ()
    views: tuple[ViewFacts, ...] = ()
    threshold: float | None = None
    min_similarity: float | None = None
    usual_similarity: float | None = None
    log_texts: int = 0
    close_shots: int | None = None
    close_margin: float = 1.0
    taught: TaughtFacts | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Json]) -> HeadFacts:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: A value is missing or of another type.
        """
        layers = row.get("layers")
        return cls(
            quality=_quality(row),
            layers=None if layers is None else _count(row, "layers"),
            layers_tried=tuple(
                LayersTried(_count(item, "layers"), _quality(item)) for item in _rows(row.get("layers_tried", []))
            ),
            views=tuple(
                ViewFacts(
                    _text(item, "name"), *(_number(item, key) for key in ("weight", "scale", "penalty", "cv_accuracy"))
                )
                for item in _rows(row.get("views", []))
            ),
            threshold=_optional_number(row, "threshold"),
            min_similarity=_optional_number(row, "scope_threshold"),
            usual_similarity=_optional_number(row, "usual_similarity"),
            log_texts=_count(row, "log_texts") if "log_texts" in row else 0,
            close_shots=_count(row, "close_shots") if "close_shots" in row else None,
            close_margin=_number(row, "close_margin") if "close_margin" in row else 1.0,
            taught=TaughtFacts.from_json(row["taught"]) if "taught" in row else None,
        )

    def to_json(self) -> dict[str, Json]:
        """As a checkpoint keeps it."""
        close: dict[str, Json] = {}
        if self.close_shots is not None:
            close = {"close_shots": self.close_shots, "close_margin": self.close_margin}
        if self.layers is None:
            return {"cv_accuracy": self.quality.cv_accuracy, **close}
        limits = {
            "threshold": self.threshold,
            "scope_threshold": self.min_similarity,
            "usual_similarity": self.usual_similarity,
            "log_texts": self.log_texts or None,
            **close,
            "taught": None if self.taught is None else self.taught.to_json(),
        }
        return {
            "cv_accuracy": self.quality.cv_accuracy,
            "cv_loss": self.quality.cv_loss,
            "layers": self.layers,
            "layers_tried": [
                {"layers": tried.layers, "cv_accuracy": tried.quality.cv_accuracy, "cv_loss": tried.quality.cv_loss}
                for tried in self.layers_tried
            ],
            "views": [
                {
                    "name": view.name,
                    "weight": view.weight,
                    "scale": view.scale,
                    "penalty": view.penalty,
                    "cv_accuracy": view.cv_accuracy,
                }
                for view in self.views
            ],
            **{name: value for name, value in limits.items() if value is not None},
        }


@dataclass(frozen=True)
class FilterFacts:
    """What the noise filter found.

    Attributes:
        offered: Generated texts that were given to the filter.
        kept: Texts that were kept.
        dropped: Dropped texts by reason.
        noise: Estimated share of mislabelled texts, in [0, 1].
        threshold: Probability that the teacher had to give a text's label, in [0, 1].
        teacher_accuracy: Accuracy of the teacher on held-out shots, in [0, 1].
        accuracy_without: Accuracy of the head on held-out shots without generated texts, in [0, 1].
        accuracy_with: The same with the kept texts; None where it was not measured.
        evidence: Standard errors by which the held-out loss fell with generated texts.
    """

    offered: int
    kept: int
    dropped: Mapping[str, int]
    noise: float
    threshold: float
    teacher_accuracy: float
    accuracy_without: float
    accuracy_with: float | None
    evidence: float

    @classmethod
    def from_json(cls, row: Mapping[str, Json]) -> FilterFacts:
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: A value is missing or of another type.
        """
        dropped = _row(row.get("dropped"))
        return cls(
            offered=_count(row, "offered"),
            kept=_count(row, "kept"),
            dropped={reason: _count(dropped, reason) for reason in dropped},
            noise=_number(row, "noise"),
            threshold=_number(row, "threshold"),
            teacher_accuracy=_number(row, "teacher_accuracy"),
            accuracy_without=_number(row, "accuracy_without"),
            accuracy_with=_optional_number(row, "accuracy_with"),
            evidence=_number(row, "evidence"),
        )

    def to_json(self) -> dict[str, Json]:
        """As a checkpoint keeps it."""
        return {
            "offered": self.offered,
            "kept": self.kept,
            "dropped": dict(self.dropped),
            "noise": self.noise,
            "threshold": self.threshold,
            "teacher_accuracy": self.teacher_accuracy,
            "accuracy_without": self.accuracy_without,
            "accuracy_with": self.accuracy_with,
            "evidence": self.evidence,
        }


@dataclass(frozen=True)
class TrainingFacts:
    """What a training records of itself.

    Attributes:
        shots: How many of the examples are shots: the first ones. The others are generated texts that were kept.
        head: What the fit of the head reports.
        generated: What the noise filter found; None without generated texts.
    """

    shots: int
    head: HeadFacts
    generated: FilterFacts | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Json], examples: int) -> TrainingFacts:
        """Read the summary of a checkpoint.

        Args:
            row: The summary.
            examples: How many examples the checkpoint has.

        Raises:
            ValueError: A value is missing or of another type, or there are more shots than examples.
        """
        shots = _count(row, "shots") if "shots" in row else examples
        if shots > examples:
            raise ValueError(f"{shots} shots of {examples} examples")
        generated = row.get("generated")
        return cls(
            shots, HeadFacts.from_json(row), None if generated is None else FilterFacts.from_json(_row(generated))
        )


def _quality(row: Mapping[str, Json]) -> Quality:
    return Quality(_optional_number(row, "cv_accuracy"), _optional_number(row, "cv_loss"))


def _row(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is no object")
    return value


def _rows(value: Json) -> list[Mapping[str, Json]]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is no list")
    return [_row(item) for item in value]


def _count(row: Mapping[str, Json], key: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} is {value!r:.40}, expected a whole number")
    return value


def _number(row: Mapping[str, Json], key: str) -> float:
    value = _optional_number(row, key)
    if value is None:
        raise ValueError(f"{key} is missing")
    return value


def _optional_number(row: Mapping[str, Json], key: str) -> float | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        raise ValueError(f"{key} is {value!r:.40}, expected a number")
    return None if value is None else float(value)


def _text(row: Mapping[str, Json], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r:.40}, expected a string")
    return value
