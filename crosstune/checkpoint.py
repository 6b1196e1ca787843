"""What training leaves behind: a head with all that is needed to use it, saved as a folder that a build starts from."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from crosstune.backbone.frozen import Backbone, PoolPositions
from crosstune.config import TrainConfig
from crosstune.core.checkpoint_folder import (
    EXAMPLES_NAME,
    FORMAT_VERSION,
    HEAD_NAME,
    STATE_NAME,
    read_files,
    state_of,
    unusable,
    write_files,
)
from crosstune.core.errors import BackboneError, CheckpointError, CrossTuneError
from crosstune.core.labels import Label, LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.strict_text import Json, parse_json
from crosstune.core.token_layout import Text, TokenLayout
from crosstune.core.training_facts import BackboneFacts, Quality, TrainingFacts
from crosstune.data.checks import check_held_out
from crosstune.data.examples import Example, example_line, examples_digest
from crosstune.data.labels import check_labels
from crosstune.evaluation.answers import Answers
from crosstune.features.spec import MERGES, POOLS, Atom, FeatureSpec
from crosstune.heads.default.head import PriorHead
from crosstune.heads.from_tensors import head_from_tensors
from crosstune.heads.label_attention import LabelAttentionHead

#: Texts encoded at once; changes time and memory, and last bits of the probabilities.
BATCH_SIZE = 32


@dataclass(frozen=True)
class Checkpoint:
    """A trained head with all that is needed to use it.

    Attributes:
        head: The head, on the CPU.
        labels: The classes, in order.
        backbone: The backbone that its features come from.
        tokens: How ids are laid out around a text, template included.
        config: The settings, resolved.
        examples: The texts it was trained on.
        facts: Held-out accuracy, and what was chosen.
    """

    head: LabelAttentionHead = field(repr=False)
    labels: LabelSet
    backbone: BackboneFacts
    tokens: TokenLayout
    config: TrainConfig
    examples: tuple[Example, ...] = field(repr=False)
    facts: TrainingFacts

    @property
    def text_pair(self) -> bool:
        """Whether an input is two texts."""
        return any(example.text_pair is not None for example in self.examples)

    @property
    def examples_sha256(self) -> str:
        """SHA-256 (hex) of the examples."""
        return examples_digest(self.examples)

    @property
    def quality(self) -> Quality:
        """How good the head is on held-out folds of the shots."""
        return self.facts.head.quality

    @property
    def threshold(self) -> float | None:
        """Probability below which no label is given, None where every text gets one."""
        return self.facts.head.threshold

    @property
    def min_similarity(self) -> float | None:
        """Similarity (cosine to the nearest label) below which no label is given, None where every text gets one."""
        return self.facts.head.min_similarity

    def predict_proba(
        self,
        texts: Sequence[Text],
        *,
        backbone: Backbone | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress = no_progress,
    ) -> npt.NDArray[np.float32]:
        """Class probabilities by torch: the reference that a build is measured against.

        Args:
            texts: N texts or pairs.
            backbone: The backbone that the head was trained with; loaded when None.
            batch_size: Texts encoded at once.
            progress: Called with the stage, the steps done and their total.

        Returns:
            float32 (N, L), columns in the order of ``labels``.

        Raises:
            BackboneError: The backbone cannot be loaded, or its digest differs.
        """
        return predict_proba(self, backbone or self.load_backbone(), texts, batch_size=batch_size, progress=progress)

    def check_examples(self, examples: Sequence[Example], where: str = "examples") -> None:
        """Refuse examples that this checkpoint cannot be evaluated on.

        Args:
            examples: Labelled texts.
            where: What to call them in messages, usually a path.

        Raises:
            DataError: A label is unknown, or a text was trained on.
        """
        check_labels(examples, self.labels, where)
        check_held_out(self.examples, examples, where)

    def answers(
        self,
        examples: Sequence[Example],
        *,
        backbone: Backbone | None = None,
        batch_size: int = BATCH_SIZE,
        progress: Progress = no_progress,
        where: str = "examples",
    ) -> Answers:
        """Classify labelled texts; the result has the metrics and writes the report page.

        Args:
            examples: N labelled texts that were not trained on.
            backbone: The backbone that the head was trained with; loaded when None.
            batch_size: Texts encoded at once.
            progress: Called with the stage, the steps done and their total.
            where: What to call the examples in messages, usually a path.

        Raises:
            DataError: A label is unknown, or a text was trained on.
            BackboneError: The backbone cannot be loaded, or its digest differs.
        """
        self.check_examples(examples, where)
        loaded, texts = backbone or self.load_backbone(), [example.content for example in examples]
        probs, similarity = predict_with_similarity(self, loaded, texts, batch_size=batch_size, progress=progress)
        return Answers(
            examples,
            self.labels.names,
            probs,
            self.threshold,
            similarity,
            self.min_similarity,
            data=where,
            model=f"the {self.head.kind} head",
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """Read a checkpoint folder, every byte checked against its sums.

        Raises:
            CheckpointError: A file is missing, foreign, changed, or does not fit the others.
        """
        return load_checkpoint(path)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the checkpoint folder, whole or not at all.

        Raises:
            OutputExistsError: ``path`` is there and ``force`` is off, or it is not a checkpoint.
            ResourceError: The disk refuses a write.
        """
        generated = self.facts.generated
        state: dict[str, Json] = {
            "format": "crosstune-checkpoint",
            "format_version": FORMAT_VERSION,
            "head": self.head.kind,
            "spec": {
                "atoms": [[atom.pool, atom.layer] for atom in self.head.spec.atoms],
                "merge": self.head.spec.merge,
                "attention": list(self.head.spec.attention),
            },
            "positions": dataclasses.asdict(self.head.positions),
            "labels": {label.name: list(label.descriptions) for label in self.labels},
            "backbone": dataclasses.asdict(self.backbone),
            "tokens": dataclasses.asdict(self.tokens),
            "config": self.config.model_dump(),
            "summary": {
                **self.facts.head.to_json(),
                "examples": len(self.examples),
                "shots": self.facts.shots,
                "examples_sha256": self.examples_sha256,
                **({} if generated is None else {"generated": generated.to_json()}),
            },
        }
        files = {
            EXAMPLES_NAME: "".join(example_line(example) for example in self.examples).encode("utf-8"),
            HEAD_NAME: safetensors.torch.save(self.head.tensors()),
            STATE_NAME: (json.dumps(state, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"),
        }
        write_files(Path(path), files, force=force)

    def load_backbone(self, *, device: str = "auto", name: str | None = None) -> Backbone:
        """Load the backbone and check that it is the one that was trained with.

        Args:
            device: ``auto``, ``cpu`` or ``cuda``.
            name: Where it is now, if not where it was.

        Raises:
            BackboneError: It cannot be loaded, or its digest differs.
        """
        backbone = Backbone.load(
            name or self.backbone.name,
            device=device,
            max_length_tokens=self.tokens.max_length_tokens,
            prefix=self.config.prefix,
        )
        if backbone.digest != self.backbone.digest:
            raise BackboneError(
                f"{backbone.name}: digest {backbone.digest[:12]}…, expected {self.backbone.digest[:12]}… as at training. "
                "Give the same backbone, or train again."
            )
        return backbone


def predict_proba(
    checkpoint: Checkpoint,
    backbone: Backbone,
    texts: Sequence[Text],
    *,
    batch_size: int = BATCH_SIZE,
    progress: Progress = no_progress,
) -> npt.NDArray[np.float32]:
    """As ``Checkpoint.predict_proba``."""
    return predict_with_similarity(checkpoint, backbone, texts, batch_size=batch_size, progress=progress)[0]


def predict_with_similarity(
    checkpoint: Checkpoint,
    backbone: Backbone,
    texts: Sequence[Text],
    *,
    batch_size: int = BATCH_SIZE,
    progress: Progress = no_progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Class probabilities, and how near each text is to the nearest label; arguments as of ``Checkpoint.predict_proba``.

    Returns:
        float32 (N, L), and float32 (N,), None for a head that measures no similarity.
    """
    probs = np.empty((len(texts), len(checkpoint.labels)), np.float32)
    head = checkpoint.head.to(backbone.device)
    similarity = np.empty(len(texts), np.float32) if isinstance(head, PriorHead) else None
    done = 0
    with torch.inference_mode():
        for chunk, hidden in backbone.batches(texts, batch_size, checkpoint.tokens):
            batch_probs, vectors = head(hidden.states, hidden.mask)
            probs[chunk] = batch_probs.cpu().numpy()
            if similarity is not None and isinstance(head, PriorHead):
                similarity[chunk] = head.similarity(vectors, hidden.mask.sum(1)).cpu().numpy()
            done += len(chunk)
            progress("classify", done, len(texts))
    return probs, similarity


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """As ``Checkpoint.load``."""
    folder = Path(path)
    files = read_files(folder)
    state = state_of(files, folder)
    try:
        return _from_state(state, files, folder)
    except CheckpointError:
        raise
    except (CrossTuneError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise unusable(folder, error) from error


def _from_state(state: Mapping[str, Json], files: Mapping[str, bytes], folder: Path) -> Checkpoint:
    labels = LabelSet(
        tuple(
            Label(name, tuple(descriptions))
            for name, descriptions in cast("dict[str, list[str]]", state["labels"]).items()
        )
    )
    backbone = BackboneFacts(**cast("dict[str, object]", state["backbone"]))  # type: ignore[arg-type]
    tokens = TokenLayout(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in cast("dict[str, Json]", state["tokens"]).items()
        }  # type: ignore[arg-type]
    )
    head = head_from_tensors(
        cast(str, state["head"]),
        _spec(cast("dict[str, Json]", state["spec"]), backbone.layer_count, str(folder / STATE_NAME)),
        PoolPositions(**cast("dict[str, int]", state["positions"])),
        _read_tensors(files[HEAD_NAME], str(folder / HEAD_NAME)),
        len(labels),
        backbone.hidden_size,
        tokens.max_length_tokens,
        str(folder / HEAD_NAME),
    )
    examples = []
    for line, text in enumerate(files[EXAMPLES_NAME].decode("utf-8").split("\n")[:-1], 1):
        row = cast("dict[str, str]", parse_json(text, f"{folder / EXAMPLES_NAME}:{line}"))
        examples.append(Example(row["text"], row["label"], row.get("text_pair"), line))
    return Checkpoint(
        head=head,
        labels=labels,
        backbone=backbone,
        tokens=tokens,
        config=TrainConfig.model_validate(state["config"]),
        examples=tuple(examples),
        facts=TrainingFacts.from_json(cast("dict[str, Json]", state["summary"]), len(examples)),
    )


def _spec(state: Mapping[str, Json], layer_count: int, where: str) -> FeatureSpec:
    """The feature spec of a head.

    Raises:
        CheckpointError: It names a pool, a layer or a merge that there is not.
    """
    spec = FeatureSpec(
        tuple(Atom(str(pool), int(layer)) for pool, layer in cast("list[tuple[str, int]]", state["atoms"])),
        cast(str, state["merge"]),
        tuple(int(layer) for layer in cast("list[int]", state["attention"])),
    )
    for atom in (*spec.atoms, *(Atom("mean", layer) for layer in spec.attention)):
        if atom.pool not in POOLS or not 0 <= atom.layer <= layer_count or spec.merge not in MERGES:
            raise CheckpointError(
                f"{where}: feature {atom.pool}:{atom.layer} ({spec.merge}), expected one of {', '.join(POOLS)} "
                f"of layers 0 to {layer_count}, merged by {' or '.join(MERGES)}. Train again."
            )
    return spec


def _read_tensors(data: bytes, where: str) -> dict[str, Tensor]:
    try:
        return dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{where}: not safetensors ({error}). Train again.") from error
