"""``crosstune-export``: build a bundle, classify with it, look into it. Only ``build`` needs torch."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer
from crosstune_cli.label_commands import labels_app
from crosstune_cli.running import progress, run

if TYPE_CHECKING:
    from crosstune_export import Classifier, Prediction
    from crosstune_export.runtime.tokenization import Text

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
        exporter=exporter,
        backbone_onnx=backbone_onnx,
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
    training, layers = result.manifest.training, result.manifest.backbone["layers_used"]
    if isinstance(before := training.get("all_layers"), dict):
        typer.echo(
            f"  {layers} of {before['layers']} layers to keep to the budget: {100 * training['cv_accuracy']:.1f} % right on "
            f"held-out folds, {100 * before['cv_accuracy']:.1f} % with all"
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
    pretty: Annotated[
        bool, typer.Option("--pretty", help="A table for people, with milliseconds, one text a call.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output file.")] = False,
) -> None:
    """Label texts: one JSON object a line, in the order of the input."""
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
        if pretty:
            _show_answers(classifier, list(texts), threshold)
        elif output is None:
            for line in _answer_lines(classifier, texts, batch_size, threshold, top_k):
                typer.echo(line)
        else:
            with new_file(output) as sink:
                for line in _answer_lines(classifier, texts, batch_size, threshold, top_k):
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


def _open_input(file: str) -> BinaryIO:
    from crosstune_export import InputError

    if file == "-":
        return sys.stdin.buffer
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}), expected a file. Check the path.") from error


def _answer_lines(
    classifier: Classifier, texts: Iterator[Text], batch_size: int, threshold: float | None, top_k: int | None
) -> Iterator[str]:
    """JSON lines, a window of texts at a time, so that memory does not grow with the input."""
    while window := list(islice(texts, 32 * batch_size)):
        answers = classifier.classify(window, batch_size=batch_size, threshold=threshold)
        for text, answer in zip(window, answers, strict=True):
            yield json.dumps(_answer(classifier.labels, text, answer, top_k), ensure_ascii=False)


def _answer(labels: Sequence[str], text: Text, answer: Prediction, top_k: int | None) -> dict[str, object]:
    first, second = text if isinstance(text, tuple) else (text, None)
    order = (-answer.probs).argsort(kind="stable")[: top_k or len(labels)] if top_k else range(len(labels))
    row: dict[str, object] = {"text": first.encode("utf-8", "replace").decode("utf-8")}
    if second is not None:
        row["text_pair"] = second
    return row | {
        "label": answer.label,
        "prob": answer.prob,
        "probs": {labels[i]: float(answer.probs[i]) for i in order},
        "truncated": answer.truncated,
    }


def _show_answers(classifier: Classifier, texts: list[Text], threshold: float | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as RichText

    table = Table(box=None, expand=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("label", no_wrap=True)
    for name in ("prob", "ms"):
        table.add_column(name, justify="right", min_width=5)
    for text in texts:
        started = time.perf_counter()
        answer = classifier.classify([text], threshold=threshold)[0]
        elapsed = time.perf_counter() - started
        shown = text if isinstance(text, str) else " | ".join(text)
        label = answer.label if answer.label is not None else "(none)"
        table.add_row(RichText(shown), RichText(label), f"{answer.prob:.2f}", f"{1e3 * elapsed:.1f}")
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{option}: found {text!r}, expected numbers with commas between.") from error


def main() -> None:
    """Entry point."""
    run(app, "crosstune-export")
