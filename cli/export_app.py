"""``crosstune-export``: build a bundle, classify with it, look into it. Only ``build`` needs torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from crosstune_cli.bench_command import bench
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
    target: Annotated[
        str, typer.Option("--target", help="cpu, cuda (fp16), or mobile (as cpu, and a folder with an .ort file).")
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


@app.command()
def classify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    file: Annotated[str, typer.Argument(help="Texts: .jsonl, .csv, .tsv, or one a line; - is standard input.")] = "-",
    output: Annotated[Path | None, typer.Option("--output", help="File to write instead of standard output.")] = None,
    input_format: Annotated[
        str,
        typer.Option("--input-format", help="auto (by the ending; text for standard input), jsonl, csv, tsv or text."),
    ] = "auto",
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Only the most probable labels in probs.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="No label below this probability.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts in one run of the graph.")] = 8,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of the session.")] = 1,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also which words speak for which label; a run of the graph for each word."),
    ] = False,
    pretty: Annotated[
        bool, typer.Option("--pretty", help="A table for people, with milliseconds, one text a call.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output file.")] = False,
) -> None:
    """Label texts: one JSON object a line, in the order of the input."""
    from crosstune_cli.answer_rows import answer_lines, show_answers, show_reasons

    from crosstune.atomic_output import check_output, new_file
    from crosstune_export import Classifier, UsageError
    from crosstune_export.rows import FORMATS, format_of, read_texts

    if input_format not in ("auto", *FORMATS):
        raise UsageError(f"input-format: found {input_format!r}, expected one of auto, {', '.join(FORMATS)}.")
    if output is not None:
        check_output(output, force=force, what="output file")
    classifier = Classifier.load(bundle, threads=threads)
    file_format = format_of(file) if input_format == "auto" else input_format
    where = "standard input" if file == "-" else file
    with _open_input(file) as source:
        texts = read_texts(source, where, file_format, classifier.manifest.text_pair)
        lines = answer_lines(
            classifier, texts, batch_size=batch_size, threshold=threshold, top_k=top_k, explain=explain
        )
        if pretty:
            (show_reasons if explain else show_answers)(classifier, list(texts), threshold)
        elif output is None:
            for line in lines:
                typer.echo(line)
        else:
            with new_file(output) as sink:
                for line in lines:
                    sink.write(line.encode("utf-8") + b"\n")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="With --checkpoint: examples to compare answers on.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="With --data: what the bundle was built from.")
    ] = None,
) -> None:
    """Check every hash, run the self-test, and perhaps compare with the checkpoint."""
    from crosstune_export import Classifier, GateError, SelfTestError, UsageError

    if (data is None) != (checkpoint is None):
        raise UsageError("verify: --data and --checkpoint go together, found one of them.")
    classifier = Classifier.load(bundle)
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


def _open_input(file: str) -> BinaryIO:
    from crosstune_export import InputError

    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}), expected a file. Check the path.") from error


app.command()(bench)


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
