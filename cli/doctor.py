"""``crosstune-export doctor``: what would run where on this machine, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

_MARKS = {"ok": "ok  ", "note": "note", "problem": "FAIL"}


def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle folder to try here; the machine alone when left out.")
    ] = None,
    provider: Annotated[str, typer.Option("--provider", help="Where it is to run: cpu or cuda.")] = "cpu",
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at versions, wheels, providers, processor and threads; with a bundle, run it here. Exit code 0: nothing stands in the way."""
    from crosstune_export.doctor import PROBLEM, examine

    findings = []
    for finding in examine(bundle, provider):
        findings.append(finding)
        if not json_output:
            typer.echo(f"{_MARKS[finding.status]} {finding.name}: {finding.found}\n     {finding.advice}")
    if json_output:
        typer.echo(json.dumps({"findings": [finding.to_json() for finding in findings]}, ensure_ascii=False))
    problems = [finding for finding in findings if finding.status == PROBLEM]
    if problems:
        raise typer.Exit(problems[0].exit_code)
