"""``crosstune-export``: build a bundle, classify with it, look into it. Only ``build`` needs torch."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.bench import bench
from crosstune_cli.classify import classify
from crosstune_cli.doctor import doctor
from crosstune_cli.labels import labels_app
from crosstune_cli.pack import add_pack_commands
from crosstune_cli.release import add_release_commands
from crosstune_cli.run import Version, a_number, progress, run
from crosstune_cli.serve import serve
from crosstune_cli.web import web

app = typer.Typer(
    name="crosstune-export",
    help="Build one ONNX graph from a checkpoint, and classify with it without torch.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


app.add_typer(labels_app)
add_pack_commands(app)
add_release_commands(app)
for command in (serve, web):
    app.command()(command)


@app.callback()
def _root(_: Version = False) -> None:
    """Build one ONNX graph from a checkpoint, and classify with it without torch. --debug shows tracebacks."""


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder from crosstune train.")],
    output: Annotated[Path, typer.Option("--output", help="Bundle folder to write.")],
    precision: Annotated[
        str, typer.Option("--precision", help="auto (search for the fastest), fp32, fp16 or int8.")
    ] = "auto",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="cpu, web (the same graph), cuda (fp16), or mobile (as cpu, and a folder with an .ort file).",
        ),
    ] = "cpu",
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Examples to calibrate and compare on; the training ones when left out."),
    ] = None,
    max_flips: Annotated[
        float, typer.Option("--max-flips", help="Percent of texts whose label may differ from fp32.")
    ] = 2.0,
    max_size_mb: Annotated[
        float | None, typer.Option("--max-size-mb", help="Largest size of the bundle, in megabytes.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option("--max-latency-ms", help="Largest median milliseconds a text on this machine, one thread."),
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Where the backbone is now, if it moved.")] = None,
    onnxruntime: Annotated[
        str, typer.Option("--onnxruntime", help="The oldest onnxruntime that the graph must load on, from 1.14 on.")
    ] = "1.20",
    exporter: Annotated[
        str, typer.Option("--exporter", help="Who turns the backbone into a graph: torch, or optimum (its own extra).")
    ] = "torch",
    backbone_onnx: Annotated[
        Path | None,
        typer.Option("--backbone-onnx", help="Folder with the backbone's graph from optimum-cli export onnx."),
    ] = None,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="HTML page to write: what was tried and measured.")
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option("--triton", help="Folder to write as a model repository of Triton, beside the bundle."),
    ] = None,
    release: Annotated[
        int, typer.Option("--release", min=0, help="A number to raise with every release; verify can ask for it.")
    ] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Build a bundle and check that it answers as the checkpoint does."""
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
        max_flips_percent=max_flips,
        max_size_mb=max_size_mb,
        max_latency_ms=max_latency_ms,
        backbone=backbone,
        report=report_file,
        onnxruntime=onnxruntime,
        exporter=exporter,
        backbone_onnx=backbone_onnx,
        release=release,
    )
    if triton is not None:
        check_repository(triton, output, force=force)
        check_build_places(checkpoint, output, config, triton)
    with progress() as report:
        result = build_bundle(
            checkpoint,
            output,
            config,
            force=force,
            progress=lambda stage, done, total: report(f"build: {stage}", done, total),
        )
    typer.echo(
        f"{output}: {result.manifest.graph.precision}, {result.size_bytes / 1e6:.1f} MB, {len(result.manifest.labels)} labels"
    )
    training, layers = result.manifest.training, result.manifest.backbone["layers_used"]
    if isinstance(before := training.get("all_layers"), dict):
        typer.echo(
            f"  {layers} of {before['layers']} layers to keep to the budget: {100 * training['cv_accuracy']:.1f} % right on "
            f"held-out folds, {100 * before['cv_accuracy']:.1f} % with all"
        )
    if result.mobile is not None:
        typer.echo(
            f"{result.mobile.path}: model.ort, {result.mobile.size_bytes / 1e6:.1f} MB, {result.mobile.operators} operators"
        )
    if len(result.trials) > 1:
        for trial in result.trials:
            speed = "" if trial.latency_ms is None else f", {trial.latency_ms:.2f} ms"
            typer.echo(f"  tried {trial.candidate.name}: {trial.size_bytes / 1e6:.1f} MB{speed}: {trial.verdict}")
    for name, figures in result.manifest.quality.items():
        if isinstance(figures, dict):
            typer.echo(
                f"  {name.replace('_', ' ')}: {figures['flips']} of {figures['texts']} labels differ, "
                f"largest difference of a probability {figures['max_prob_difference']:.1e}"
            )
    if triton is not None:
        typer.echo(f"{triton}: model {write_repository(output, triton)} for Triton")


