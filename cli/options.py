"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from crosstune.rows.options import ReadOptions


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
RequireSignature = Annotated[
    Path | None,
    typer.Option("--require-signature", help="Public key (PEM) that must have signed the bundle; default: none."),
]
Signature = Annotated[Path | None, typer.Option("--signature", help="File of the signature; default: BUNDLE.sig.")]
Kernels = Annotated[
    Literal["auto", "portable", "fast"],
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
Repository = Annotated[
    str, typer.Argument(help="Repository, OWNER/NAME, on the hub of HF_ENDPOINT; default: https://huggingface.co.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace existing output.")]
LabelFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Descriptions of the labels: a JSON or TOML file that maps each label to a description or a list of them, "
        "a table with the columns label and description, or a checkpoint that has them; default: the names of the labels in the "
        "examples.",
    ),
]
TRAIN_HELP = "Labelled examples: .jsonl, .json, .csv, .tsv, .parquet or .xlsx with columns text and label."
TrainFile = Annotated[Path, typer.Option("--train", help=TRAIN_HELP)]
OnConflict = Annotated[
    Literal["fail", "drop", "majority"],
    typer.Option(
        "--on-conflict",
        help="What to do with a text that has several labels; majority keeps it with the most frequent one.",
    ),
]

_PANEL = "Reading rows"
#: The options of every command that reads rows, by the field of ``ReadOptions`` that each sets.
_READ_OPTIONS: dict[str, object] = {
    "text_column": Annotated[
        str, typer.Option("--text-column", help="Column that holds the text.", rich_help_panel=_PANEL)
    ],
    "label_column": Annotated[
        str, typer.Option("--label-column", help="Column that holds the label.", rich_help_panel=_PANEL)
    ],
    "pair_column": Annotated[
        str,
        typer.Option("--pair-column", help="Column that holds the second text of a pair.", rich_help_panel=_PANEL),
    ],
    "delimiter": Annotated[
        str | None,
        typer.Option(
            "--delimiter",
            help='Character between the fields of CSV and TSV, such as ";" or tab; default: recognised by the header.',
            rich_help_panel=_PANEL,
        ),
    ],
    "encoding": Annotated[
        str | None,
        typer.Option(
            "--encoding",
            help="Encoding of the text, such as cp1252; default: UTF-8, or UTF-16 if the file shows it.",
            rich_help_panel=_PANEL,
        ),
    ],
    "input_format": Annotated[
        Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "xlsx", "text"],
        typer.Option(
            "--input-format",
            help="Format of the input; auto goes by each file's ending.",
            rich_help_panel=_PANEL,
        ),
    ],
}


def task_words(
    train_file: Path, labels: Path | None, reading: ReadOptions, **settings: str | int | Path | None
) -> list[object]:
    """Return the options by which another command reads the same examples and labels, and has the settings that were given."""
    words: list[object] = ["--train", train_file]
    if labels is not None:
        words += ["--labels", labels]
    for name in _READ_OPTIONS:
        value = getattr(reading, name)
        if value != getattr(type(reading), name):
            words += [f"--{name.replace('_', '-')}", value]
    for name, given in settings.items():
        if given is not None:
            words += [f"--{name.replace('_', '-')}", given]
    return words


def reads_rows(*, labelled: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of every command that reads rows; it gets them as the argument ``reading``.

    Args:
        labelled: Whether the command reads labels; without, there is no ``--label-column``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        from crosstune.rows.options import ReadOptions

        options = {name: kind for name, kind in _READ_OPTIONS.items() if labelled or name != "label_column"}

        @functools.wraps(command)
        def with_options(**given: object) -> None:
            values = {name: given.pop(name) for name in options}
            command(**given, reading=ReadOptions(**values))  # type: ignore[arg-type]

        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "reading"
        ]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(ReadOptions, name), annotation=kind)
            for name, kind in options.items()
        ]
        with_options.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
        return with_options

    return decorate
