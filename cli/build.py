"""``crosstune-export build``: from a checkpoint to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from crosstune_cli.console import next_command, note, print_json, progress_bars
from crosstune_cli.options import JsonOutput, MovedBackbone, reads_rows

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from crosstune_export.builder.pipeline import BuildResult


@reads_rows()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder from crosstune train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder to write.")],
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "int8"],
        typer.Option(
            "--precision",
            help="Number format of the graph; auto tries several graphs and ships the fastest that is accurate enough.",
        ),
    ] = "auto",
    target: Annotated[
        Literal["cpu", "web", "cuda", "mobile"],
        typer.Option(
            "--target",
            help="Where the bundle will run: web has the same graph as cpu, cuda is fp16, mobile adds a folder with an .ort file.",
        ),
    ] = "cpu",
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Examples for calibration and comparison; default: the training examples. With --max-latency-ms or --early-exit "
            "they need no labels.",
        ),
    ] = None,
    max_flips: Annotated[
        float, typer.Option("--max-flips", help="Percent of texts whose label may change compared with fp32.")
    ] = 2.0,
    max_size_mb: Annotated[
        float | None, typer.Option("--max-size-mb", help="Maximum size of the bundle, in megabytes (10^6 bytes).")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            "--max-latency-ms",
            help="Maximum median latency per text on this machine, one thread, in milliseconds. If all layers are too slow, at least "
            "200 texts of --calibration teach fewer layers the answers of all of them.",
        ),
    ] = None,
    backbone: MovedBackbone = None,
    onnxruntime: Annotated[
        str, typer.Option("--onnxruntime", help="Oldest onnxruntime that must load the graph, 1.14 or later.")
    ] = "1.20",
    exporter: Annotated[
        Literal["torch", "optimum"],
        typer.Option("--exporter", help="Exporter of the backbone; optimum needs the optimum extra."),
    ] = "torch",
    backbone_onnx: Annotated[
        Path | None,
        typer.Option("--backbone-onnx", help="Use the backbone graph in this folder, made by optimum-cli export onnx."),
    ] = None,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="HTML report to write: all graphs that were tried, with their measurements."),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option("--triton", help="Also write a Triton model repository to this folder."),
    ] = None,
    early_exit: Annotated[
        float | None,
        typer.Option(
            "--early-exit",
            help="Let easy texts skip layers, if at most this percentage of labels changes, for example 2; needs --calibration "
            "with at least 200 texts.",
        ),
    ] = None,
    release: Annotated[int, typer.Option("--release", min=0, help="Release number, for verify --min-release.")] = 0,
    json_output: JsonOutput = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
    *,
    reading: ReadOptions,
) -> None:
    """Build a bundle and check that it gives the same labels as the checkpoint."""
    try:
        from crosstune_export.builder.pipeline import BuildConfig, check_build_places
        from crosstune_export.builder.pipeline import build as build_bundle
        from crosstune_export.builder.targets.triton import check_repository, write_repository
    except ModuleNotFoundError as error:
        from crosstune_export import MissingExtraError

        raise MissingExtraError(
            f"{error.name}: not installed, expected for building. Run: pip install 'crosstune-export[export,cpu]'"
        ) from error
    config = BuildConfig(
        precision=precision,
        target=target,
        calibration=calibration,
        reading=reading,
        max_flips_percent=max_flips,
        max_size_mb=max_size_mb,
        max_latency_ms=max_latency_ms,
        backbone=backbone,
        report=report_file,
        onnxruntime=onnxruntime,
        exporter=exporter,
        backbone_onnx=backbone_onnx,
        release=release,
        early_exit_percent=early_exit,
    )
    if triton is not None:
        check_repository(triton, output, force=force)
        check_build_places(checkpoint, output, config, triton)
    with progress_bars() as progress:
        result = build_bundle(
            checkpoint,
            output,
            config,
            force=force,
            progress=lambda stage, done, total: progress(f"build: {stage}", done, total),
        )
    if json_output:
        taught = result.manifest.training_facts.taught
        print_json(
            {
                "output": str(output),
                "precision": result.manifest.graph.precision,
                "size_bytes": result.size_bytes,
                "labels": list(result.manifest.label_names),
                "runtimes": list(result.manifest.runtimes),
                "kernels": "portable" if result.shipped.no_fast_kernels else "fast",
                "kernels_reason": result.shipped.no_fast_kernels or None,
                "digest": result.manifest.digest,
                "exits": None if result.manifest.exits is None else result.manifest.exits.to_json(),
                "layers": result.manifest.backbone_facts.layers_used,
                "taught": None if taught is None else taught.to_json(),
                "quality": dict(result.manifest.quality),
                "trials": [
                    {
                        "name": trial.variant.name,
                        "size_bytes": trial.size_bytes,
                        "latency_ms": trial.latency_ms,
                        "verdict": trial.verdict,
                    }
                    for trial in result.trials
                ],
            }
        )
    else:
        _print_summary(output, result)
    if triton is not None:
        note(f"{triton}: model {write_repository(output, triton)} for Triton")
    next_command("crosstune-export", "classify", output, "--text", result.manifest.labels[0].descriptions[0])


def _print_summary(output: Path, result: BuildResult) -> None:
    typer.echo(
        f"{output}: {result.manifest.graph.precision}, {result.size_bytes / 1e6:.1f} MB, {len(result.manifest.labels)} labels"
    )
    typer.echo(f"  runtimes that read it: {', '.join(result.manifest.runtimes)}")
    obstacle = result.shipped.no_fast_kernels
    typer.echo(f"  fast kernels: {f'cannot run it: {obstacle}' if obstacle else 'run it on x86 processors with VNNI'}")
    failed = result.manifest.quality_facts.failed_rewrites
    left_out = f"; optional rewrites that failed and were left out: {', '.join(failed)}" if failed else ""
    typer.echo(f"  {result.manifest.attention_fusion}{left_out}")
    training = result.manifest.training_facts
    if (full := training.all_layers) is not None:
        shortened_accuracy, full_accuracy = (
            f"{100 * (rate or 0):.1f}%" for rate in (training.cv_accuracy, full.cv_accuracy)
        )
        typer.echo(
            f"  {result.manifest.backbone_facts.layers_used} of {full.layers} layers to keep within the budget: accuracy on "
            f"held-out folds {shortened_accuracy}, {full_accuracy} with all layers"
        )
    if (taught := training.taught) is not None:
        typer.echo(f"  taught the answers of {taught.layers} layers: on held-out texts {taught.summary}")
    if result.mobile is not None:
        typer.echo(
            f"{result.mobile.path}: model.ort, {result.mobile.size_bytes / 1e6:.1f} MB, {result.mobile.operators} operators"
        )
    if len(result.trials) > 1:
        for trial in result.trials:
            speed = "" if trial.latency_ms is None else f", {trial.latency_ms:.2f} ms"
            typer.echo(f"  tried {trial.variant.name}: {trial.size_bytes / 1e6:.1f} MB{speed}: {trial.verdict}")
    if result.manifest.exits is not None:
        typer.echo(f"  early exits: {result.manifest.exits.summary}")
    for title, difference in result.manifest.quality_facts.comparisons:
        typer.echo(f"  {title}: {difference.summary}")
    if (expected := result.manifest.quality_facts.expected_changes) is not None:
        typer.echo(f"  {expected.summary}")
