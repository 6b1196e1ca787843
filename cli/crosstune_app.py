"""``crosstune``: train on a few examples, and measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli import augment
from crosstune_cli.run import Version, progress, run, table_console

if TYPE_CHECKING:
    from crosstune.evaluation.metrics import Evaluation

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


@app.command()
def train(
    train_file: Annotated[
        Path, typer.Option("--train", help="Examples: .jsonl, .csv, .tsv or .parquet with text and label.")
    ],
    labels: Annotated[Path, typer.Option("--labels", help="JSON or TOML: label to description, or to several.")],
    output: Annotated[Path, typer.Option("--output", help="Checkpoint folder to write.")],
    generated: Annotated[
        Path | None,
        typer.Option("--generated", help="Texts by an LLM; what the noise filter keeps is learned from too."),
    ] = None,
    dev: Annotated[Path | None, typer.Option("--dev", help="Examples to measure on afterwards.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Examples to measure on afterwards.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="minilm (packaged), a folder in the transformers layout, or a hub id."),
    ] = None,
    head: Annotated[str | None, typer.Option("--head", help="default or paper.")] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="Examples a label to draw; all when left out.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Decides draws, folds and random starts. [13]")] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="Of the default head, its first layers only: a number, or auto for what held-out shots do not miss.",
        ),
    ] = None,
    abstain_at: Annotated[
        str | None,
        typer.Option(
            "--abstain-at",
            help="Of the default head, no label for texts far from all (coverage=0.95) or unsure ones (precision=0.9).",
        ),
    ] = None,
    max_length_tokens: Annotated[int | None, typer.Option("--max-length", help="Longer texts are cut.")] = None,
    feature: Annotated[str | None, typer.Option("--feature", help="Of the paper head: mean, max or mask.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="Of the mask feature: {text} ... {mask}.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of settings; options win over it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing checkpoint.")] = False,
) -> None:
    """Train a head and write a checkpoint."""
    from crosstune.core.outputs import check_output, check_places
    from crosstune.data.checks import check_held_out
    from crosstune.data.labels import check_labels, read_labels
    from crosstune.data.readers import read_examples, read_rows

    check_output(output, force=force, what="checkpoint", owned_marker="checkpoint.json")
    label_set = read_labels(labels)
    examples = read_examples(train_file)
    check_labels(examples, label_set, str(train_file))
    further = read_rows(generated) if generated is not None else ()
    check_labels(further, label_set, str(generated))
    held_out = {}
    for path in (dev, test):
        if path is not None:
            held_out[path] = read_examples(path)
            check_labels(held_out[path], label_set, str(path))
            check_held_out((*examples, *further), held_out[path], str(path))

    from crosstune import load_config
    from crosstune import train as train_head

    settings = load_config(
        config,
        {
            "backbone": backbone,
            "head": head,
            "shots": shots,
            "seed": seed,
            "layers": int(layers) if layers is not None and layers.isdecimal() else layers,
            "abstain_at": abstain_at,
            "max_length_tokens": max_length_tokens,
            "feature": feature,
            "template": template,
        },
    )
    from crosstune.backbone.frozen import FrozenBackbone
    from crosstune.checkpoint import predict_proba

    check_places({"--output": output}, [train_file, labels, generated, dev, test, config])
    loaded = FrozenBackbone.load(settings.backbone, device=device, max_length_tokens=settings.max_length_tokens)
    with progress() as report:
        checkpoint = train_head(
            examples, label_set, settings, generated=further, backbone=loaded, progress=report, where=str(train_file)
        )
    checkpoint.save(output, force=force)
    accuracy = checkpoint.quality.cv_accuracy
    measured = f", {100 * accuracy:.1f} % right on held-out folds" if accuracy is not None else ""
    layers_used = f", first {checkpoint.facts.head.layers} layers" if settings.layers is not None else ""
    limits = {"probability": checkpoint.threshold, "scope": checkpoint.scope_threshold}
    unsure = "".join(f", no label below {name} {value:.2f}" for name, value in limits.items() if value is not None)
    typer.echo(
        f"{output}: {settings.head} head, {len(label_set)} labels, {len(checkpoint.examples)} examples"
        f"{layers_used}{measured}{unsure}"
    )
    filtered = checkpoint.facts.generated
    if filtered is not None and filtered.accuracy_with is not None:
        typer.echo(
            f"{generated}: {filtered.kept} of {filtered.offered} texts kept, "
            f"{100 * filtered.accuracy_without:.1f} % right on held-out real examples without them, "
            f"{100 * filtered.accuracy_with:.1f} % with them"
        )
    from crosstune.evaluation.metrics import evaluate as score

    for path, rows in held_out.items():
        probs = predict_proba(checkpoint, loaded, [example.content for example in rows])
        result = score(probs, label_set.indices(rows), label_set.names)
        typer.echo(
            f"{path}: accuracy {100 * result.accuracy:.1f} %, macro-F1 {100 * result.macro_f1:.1f} %, n {result.n}"
        )


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    data: Annotated[Path, typer.Option("--data", help="Labelled examples.")],
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", help="HTML page to write: confusion, calibration, abstaining, mistakes.")
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Where the backbone is now, if it moved.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Texts encoded at once.")] = 32,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
) -> None:
    """Measure a checkpoint on labelled texts."""
    from crosstune.core.outputs import check_output, check_places, new_file

    if report_file is not None:
        check_output(report_file, force=force, what="report")
        check_places({"--report": report_file}, [checkpoint, data])
    from crosstune import load_checkpoint, read_examples
    from crosstune.data.checks import check_held_out
    from crosstune.data.labels import check_labels

    trained = load_checkpoint(checkpoint)
    rows = read_examples(data)
    check_labels(rows, trained.labels, str(data))
    check_held_out(trained.examples, rows, str(data))
    from crosstune.checkpoint import predict_with_scope
    from crosstune.evaluation.metrics import evaluate as score

    loaded = trained.load_backbone(device=device, name=backbone)
    texts = [row.content for row in rows]
    with progress() as report:
        probs, scope = predict_with_scope(trained, loaded, texts, batch_size=batch_size, progress=report)
    result = score(probs, trained.labels.indices(rows), trained.labels.names)
    from crosstune.core.token_layout import replace_surrogates
    from crosstune.evaluation.report import Answers, report_page

    answers = Answers(rows, trained.labels.names, probs, trained.threshold, scope, trained.scope_threshold)
    coverage, right = answers.coverage, answers.accuracy_answered
    if report_file is not None:
        page = report_page(
            answers,
            replace_surrogates(data.name),
            replace_surrogates(f"the {trained.head.kind} head of {checkpoint.name}"),
        )
        with new_file(report_file) as sink:
            sink.write(page.encode("utf-8"))
    if json_output:
        abstaining = {} if coverage is None else {"coverage": coverage, "accuracy_answered": right}
        typer.echo(json.dumps(result.to_json() | abstaining, ensure_ascii=False))
    else:
        _show(result)
        if coverage is not None:
            of_them = "" if right is None else f", {100 * right:.1f} % of them the right one"
            typer.echo(f"with its thresholds {100 * coverage:.1f} % of the texts get a label{of_them}")


def _show(result: Evaluation) -> None:
    from rich.table import Table

    console = table_console(110)
    console.print(
        f"accuracy {100 * result.accuracy:.1f} %   macro-F1 {100 * result.macro_f1:.1f} %   "
        f"ECE {result.ece:.3f}   n {result.n}"
    )
    table = Table("label", box=None, title="per label, %", title_justify="left")
    for name in ("precision", "recall", "F1", "texts"):
        table.add_column(name, justify="right")
    for row in result.per_label:
        figures = (f"{100 * value:.1f}" for value in (row.precision, row.recall, row.f1))
        table.add_row(row.label, *figures, str(row.support))
    console.print(table)
    if len(result.per_label) <= 20:
        grid = Table("true \\ answer", box=None, title="confusion", title_justify="left")
        for index in range(len(result.per_label)):
            grid.add_column(str(index), justify="right")
        for index, (row, counts) in enumerate(zip(result.per_label, result.confusion, strict=True)):
            grid.add_row(f"{index} {row.label}", *(str(count) if count else "." for count in counts))
        console.print(grid)


app.command()(augment.augment)
app.command("filter")(augment.filter_texts)


def main() -> None:
    """Entry point."""
    run(app, "crosstune")