app.command()(classify)
app.command()(doctor)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="With --checkpoint: examples to compare answers on.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="With --data: what the bundle was built from.")
    ] = None,
    max_flips: Annotated[
        float,
        typer.Option(
            "--max-flips",
            min=0,
            callback=a_number,
            help="With --data: percent of labels that may differ from the checkpoint's.",
        ),
    ] = 5.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also run the self-test's texts together, in padded batches.")
    ] = False,
    require_signature: Annotated[
        Path | None, typer.Option("--require-signature", help="Public key (PEM) whose signature must be there.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", help="Where it is; beside the bundle, ending in .sig, when left out.")
    ] = None,
    min_release: Annotated[
        int, typer.Option("--min-release", min=0, help="Refuse a bundle with a smaller release number.")
    ] = 0,
    provider: Annotated[str, typer.Option("--provider", help="Where to run: cpu or cuda.")] = "cpu",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Run on the CPU when the provider is not to be had.")
    ] = False,
) -> None:
    """Check every hash and perhaps a signature, run the self-test, and perhaps compare with the checkpoint."""
    from crosstune_export import Classifier, ConfigError, GateError
    from crosstune_export.runtime.session import providers_of

    if (data is None) != (checkpoint is None):
        raise ConfigError("verify: --data and --checkpoint go together, found one of them.")
    if signature is not None and require_signature is None:
        raise ConfigError("verify: --signature goes with --require-signature, found it alone.")
    if require_signature is not None or min_release:
        from crosstune_export.release.signing import check_release, check_signature

        if require_signature is not None:
            typer.echo(check_signature(bundle, require_signature, signature))
        check_release(bundle, min_release)
    classifier = Classifier.load(bundle, providers=providers_of(provider), allow_fallback=allow_fallback)
    manifest = classifier.manifest
    typer.echo(f"{bundle}: digest {manifest.digest}, {len(manifest.files) + 1} files as built")
    report = classifier.selftest()
    report.check(str(bundle))
    typer.echo(
        f"self-test: {report.samples} samples, largest difference of a probability {report.max_difference:.1e} "
        f"(at most {report.tolerance:.0e})"
    )
    if deep:
        together = classifier.selftest(together=True)
        together.check(f"{bundle}: in padded batches")
        typer.echo(f"together: largest difference of a probability {together.max_difference:.1e}")
    if data is None or checkpoint is None:
        return
    from crosstune import load_checkpoint, read_examples
    from crosstune.checkpoint import predict_proba

    trained = load_checkpoint(checkpoint)
    if (trained.labels.names, trained.text_pair) != (classifier.labels, manifest.text_pair):
        raise ConfigError(
            f"verify: {bundle} labels {_described(classifier.labels, manifest.text_pair)}, {checkpoint} "
            f"{_described(trained.labels.names, trained.text_pair)}, expected the same. "
            "Give what the bundle was built from; one whose labels were edited has no such checkpoint."
        )
    texts = [example.content for example in read_examples(data)]
    with progress() as bar:
        expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts, progress=bar)
    found = classifier.predict_proba(texts)
    flips = int((found.argmax(1) != expected.argmax(1)).sum())
    difference = float(abs(found - expected).max())
    typer.echo(
        f"checkpoint: {flips} of {len(texts)} labels differ, largest difference of a probability {difference:.1e}"
    )
    if manifest.graph.precision == "fp32" and difference > 1e-4:
        raise GateError(
            f"{bundle}: differs from {checkpoint} by {difference:.1e}, expected at most 1e-4. Build it again."
        )
    allowed = math.ceil(len(texts) * Decimal(str(max_flips)) / 100)
    if flips > allowed:
        raise GateError(
            f"{bundle}: {flips} of {len(texts)} labels unlike those of {checkpoint}, expected at most {allowed}. "
            "Give what the bundle was built from, or build it again."
        )


def _described(labels: tuple[str, ...], text_pair: bool) -> str:
    return f"{'pairs' if text_pair else 'texts'} as {', '.join(labels)}"


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a bundle says of itself."""
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.bundle.manifest import manifest_bytes

    files = read_bundle(bundle)
    manifest = files.manifest
    body = json.loads(manifest_bytes(manifest))
    facts = {
        "labels": [entry.name for entry in manifest.labels],
        "descriptions": {entry.name: list(entry.descriptions) for entry in manifest.labels},
        "precision": manifest.graph.precision,
        "size_bytes": files.size_bytes,
        "fusions": manifest.quality.get("rewrites", ""),
        "max_length_tokens": manifest.tokens.max_length_tokens,
        "backbone": body["backbone"],
        "digest": manifest.digest,
        "release": manifest.release,
        **{
            key: body[key]
            for key in (
                "name",
                "format_version",
                "text_pair",
                "head",
                "training",
                "quality",
                "graph",
                "decision",
                "files",
                "producer",
            )
        },
    }
    if json_output:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    width = max(len(name) for name in facts)
    for key, value in facts.items():
        shown = value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)
        typer.echo(f"{key:<{width}}  {shown}")


app.command()(bench)


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
