"""Settings of a training run: defaults, then a TOML file, then what the caller gives."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from crosstune.core.checkpoint_folder import read_files, state_of
from crosstune.core.errors import ConfigError, DataError
from crosstune.core.strict_text import parse_toml, read_text

DEFAULT_BACKBONE = "minilm"
DEFAULT_HEAD: Literal["default", "paper"] = "default"
#: The first seed of the few-shot literature (13, 21, 42, 87, 100).
DEFAULT_SEED = 13
DEFAULT_TEMPLATE = "{text} This is about {mask}."


class TrainConfig(BaseModel):
    """The settings of a training run.

    The paper's head has 8 attention heads and is trained for 200 epochs: chosen by hand, since the full text of the paper could
    not be read; not ablated.

    Examples:
        >>> TrainConfig(head="paper", seed=21).heads
        8
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    backbone: str = Field(
        DEFAULT_BACKBONE, min_length=1, description="minilm, a short name such as bge-small, a folder, or a hub id"
    )
    head: Literal["default", "paper"] = Field(
        DEFAULT_HEAD, description="the default head, which starts at the descriptions, or the paper's"
    )
    shots: int | None = Field(
        None, ge=1, description="examples per label to draw from the training file; all when none"
    )
    seed: int = Field(DEFAULT_SEED, ge=0, lt=1 << 32, description="decides draws, folds and random starts")
    layers: int | Literal["auto"] | None = Field(
        None,
        description='default head: use only the first N backbone layers, or "auto" to choose by cross-validation',
    )
    max_length_tokens: int | None = Field(
        None, ge=8, description="longer texts are truncated; the backbone's own limit when none"
    )
    prefix: str | None = Field(
        None, description="text before every text; the prompt that the backbone's folder states, if any, when none"
    )
    abstain_at: str | None = Field(
        None,
        description="default head, when to give no label: coverage=0.95 answers that share of texts like the shots and "
        "abstains on texts far from all labels; precision=0.9 abstains on unsure texts so that 90% of the answers are right",
    )
    expected_shares: Literal["uniform", "shots"] | dict[str, float] = Field(
        "uniform",
        description="default head: how frequent the labels are expected to be in use: equally (uniform), as among the "
        "shots, or a share for each label",
    )
    log_shares: Literal["shots", "estimate"] | dict[str, float] = Field(
        "shots",
        description="default head: how frequent the labels are in the log that the shots were chosen from: as among the shots, "
        "estimated from the log (estimate), or a share for each label",
    )
    feature: Literal["mean", "max", "mask"] = Field(
        "mean",
        description="paper head: mean or maximum over tokens of the last layer, or the state at the mask of the template",
    )
    template: str = Field(DEFAULT_TEMPLATE, description="mask feature: the text around {text} and, after it, {mask}")
    heads: int = Field(8, ge=1, le=64, description="attention heads of the paper head")
    epochs: int = Field(200, ge=1, le=100_000, description="passes over the shots of the paper head")
    learning_rate: float = Field(1e-2, gt=0, lt=1, allow_inf_nan=False, description="of the paper head's Adam")

    @field_validator("layers", mode="before")
    @classmethod
    def _depth(cls, value: object) -> object:
        if value is None or value == "auto" or (type(value) is int and value >= 1):
            return value
        raise ValueError("expected auto or a number of layers, at least 1")

    @field_validator("expected_shares", "log_shares", mode="before")
    @classmethod
    def _shares(cls, value: object, info: ValidationInfo) -> object:
        words = ("uniform" if info.field_name == "expected_shares" else "estimate", "shots")
        if isinstance(value, Mapping):
            value = {name: float(share) if type(share) is int else share for name, share in value.items()}
            if value and all(type(share) is float and 0 < share < math.inf for share in value.values()):
                return value
        elif value in words:
            return value
        raise ValueError(f"expected {words[0]}, shots, or a number above 0 for each label")

    @field_validator("abstain_at")
    @classmethod
    def _share(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"(coverage|precision)=(0\.[0-9]*[1-9][0-9]*|1|1\.0+)", value):
            return value
        raise ValueError("expected such as coverage=0.95 or precision=0.9, above 0 and at most 1")

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        if self.head == "default" and self.feature != "mean":
            raise ValueError(f"feature {self.feature} goes with head paper; the default head chooses its own")
        if self.template != DEFAULT_TEMPLATE and self.feature != "mask":
            raise ValueError("template goes with head paper and feature mask; nothing else reads it")
        for name in ("layers", "abstain_at"):
            if self.head == "paper" and getattr(self, name) is not None:
                raise ValueError(f"{name} {getattr(self, name)} goes with head default; the paper head has none")
        for name, usual in (("expected_shares", "uniform"), ("log_shares", "shots")):
            if self.head == "paper" and getattr(self, name) != usual:
                raise ValueError(f"{name} goes with head default; the paper head takes all labels as equally frequent")
        return self


def load_config(path: str | os.PathLike[str] | None, overrides: Mapping[str, object]) -> TrainConfig:
    """Resolve a configuration.

    Args:
        path: A TOML file of settings by name; or the folder of a checkpoint, of which all settings but ``shots`` are taken, as
            those were drawn; or None.
        overrides: Settings by name that win over the file; None values do not count.

    Raises:
        ConfigError: A key is unknown (the nearest one is named), or a value is of the wrong type or out of range.
        CheckpointError: The folder is not a usable checkpoint.
    """
    where = "config" if path is None else str(path)
    values = {} if path is None else _settings(Path(path))
    for key in values:
        if key not in TrainConfig.model_fields:
            near = difflib.get_close_matches(key, TrainConfig.model_fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected some of {', '.join(TrainConfig.model_fields)}."
            raise ConfigError(f"{where}: unknown setting {key!r}, {hint}")
    values.update({key: value for key, value in overrides.items() if value is not None})
    return validated(values, where)


def _settings(source: Path) -> dict[str, object]:
    """Settings by name, from a file or a checkpoint."""
    if source.is_dir():
        found = state_of(read_files(source), source).get("config")
        return {key: value for key, value in found.items() if key != "shots"} if isinstance(found, dict) else {}
    try:
        body = parse_toml(read_text(source), str(source), ConfigError)
    except DataError as error:
        raise ConfigError(str(error)) from error
    return dict(body) if isinstance(body, dict) else {}


def validated(values: Mapping[str, object], where: str) -> TrainConfig:
    """A configuration from settings by name.

    Raises:
        ConfigError: A value is of the wrong type or out of range; one line names the first.
    """
    try:
        return TrainConfig.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        found = "" if not name else f"{name} is {first['input']!r:.80}, "
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {found}{reason[:1].lower()}{reason[1:]}. Correct the setting.") from error
