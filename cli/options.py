"""Options that several commands share."""

from __future__ import annotations

import math
import os
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer


def not_nan(value: float) -> float:
    """Refuse nan, which passes every range check because all comparisons with it are false.

    Raises:
        typer.BadParameter: The value is nan.
    """
    if math.isnan(value):
        raise typer.BadParameter("nan is not a number.")
    return value


def _optional_not_nan(value: float | None) -> float | None:
    return None if value is None else not_nan(value)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"crosstune-export {metadata.version('crosstune-export')}")
        raise typer.Exit


def _choose_kernels(choice: str) -> str:
    """Choose the kernels of this process and of those that it starts."""
    from crosstune.core.errors import ConfigError
    from crosstune_export.runtime.kernels import VARIABLE, check_kernels

    if choice != "auto":
        try:
            os.environ[VARIABLE] = check_kernels(choice)
        except ConfigError as error:
            raise typer.BadParameter(str(error).removeprefix("kernels: ")) from error
    return choice


Version = Annotated[
    bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
]
BundleFolder = Annotated[Path, typer.Argument(help="Bundle folder.")]
AnyBundle = Annotated[Path, typer.Argument(help="Bundle folder or packed bundle.")]
JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where torch runs.")]
Provider = Annotated[Literal["cpu", "cuda"], typer.Option("--provider", help="Where to run.")]
AllowFallback = Annotated[
    bool, typer.Option("--allow-fallback", help="Run on the CPU if the provider is not available.")
]
MovedBackbone = Annotated[
    str | None, typer.Option("--backbone", help="Backbone folder, if it has moved since training.")
]
Kernels = Annotated[
    str,
    typer.Option(
        "--kernels",
        callback=_choose_kernels,
        help="auto (the fast kernels of crosstune-kernels where they can run), portable (onnxruntime's) or fast (or fail).",
    ),
]
MinSimilarity = Annotated[
    float | None,
    typer.Option(
        "--min-similarity",
        min=-1,
        max=1,
        callback=_optional_not_nan,
        help="Give no label to texts less similar to the training texts than this, for example 0.5; default: the one in the bundle.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing output.")]
LabelFile = Annotated[
    Path,
    typer.Option("--labels", help="JSON or TOML file that maps each label to a description or a list of descriptions."),
]
TrainFile = Annotated[
    Path, typer.Option("--train", help="Labelled examples: .jsonl, .csv, .tsv or .parquet with columns text and label.")
]
