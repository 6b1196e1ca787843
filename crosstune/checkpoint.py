"""What training leaves behind: a folder of safetensors and JSON that a build starts from. Never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch

from crosstune.backbone.frozen import FrozenBackbone, PoolPositions
from crosstune.config import TrainConfig
from crosstune.core.errors import BackboneError, CheckpointError, CrossTuneError
from crosstune.core.labels import Label, LabelSet
from crosstune.core.outputs import check_output, new_folder
from crosstune.core.strict_text import Json, parse_json
from crosstune.core.token_layout import TokenLayout
from crosstune.data.examples import Example, example_line
from crosstune.features.pooling import MERGES, POOLS, Atom, FeatureSpec
from crosstune.heads.label_attention import LabelAttentionHead, head_from_tensors

FORMAT_VERSION = 2
STATE_NAME = "checkpoint.json"
HEAD_NAME = "head.safetensors"
EXAMPLES_NAME = "examples.jsonl"
SUMS_NAME = "SHA256SUMS"
_FILES = (EXAMPLES_NAME, HEAD_NAME, STATE_NAME)


@dataclass(frozen=True)
class BackboneFacts:
    """Which backbone a checkpoint belongs to."""

    name: str
    digest: str
    hidden_size: int
    layer_count: int


@dataclass(frozen=True)
class Checkpoint:
    """A trained head with all that is needed to use it.

    Attributes:
        head: The head, on the CPU.
        labels: The classes, in order.
        backbone: Which backbone its features come from.
        tokens: How ids are laid out around a text, template included.
        config: The settings, resolved.
        examples: The texts it was trained on.
        summary: What training reports of itself: held-out accuracy, choices.
    """

    head: LabelAttentionHead = field(repr=False)
    labels: LabelSet
    backbone: BackboneFacts
    tokens: TokenLayout
    config: TrainConfig
    examples: tuple[Example, ...] = field(repr=False)
    summary: Mapping[str, Json]

    @property
    def text_pair(self) -> bool:
        """Whether an input is two texts."""
        return any(example.text_pair is not None for example in self.examples)

    @property
    def shots(self) -> int:
        """How many of the examples are shots: the first ones. Those behind them are generated texts that the filter kept."""
        found = self.summary.get("shots")
        return found if isinstance(found, int) and 0 <= found <= len(self.examples) else len(self.examples)

    @property
    def threshold(self) -> float | None:
        """Probability below which no label is given, None where every text gets one."""
        return _number(self.summary.get("threshold"))

    @property
    def scope_threshold(self) -> float | None:
        """Scope (cosine to the nearest label) below which no label is given, None where every text gets one."""
        return _number(self.summary.get("scope_threshold"))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the checkpoint folder, whole or not at all.

        Raises:
            OutputExistsError: ``path`` is there and ``force`` is off, or it is not a checkpoint.
            ResourceError: The disk refuses a write.
        """
        target = Path(path)
        check_output(target, force=force, what="checkpoint", owned_marker=STATE_NAME)
        state: dict[str, Json] = {
            "format": "crosstune-checkpoint",
            "format_version": FORMAT_VERSION,
            "head": self.head.kind,
            "spec": {
                "atoms": [[atom.pool, atom.layer] for atom in self.head.spec.atoms],
                "merge": self.head.spec.merge,
                "attention": list(self.head.spec.attention),
            },
            "positions": cast(Json, dataclasses.asdict(self.head.positions)),
            "labels": {label.name: list(label.descriptions) for label in self.labels},
            "backbone": cast(Json, dataclasses.asdict(self.backbone)),
            "tokens": cast(Json, {key: _list(value) for key, value in dataclasses.asdict(self.tokens).items()}),
            "config": cast(Json, self.config.model_dump()),
            "summary": dict(self.summary),
        }
        files = {
            EXAMPLES_NAME: "".join(example_line(example) for example in self.examples).encode("utf-8"),
            HEAD_NAME: safetensors.torch.save(self.head.tensors()),
            STATE_NAME: (json.dumps(state, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"),
        }
        with new_folder(target) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            (folder / SUMS_NAME).write_text(_sums(files), "ascii")

    def load_backbone(self, *, device: str = "auto", name: str | None = None) -> FrozenBackbone:
        """Load the backbone and check that it is the one that was trained with.

        Args:
            device: ``auto``, ``cpu`` or ``cuda``.
            name: Where it is now, if not where it was.

        Raises:
            BackboneError: It cannot be loaded, or its digest differs.
        """
        backbone = FrozenBackbone.load(
            name or self.backbone.name, device=device, max_length_tokens=self.tokens.max_length_tokens
        )
        if backbone.digest != self.backbone.digest:
            raise BackboneError(
                f"{backbone.name}: digest {backbone.digest[:12]}…, expected {self.backbone.digest[:12]}… as at training. "
                "Give the same backbone, or train again."
            )
        return backbone


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint folder, every byte checked against its sums.

    Raises:
        CheckpointError: A file is missing, foreign, changed, or does not fit the others.
    """
    folder = Path(path)
    files = _read_files(folder)
    where = str(folder / STATE_NAME)
    try:
        state = cast("dict[str, Json]", parse_json(files[STATE_NAME].decode("utf-8"), where))
        version = state["format_version"]
        if state["format"] != "crosstune-checkpoint" or not isinstance(version, int) or version != FORMAT_VERSION:
            old = isinstance(version, int) and version < FORMAT_VERSION  # its head and its digest meant something else
            raise CheckpointError(
                f"{where}: format {state['format']} {version}, this reader knows crosstune-checkpoint {FORMAT_VERSION}. "
                + ("Train again." if old else "Upgrade crosstune-export.")
            )
        return _from_state(state, files, folder)
    except CheckpointError:
        raise
    except (CrossTuneError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(repr(error).replace("\\n", " ").split())[:160]
        raise CheckpointError(f"{where}: not a usable checkpoint ({reason}). Train again.") from error


def _from_state(state: Mapping[str, Json], files: Mapping[str, bytes], folder: Path) -> Checkpoint:
    spec_state = cast("dict[str, Json]", state["spec"])
    spec = FeatureSpec(
        tuple(Atom(str(pool), int(layer)) for pool, layer in cast("list[tuple[str, int]]", spec_state["atoms"])),
        cast(str, spec_state["merge"]),
        tuple(int(layer) for layer in cast("list[int]", spec_state["attention"])),
    )
    positions = PoolPositions(**cast("dict[str, int]", state["positions"]))
    labels = LabelSet(
        tuple(
            Label(name, tuple(descriptions))
            for name, descriptions in cast("dict[str, list[str]]", state["labels"]).items()
        )
    )
    backbone = BackboneFacts(**cast("dict[str, object]", state["backbone"]))  # type: ignore[arg-type]
    for atom in (*spec.atoms, *(Atom("mean", layer) for layer in spec.attention)):
        if atom.pool not in POOLS or not 0 <= atom.layer <= backbone.layer_count or spec.merge not in MERGES:
            raise CheckpointError(
                f"{folder / STATE_NAME}: feature {atom.pool}:{atom.layer} ({spec.merge}), expected one of {', '.join(POOLS)} "
                f"of layers 0 to {backbone.layer_count}, merged by {' or '.join(MERGES)}. Train again."
            )
    tokens = TokenLayout(
        **{
            key: tuple(value) if isinstance(value, list) else value
            for key, value in cast("dict[str, Json]", state["tokens"]).items()
        }  # type: ignore[arg-type]
    )
    tensors = _read_tensors(files[HEAD_NAME], str(folder / HEAD_NAME))
    head = head_from_tensors(
        cast(str, state["head"]), spec, positions, tensors, len(labels), backbone.hidden_size, str(folder / HEAD_NAME)
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
        summary=cast("dict[str, Json]", state["summary"]),
    )


def _read_files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise CheckpointError(f"{folder}: found {what}, expected a checkpoint folder. Make one with crosstune train.")
    try:
        found = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror}). Check its rights.") from error
    expected = {*_FILES, SUMS_NAME}
    for name in sorted(expected - found):
        raise CheckpointError(f"{folder / name}: missing, expected in every checkpoint. Copy it again, or train again.")
    for name in sorted(found - expected):
        raise CheckpointError(
            f"{folder / name}: a foreign file, expected only {', '.join(sorted(expected))}. Remove it, or train again."
        )
    try:
        files = {name: (folder / name).read_bytes() for name in _FILES}
        sums = (folder / SUMS_NAME).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror}). Check its files.") from error
    if sums == _sums(files).encode("ascii"):
        return files
    for line in sums.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in files and hashlib.sha256(files[name]).hexdigest() != digest:
            raise CheckpointError(
                f"{folder / name}: changed since it was written (sha256). Copy it again, or train again."
            )
    raise CheckpointError(f"{folder / SUMS_NAME}: changed since it was written. Copy it again, or train again.")


def _read_tensors(data: bytes, where: str) -> dict[str, safetensors.torch.torch.Tensor]:
    try:
        return dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{where}: not safetensors ({error}). Train again.") from error


def _sums(files: Mapping[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
