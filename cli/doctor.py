"""``crosstune-export doctor``: checks of this machine, each with advice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command
from crosstune_cli.options import JsonOutput, Provider

_MARKS = {"ok": "ok  ", "note": "note", "problem": "FAIL"}


def doctor(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle folder to try on this machine; default: check the machine only.")
    ] = None,
    provider: Provider = "cpu",
    json_output: JsonOutput = False,
) -> None:
    """Check versions, wheels, providers, processor and threads, and optionally run a bundle. Exit code 0 means no problem was found."""
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
    if bundle is not None:
        next_command("crosstune-export", "bench", bundle)
