"""What both programs share: help in panels with examples, general options, and hints for mistyped commands."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import typer
from crosstune_cli.console import set_verbosity
from typer.core import TyperCommand, TyperGroup, TyperOption

from crosstune.core.errors import ConfigError

EVERYDAY, RELEASE, INSPECT, DATA = "Everyday", "Release and serve", "Inspect and measure", "More training data"

#: The commands of each program.
COMMANDS = {
    "crosstune": ("train", "evaluate", "check", "suggest", "augment", "filter"),
    "crosstune-export": (
        *("build", "classify", "evaluate", "labels"),
        *("serve", "web", "pack", "unpack", "push", "pull", "sign", "sbom"),
        *("verify", "inspect", "bench", "diff", "doctor"),
    ),
}
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_GENERAL = "General"


class _HasParams(Protocol):
    params: list[Any]


class Command(TyperCommand):
    """A command with the general options ``--quiet``, ``--verbose`` and ``--debug``."""

    def __init__(self, *args: Any, **attributes: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **attributes)
        _add_general_options(self)


class Group(TyperGroup):
    """A program; a command of the other program is answered with the line to type."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """As in the base class."""
        typed, program = args[0], str(ctx.info_name)
        if typed not in self.commands and program in COMMANDS:
            for other, names in COMMANDS.items():
                if typed in names:
                    raise ConfigError(f"{typed!r} is a command of {other}. Run: {shlex.join([other, *args])}")
        return super().resolve_command(ctx, args)


def _add_general_options(command: _HasParams) -> None:
    def option(names: list[str], help_text: str, level: int | None) -> TyperOption:
        def apply(_context: object, _option: object, value: bool) -> None:
            if value and level is not None:
                set_verbosity(level)

        return TyperOption(
            param_decls=names,
            is_flag=True,
            default=False,
            expose_value=False,
            is_eager=True,
            callback=apply,
            help=help_text,
            rich_help_panel=_GENERAL,
        )

    command.params += [
        option(["-q", "--quiet"], "Show no progress and no notes; errors are still shown.", -1),
        option(["-v", "--verbose"], "Also show how long each stage took.", 1),
        option(["--debug"], "Show the traceback of an error.", None),
    ]


def make_app(name: str, help_text: str, *, completion: bool = True) -> typer.Typer:
    """Return an app without commands.

    Args:
        name: Name of the program or of the group of commands.
        help_text: One sentence.
        completion: Whether it has ``--install-completion``.
    """
    return typer.Typer(
        name=name,
        cls=Group,
        help=help_text,
        no_args_is_help=False,
        add_completion=completion,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
    )


def add(
    app: typer.Typer,
    command: Callable[..., None],
    *examples: str,
    name: str | None = None,
    panel: str | None = None,
) -> None:
    """Add a command to an app.

    Args:
        app: The app.
        command: The function.
        examples: Command lines for the help page, at least one.
        name: Name of the command; None for that of the function.
        panel: Title of the panel that lists the command.
    """
    app.command(name, cls=Command, rich_help_panel=panel, epilog=_epilog(examples), context_settings=_SETTINGS)(command)


def _epilog(examples: Sequence[str]) -> str:
    return "\n\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in examples)])
