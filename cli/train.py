"""``crosstune train``: train a checkpoint on examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from crosstune_cli.console import next_command, note, print_json, progress_bars
from crosstune_cli.options import TRAIN_HELP, Device, Force, JsonOutput, LabelFile, OnConflict, reads_rows

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crosstune.checkpoint import Checkpoint
    from crosstune.data.examples import Example
    from crosstune.evaluation.metrics import Evaluation


@reads_rows()
def train(
    train_file: Annotated[Path | None, typer.Option("--train", help=TRAIN_HELP)] = None,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint folder to write.")],
    labels: LabelFile = None,
    generated: Annotated[
        Path | None,
        typer.Option(
            "--generated", help="Generated texts; those that the noise filter keeps are added to the training examples."
        ),
    ] = None,
    unlabeled: Annotated[
        Path | None,
        typer.Option(
            "--unlabeled",
            help="Texts of a log, without labels. With --train and a number of --layers, they teach the head on fewer layers the "
            "answers of the one on all layers. With --train and --abstain-at coverage, they choose which texts get no label. With "
            "--train and --log-shares estimate, they show how frequent each label is where the examples come from. In place "
            "of --train, labels are learned from them and the descriptions in --labels; only for a log in which all labels are about "
            "equally frequent.",
        ),
    ] = None,
    dev: Annotated[
        Path | None, typer.Option("--dev", help="Development examples to evaluate on after training.")
    ] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Test examples to evaluate on after training.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="minilm (packaged), a short name such as bge-small, a folder, or a hub id."),
    ] = None,
    head: Annotated[
        Literal["default", "paper"] | None,
        typer.Option("--head", help="Kind of head; paper is the one of the CrossTune paper."),
    ] = None,
    shots: Annotated[int | None, typer.Option("--shots", help="Examples to draw per label; default: all.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Random seed for draws, folds and initial weights; default: 13.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help='Use only the first N backbone layers (default head), or "auto" to choose by cross-validation.',
        ),
    ] = None,
    abstain_at: Annotated[
        str | None,
        typer.Option(
            "--abstain-at",
            help="Give no label to texts far from all labels (coverage=0.95) or to uncertain ones (precision=0.9); default head.",
        ),
    ] = None,
    expected_shares: Annotated[
        str | None,
        typer.Option(
            "--expected-shares",
            help="How frequent the labels are in use: uniform, shots (as in the training file), or a JSON or TOML file that maps "
            "each label to its share; default: uniform; default head.",
        ),
    ] = None,
    log_shares: Annotated[
        str | None,
        typer.Option(
            "--log-shares",
            help="How frequent the labels are in the log that the training texts were chosen from, by suggest or at random: estimate "
            "(with --unlabeled, the log), shots (as in the training file), or a JSON or TOML file that maps each label to its share; "
            "default: shots; default head.",
        ),
    ] = None,
    max_length_tokens: Annotated[
        int | None, typer.Option("--max-length", help="Maximum tokens per text; longer texts are truncated.")
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            help='Text before every text, such as "query: "; default: the prompt for classification in the backbone\'s folder, '
            "if any.",
        ),
    ] = None,
    feature: Annotated[
        Literal["mean", "max", "mask"] | None, typer.Option("--feature", help="Text feature of the paper head.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", help='Template of the mask feature, such as "{text} This is about {mask}.".'),
    ] = None,
    device: Device = "auto",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="TOML file of settings, or a checkpoint to take them from; options take precedence."
        ),
    ] = None,
    on_conflict: OnConflict = "fail",
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse rows of --dev and --test that are training texts, instead of leaving them out."
        ),
    ] = False,
    json_output: JsonOutput = False,
    force: Force = False,
    reading: ReadOptions,
) -> None:
    """Train a head and write a checkpoint."""
    from crosstune.core.errors import ConfigError
    from crosstune.core.outputs import check_output, check_places
    from crosstune.data.checks import measured_rows
    from crosstune.data.labels import check_labels, read_labels
    from crosstune.data.readers import read_rows, read_task
    from crosstune.data.shares import read_shares

    check_output(output, force=force, what="checkpoint", owned_marker="checkpoint.json")
    from crosstune import load_config

    settings = load_config(
        config,
        {
            "backbone": backbone,
            "head": head,
            "shots": shots,
            "seed": seed,
            "layers": int(layers) if layers is not None and layers.isdecimal() else layers,
            "abstain_at": abstain_at,
            "expected_shares": None if expected_shares is None else read_shares(expected_shares, ("uniform", "shots")),
            "log_shares": None if log_shares is None else read_shares(log_shares, ("estimate", "shots")),
            "max_length_tokens": max_length_tokens,
            "prefix": prefix,
            "feature": feature,
            "template": template,
        },
    )
    inputs = [train_file, labels, generated, unlabeled, dev, test, config]
    check_places({"--output": output}, inputs)
    examples: tuple[Example, ...] = ()
    if train_file is not None:
        label_set, examples = read_task(train_file, labels, reading, on_conflict=on_conflict)
    elif unlabeled is not None and labels is not None:
        label_set = read_labels(labels, reading)
    else:
        raise ConfigError(
            "train: no --train, expected examples. Give --train, or --labels and --unlabeled to train without examples."
        )
    check_labels(examples, label_set, str(train_file))
    generated_examples = read_rows(generated) if generated is not None else ()
    check_labels(generated_examples, label_set, str(generated))
    held_out = {}
    for path in (dev, test):
        if path is not None:
            rows = read_rows(path, reading)
            check_labels(rows, label_set, str(path))
            held_out[path], notes = measured_rows((*examples, *generated_examples), rows, str(path), strict=strict)
            for text in notes:
                note(f"note: {text}")

    with progress_bars() as progress:
        loading = f"loading {settings.backbone}"
        progress(loading, 0, 1)
        from crosstune import train as train_head
        from crosstune.backbone.configured import load_backbone
        from crosstune.backbone.exportable import graph_is_known
        from crosstune.labelling.sheet import read_pool

        loaded = load_backbone(settings, device)
        progress(loading, 1, 1)
        if not graph_is_known(loaded):
            from crosstune_export.builder.precheck import warn_if_no_graph

            warn_if_no_graph(loaded)
        checkpoint = train_head(
            examples,
            label_set,
            settings,
            generated=generated_examples,
            unlabeled=() if unlabeled is None else read_pool(unlabeled, reading),
            backbone=loaded,
            progress=progress,
            where=str(train_file or labels),
        )
    checkpoint.save(output, force=force)
    evaluations = {
        path: checkpoint.answers(rows, backbone=loaded, where=str(path)).evaluation for path, rows in held_out.items()
    }
    if json_output:
        facts = checkpoint.facts.head
        print_json(
            {
                "output": str(output),
                "head": settings.head,
                "labels": list(label_set.names),
                "examples": len(checkpoint.examples),
                "layers": facts.layers,
                "cv_accuracy": facts.quality.cv_accuracy,
                "taught": None if facts.taught is None else facts.taught.to_json(),
                "threshold": facts.threshold,
                "min_similarity": facts.min_similarity,
                "evaluations": {str(path): result.to_json() for path, result in evaluations.items()},
            }
        )
    else:
        _print_summary(output, checkpoint, generated, unlabeled, evaluations)
    next_command("crosstune-export", "build", output, "-o", output.with_suffix(".bundle"))


def _print_summary(
    output: Path,
    checkpoint: Checkpoint,
    generated: Path | None,
    unlabeled: Path | None,
    evaluations: Mapping[Path, Evaluation],
) -> None:
    accuracy, facts = checkpoint.quality.cv_accuracy, checkpoint.facts.head
    untaught = " untaught" if facts.taught is not None else ""
    measured = f", accuracy on held-out folds {100 * accuracy:.1f}%{untaught}" if accuracy is not None else ""
    layers_used = f", first {facts.layers} layers" if checkpoint.config.layers is not None else ""
    limits = {"probability": checkpoint.threshold, "similarity": checkpoint.min_similarity}
    thresholds = "".join(f", no label below {name} {value:.2f}" for name, value in limits.items() if value is not None)
    typer.echo(
        f"{output}: {checkpoint.config.head} head, {len(checkpoint.labels)} labels, {len(checkpoint.examples)} examples"
        f"{layers_used}{measured}{thresholds}"
        + (f" (chosen on {facts.log_texts} texts of {unlabeled})" if facts.log_texts else "")
    )
    if (taught := facts.taught) is not None:
        typer.echo(
            f"{unlabeled}: the head on {facts.layers} layers learned the answers of the one on {taught.layers}; on held-out texts "
            f"{taught.summary}"
        )
    filtered = checkpoint.facts.generated
    if filtered is not None and filtered.accuracy_with is not None:
        typer.echo(
            f"{generated}: {filtered.kept} of {filtered.offered} texts kept; accuracy on held-out real examples "
            f"{100 * filtered.accuracy_without:.1f}% without them, {100 * filtered.accuracy_with:.1f}% with them"
        )
    for path, result in evaluations.items():
        typer.echo(
            f"{path}: accuracy {100 * result.accuracy:.1f}%, macro-F1 {100 * result.macro_f1:.1f}%, n {result.n}"
        )
