"""``crosstune``: train on a few examples, and measure."""

from __future__ import annotations

import typer
from crosstune_cli.augment import augment
from crosstune_cli.check import check
from crosstune_cli.evaluate import evaluate
from crosstune_cli.filter import filter_texts
from crosstune_cli.options import Version
from crosstune_cli.run import run
from crosstune_cli.suggest import suggest
from crosstune_cli.train import train

app = typer.Typer(
    name="crosstune",
    help="Train a label attention head on a frozen backbone from a few labelled texts.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(_: Version = False) -> None:
    """Train a label attention head on a frozen backbone from a few labelled texts. --debug shows tracebacks."""


for command in (train, evaluate, augment, suggest, check):
    app.command()(command)
app.command("filter")(filter_texts)


def main() -> None:
    """Entry point."""
    run(app, "crosstune")
