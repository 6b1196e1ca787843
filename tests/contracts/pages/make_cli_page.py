"""Writes docs/cli.md from the command lines themselves, so that the page cannot fall behind them.

``python tests/contracts/pages/make_cli_page.py`` writes the page; ``--check`` writes nothing and exits 1 where the page is out of date.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from written_page import write_or_check

TITLE = """# The command line

This page is written by `make docs` from the programs themselves; a test fails when it falls behind.
Results go to standard output; progress, notes and errors go to standard error. Exit codes are in the [list](errors.md).
Every command also has `-h`/`--help`, which shows examples, `-q`/`--quiet` (no progress and no notes), `-v`/`--verbose` (the time of each
stage) and `--debug` (the traceback of an error). `--version`, `--install-completion` and `--show-completion` stand alone.
Results are JSON Lines in a pipe or a file. On a terminal `classify` prints a table, and each command ends with the one to type next.
"""


#: Options of every command, which the title describes.
_GENERAL = {"--help", "--quiet", "--verbose", "--debug"}


def page() -> str:
    """The whole page."""
    from crosstune_cli import crosstune_app, export_app

    sections = [TITLE]
    for app in (crosstune_app.app, export_app.app):
        group = typer.main.get_command(app)
        sections.append(f"## {app.info.name}\n\n{_prose(app.info.help)}\n")
        for name, command in group.commands.items():
            inner = getattr(command, "commands", None)
            sections += (
                [_command(f"{app.info.name} {name}", command)]
                if inner is None
                else [_command(f"{app.info.name} {name} {part}", inner[part]) for part in inner]
            )
            if name == "train":
                sections.append(_settings())
    return "\n".join(sections)


def _settings() -> str:
    from crosstune import TrainConfig

    lines = [
        "#### Settings of `--config`",
        "",
        "A TOML file with any of these names at the top level. An option of the same meaning wins over it.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in TrainConfig.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{name}` | {default} | {_cell(field.description)} |")
    return "\n".join([*lines, ""])


def _command(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not _GENERAL.intersection(parameter.opts)
    ]
    places = "".join(f" {_place(argument)}" for argument in arguments)
    needed = "".join(f" {_spelled(option)}" for option in options if option.required)
    lines = [f"### {name}", "", _prose(command.help), "", f"    {name}{places}{needed} [OPTIONS]", ""]
    if arguments:
        lines += ["| argument | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{argument.name.upper()}` | {_default(argument)} | {_cell(argument.help)} |" for argument in arguments
        ]
        lines.append("")
    lines += ["| option | default | meaning |", "|---|---|---|"]
    lines += [f"| `{_cell(_spelled(option))}` | {_default(option)} | {_cell(option.help)} |" for option in options]
    return "\n".join([*lines, ""])


def _place(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    name = "/".join(max(names, key=len) for names in (option.opts, option.secondary_opts) if names)
    return name if option.is_flag else f"{name} {_kind(option)}"


def _kind(option: Any) -> str:
    if choices := getattr(option.type, "choices", None):
        return "|".join(choices)
    kind = option.type.name.split()[0]  # "integer range" and "integer" are one to a reader
    return {"path": "PATH", "text": "TEXT", "str": "TEXT", "int": "N", "integer": "N", "float": "X"}[kind]


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if getattr(parameter, "secondary_opts", []):
        return f"`{max(parameter.opts if default else parameter.secondary_opts, key=len)}`"
    if default is None or default is False:
        return ""
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    sys.exit(write_or_check("docs/cli.md", page, "the command lines"))
