"""``crosstune-export``: build a bundle, classify with it, look into it. Only ``build`` needs torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.classify_command import classify
from crosstune_cli.doctor_command import doctor
from crosstune_cli.label_commands import labels_app
from crosstune_cli.running import progress, run

app = typer.Typer(
    name="crosstune-export",
    help="Build one ONNX graph from a checkpoint, and classify with it without torch.",
    no_args_is_help=False,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


app.add_typer(labels_app)


@app.callback()
def _root() -> None:
    """Build one ONNX graph from a checkpoint, and classify with it without torch. --debug shows tracebacks."""


@app.command()
def build(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder from crosstune train.")],
    output: Annotated[Path, typer.Option("--output", help="Bundle folder to write.")],
    precision: Annotated[
        str, typer.Option("--precision", help="auto (search for the fastest), fp32, fp16 or int8.")
    ] = "auto",
    target: Annotated[str, typer.Option("--target", help="cpu, or cuda (fp16).")] = "cpu",
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
    report_file: Annotated[
        Path | None, typer.Option("--report", help="HTML page to write: what was tried and measured.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing bundle.")] = False,
) -> None:
    """Build a bundle and check that it answers as the checkpoint does."""
    try:
        from crosstune_export.build.pipeline import BuildConfig
        from crosstune_export.build.pipeline import build as build_bundle
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
    )
    with progress() as report:
        result = build_bundle(
            checkpoint,
            output,
            config,
            force=force,
            report=lambda stage, done, total: report(f"build: {stage}", done, total),
        )
    typer.echo(
        f"{output}: {result.manifest.graph.precision}, {result.size_bytes / 1e6:.1f} MB, {len(result.manifest.labels)} labels"
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
    provider: Annotated[str, typer.Option("--provider", help="Where to run: cpu or cuda.")] = "cpu",
    allow_fallback: Annotated[
        bool, typer.Option("--allow-fallback", help="Run on the CPU when the provider is not to be had.")
    ] = False,
) -> None:
    """Check every hash, run the self-test, and perhaps compare with the checkpoint."""
    from crosstune_export import Classifier, GateError, SelfTestError, UsageError
    from crosstune_export.runtime.session import providers_of

    if (data is None) != (checkpoint is None):
        raise UsageError("verify: --data and --checkpoint go together, found one of them.")
    classifier = Classifier.load(bundle, providers=providers_of(provider), allow_fallback=allow_fallback)
    manifest = classifier.manifest
    typer.echo(f"{bundle}: digest {manifest.digest}, {len(manifest.files) + 1} files as built")
    report = classifier.selftest()
    if not report.passed:
        raise SelfTestError(
            f"{bundle}: self-test: {report.wrong_ids} of {report.samples} samples with other ids, largest difference of a "
            f"probability {report.max_difference:.1e}, expected 0 and at most {report.tolerance:.0e}. Build for this machine."
        )
    typer.echo(
        f"self-test: {report.samples} samples, largest difference of a probability {report.max_difference:.1e} "
        f"(at most {report.tolerance:.0e})"
    )
    if data is None or checkpoint is None:
        return
    from crosstune import load_checkpoint, read_examples
    from crosstune.training import predict_proba

    trained = load_checkpoint(checkpoint)
    texts = [example.content for example in read_examples(data)]
    with progress() as bar:
        expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts, report=bar)
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


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a bundle says of itself."""
    from crosstune_export.manifest import manifest_bytes
    from crosstune_export.runtime.bundle_files import read_bundle

    files = read_bundle(bundle)
    manifest = files.manifest
    body = json.loads(manifest_bytes(manifest))
    facts = {
        "labels": [entry.name for entry in manifest.labels],
        "descriptions": {entry.name: list(entry.descriptions) for entry in manifest.labels},
        "precision": manifest.graph.precision,
        "size_bytes": files.size_bytes,
        "max_length_tokens": manifest.tokens.max_length_tokens,
        "backbone": body["backbone"],
        "digest": manifest.digest,
        **{
            key: body[key]
            for key in (
                "name",
                "format_version",
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


@app.command()
def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders.")],
    lengths: Annotated[str, typer.Option("--lengths", help="Tokens of a text, comma between.")] = "16,32,64,128",
    batch_sizes: Annotated[str, typer.Option("--batch-sizes", help="Texts a call, comma between.")] = "1",
    threads: Annotated[str, typer.Option("--threads", help="Threads of a session, comma between.")] = "1",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed calls of each combination.")] = 50,
    json_file: Annotated[Path | None, typer.Option("--json", help="File to write the rows to, as JSON.")] = None,
) -> None:
    """Measure latency, text in to label out, all combinations interleaved."""
    from rich.console import Console
    from rich.table import Table

    from crosstune.atomic_output import new_file
    from crosstune_export.bench.latency import measure

    with progress() as bar:
        rows = measure(
            [str(path) for path in bundles],
            lengths=_numbers(lengths, "--lengths"),
            batch_sizes=_numbers(batch_sizes, "--batch-sizes"),
            threads=_numbers(threads, "--threads"),
            rounds=rounds,
            report=lambda done, total: bar("measure", done, total),
        )
    table = Table("bundle", box=None)
    for name in ("tokens", "batch", "threads", "p50 ms", "p90 ms", "p99 ms", "texts/s"):
        table.add_column(name, justify="right")
    for row in rows:
        figures = (row.p50_ms, row.p90_ms, row.p99_ms)
        table.add_row(
            row.bundle,
            *map(str, (row.length_tokens, row.batch_size, row.threads)),
            *(f"{value:.2f}" for value in figures),
            f"{row.texts_per_s:.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    if json_file is not None:
        with new_file(json_file) as sink:
            sink.write(json.dumps([row.to_json() for row in rows], indent=1).encode("utf-8") + b"\n")


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option}: found {text!r}, expected numbers with commas between.") from error


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
