"""``crosstune-export``: build a bundle, classify with it, inspect it. Only ``build`` needs torch."""

from __future__ import annotations

import typer
from crosstune_cli.bench import bench
from crosstune_cli.build import build
from crosstune_cli.classify import classify
from crosstune_cli.diff import diff
from crosstune_cli.doctor import doctor
from crosstune_cli.evaluate_bundle import evaluate_bundle
from crosstune_cli.inspect import inspect
from crosstune_cli.labels import labels_app
from crosstune_cli.options import Version
from crosstune_cli.pack import pack
from crosstune_cli.run import run
from crosstune_cli.sbom import sbom
from crosstune_cli.serve import serve
from crosstune_cli.sign import sign
from crosstune_cli.unpack import unpack
from crosstune_cli.verify import verify
from crosstune_cli.web import web

app = typer.Typer(
    name="crosstune-export",
    help="Build one ONNX graph from a checkpoint, and classify with it without torch.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root(_: Version = False) -> None:
    """Build one ONNX graph from a checkpoint, and classify with it without torch. --debug shows tracebacks."""


for command in (build, classify, verify, inspect, bench, doctor):
    app.command()(command)
app.command("evaluate")(evaluate_bundle)
app.add_typer(labels_app)
for command in (pack, unpack, sign, sbom, diff, serve, web):
    app.command()(command)


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
