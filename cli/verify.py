"""``crosstune-export verify``: check hashes, the signature and the self-test, and compare with the checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, print_json, progress_bars
from crosstune_cli.options import (
    AllowFallback,
    AnyBundle,
    JsonOutput,
    Kernels,
    Provider,
    RequireSignature,
    Signature,
    not_nan,
    reads_rows,
)

from crosstune.rows.options import ReadOptions


@reads_rows()
def verify(
    bundle: AnyBundle,
    data: Annotated[
        Path | None, typer.Option("--data", help="With --checkpoint: labelled examples to compare the labels on.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="With --data: the checkpoint that the bundle was built from.")
    ] = None,
    max_flips: Annotated[
        float,
        typer.Option(
            "--max-flips",
            min=0,
            callback=not_nan,
            help="With --data: percent of labels that may differ from the checkpoint's.",
        ),
    ] = 5.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also run the self-test's texts together, in padded batches.")
    ] = False,
    require_signature: RequireSignature = None,
    signature: Signature = None,
    min_release: Annotated[int, typer.Option("--min-release", min=0, help="Smallest release number to accept.")] = 0,
    kernels: Kernels = "auto",
    provider: Provider = "cpu",
    allow_fallback: AllowFallback = False,
    json_output: JsonOutput = False,
    *,
    reading: ReadOptions,
) -> None:
    """Check every hash and run the self-test; optionally check a signature and compare with the checkpoint."""
    del kernels  # chosen by the option itself
    from crosstune_export.runtime.session import providers_of
    from crosstune_export.verification import verify as verify_bundle

    with progress_bars() as progress:
        result = verify_bundle(
            bundle,
            data=data,
            checkpoint=checkpoint,
            reading=reading,
            max_label_changes_percent=max_flips,
            padded_batches=deep,
            require_signature=require_signature,
            signature=signature,
            min_release=min_release,
            providers=providers_of(provider),
            allow_fallback=allow_fallback,
            progress=progress,
        )
    selftest, padded, compared = result.selftest, result.padded_selftest, result.comparison
    if json_output:
        print_json(
            {
                "bundle": str(bundle),
                "digest": result.digest,
                "files": result.files,
                "kernels": result.kernels,
                "signature": result.signature,
                "selftest": dataclasses.asdict(selftest),
                "padded_selftest": None if padded is None else dataclasses.asdict(padded),
                "comparison": None if compared is None else compared.to_json(),
            }
        )
        result.check()
        return
    if result.signature is not None:
        typer.echo(result.signature)
    typer.echo(f"{bundle}: digest {result.digest}, {result.files} files as built")
    typer.echo(
        f"self-test: {selftest.samples} samples, largest probability difference {selftest.max_difference:.1e} "
        f"(at most {selftest.tolerance:.0e})"
    )
    if padded is not None:
        typer.echo(f"padded batches: largest probability difference {padded.max_difference:.1e}")
    if compared is not None:
        typer.echo(f"checkpoint: {compared.summary}")
    result.check()
    next_command("crosstune-export", "bench", bundle)
