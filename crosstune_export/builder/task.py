"""Inputs of a build: the checkpoint, its backbone, and the texts that graphs are compared on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint, load_checkpoint
from crosstune.core.errors import ConfigError
from crosstune.core.portable_tokenizers import needs_python, runtimes
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text, TokenRow
from crosstune.rows.options import ReadOptions
from crosstune_export.builder import parity
from crosstune_export.builder.probe_texts import real_texts, selftest_texts, truncated_texts
from crosstune_export.bundle.strict_json import strict_json
from crosstune_export.runtime.tokenization import TextTokenizer


@dataclass(frozen=True)
class BuildTexts:
    """The texts of a build, and their ids by the tokenizer in the bundle.

    Attributes:
        texts: Texts that graphs are compared on, followed by those of the self-test (descriptions and probes).
        real: Ids of the texts that graphs are compared on.
        truncated: Ids of truncated copies of these.
        samples: Ids of the self-test's texts.
    """

    texts: tuple[Text, ...]
    real: tuple[TokenRow, ...]
    truncated: tuple[TokenRow, ...]
    samples: tuple[TokenRow, ...]

    @classmethod
    def read(
        cls,
        real: Sequence[Text],
        samples: Sequence[Text],
        trained: Checkpoint,
        backbone: Backbone,
        tokenizer: TextTokenizer,
    ) -> BuildTexts:
        """Tokenize the texts.

        Raises:
            GateError: The ids of a text differ from those of training.
        """
        texts = (*real, *samples)
        rows = parity.check_ids(tokenizer, texts, [row.ids for row in backbone.tokenize(texts, trained.tokens)])
        parts = rows[: len(real)], tokenizer.rows(truncated_texts(real)), rows[len(real) :]
        return cls(texts, *(tuple(part) for part in parts))

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Ids of ``texts``."""
        return (*self.real, *self.samples)


@dataclass(frozen=True)
class BuildTask:
    """Everything that a build reads.

    Attributes:
        trained: The checkpoint.
        backbone: Its backbone, on the CPU.
        tokenizer: The tokenizer in the bundle, with the token layout of the checkpoint.
        texts: The texts.
        samples: The self-test's texts.
        truth: Labels of the texts that graphs are compared on; None if they have none.
    """

    trained: Checkpoint
    backbone: Backbone
    tokenizer: TextTokenizer
    texts: BuildTexts
    samples: tuple[Text, ...]
    truth: tuple[str, ...] | None

    @property
    def calibration(self) -> tuple[Text, ...]:
        """Texts that graphs are compared on."""
        return self.texts.texts[: len(self.texts.real)]

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes that will read the bundle."""
        return runtimes(self._tokenizer)

    def check_target(self, target: str) -> None:
        """Refuse a target whose runtime does not read the backbone's tokenizer.

        Args:
            target: ``cpu``, ``web``, ``cuda`` or ``mobile``.

        Raises:
            ConfigError: The runtime of ``web`` or ``mobile`` does not read the tokenizer.
        """
        reason = needs_python(self._tokenizer)
        if target in ("web", "mobile") and reason is not None:
            raise ConfigError(
                f"target: {target} cannot read the tokenizer of {self.backbone.name} ({reason}). "
                "Build with --target cpu for the Python runtime, or train with another backbone."
            )

    @property
    def _tokenizer(self) -> Json:
        return strict_json(self.backbone.tokenizer_json, f"{self.backbone.name}: tokenizer")

    @classmethod
    def read(
        cls,
        checkpoint: str | os.PathLike[str],
        calibration: Path | None,
        backbone_name: str | None,
        reading: ReadOptions | None = None,
        *,
        labelled: bool = True,
    ) -> BuildTask:
        """Read a checkpoint and load its backbone.

        Args:
            checkpoint: Checkpoint folder from ``crosstune train``.
            calibration: File of examples to compare graphs on; None for the training examples.
            backbone_name: Backbone folder, if it has moved since training.
            reading: How to read the calibration file; recognised when None.
            labelled: Whether the calibration file has labels.

        Raises:
            CheckpointError: The checkpoint is invalid.
            BackboneError: The backbone differs from the one of training, or cannot be read.
            DataError: The calibration file cannot be read.
            GateError: The ids of a text differ from those of training.
        """
        trained = load_checkpoint(checkpoint)
        real, truth = real_texts(trained, calibration, reading, labelled=labelled)
        samples = selftest_texts(trained)
        backbone = trained.load_backbone(device="cpu", name=backbone_name)
        tokenizer = TextTokenizer(backbone.tokenizer_json, trained.tokens, trained.text_pair, "tokenizer")
        texts = BuildTexts.read(real, samples, trained, backbone, tokenizer)
        return cls(trained, backbone, tokenizer, texts, tuple(samples), None if truth is None else tuple(truth))
