"""``crosstune suggest``: choose the texts to label next."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from crosstune_cli.console import next_command, progress_bars
from crosstune_cli.options import Device, Force, LabelFile, reads_rows, task_words

from crosstune.rows.options import ReadOptions

if TYPE_CHECKING:
    from crosstune.data.examples import Example
    from crosstune.labelling.suggest import RoundGain


@reads_rows()
def suggest(
    pool: Annotated[
        Path,
        typer.Option("--pool", help="Texts without labels: a file that classify reads, for example one text per line."),
    ],
    number: Annotated[int, typer.Option("--number", min=1, help="Texts to choose, for example 20.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="CSV or JSON Lines file to fill in: the texts labelled so far, then the chosen ones without a label.",
        ),
    ],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Checkpoint to continue from, in place of --labels and --labelled.")
    ] = None,
    labels: LabelFile = None,
    labelled: Annotated[
        Path | None,
        typer.Option("--labelled", help="File of the last round, filled in; default: nothing is labelled yet."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="minilm (packaged), a short name such as bge-small, a folder, or a hub id; default: minilm.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed for folds; default: 13.")] = None,
    device: Device = "auto",
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Choose the texts of a log that are most worth labelling next."""
    from crosstune.core.errors import ConfigError, CrossTuneWarning
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.labels import check_labels, labels_of, read_labels
    from crosstune.data.readers import read_examples
    from crosstune.labelling.sheet import check_ending, read_pool, read_rounds, sheet

    check_ending(output)
    check_output(output, force=force, what="output file")
    check_places({"--output": output}, [pool, labels, labelled, checkpoint])
    if checkpoint is not None and (labels is not None or labelled is not None):
        raise ConfigError(
            "suggest: a checkpoint and --labels or --labelled, expected one of both. Leave out the checkpoint."
        )
    if checkpoint is None and labels is None and labelled is None:
        raise ConfigError(
            "suggest: nothing to start from, expected --labels, --labelled or a checkpoint. Give --labels."
        )
    texts = read_pool(pool, reading)

    from crosstune import load_checkpoint, load_config, measure_round, suggest_texts, train
    from crosstune.backbone.configured import load_backbone

    config = load_config(None, {"backbone": backbone, "seed": seed})
    examples: Sequence[Example] = ()
    rounds: list[int] = []
    gain = None
    with progress_bars() as progress:
        if checkpoint is not None:
            trained = load_checkpoint(checkpoint)
            loaded = trained.load_backbone(device=device, name=backbone)
            examples, rounds = trained.examples, [0] * len(trained.examples)
        else:
            of_line: dict[int, int] = {}
            if labelled is not None:
                examples, of_line = read_examples(labelled, reading), read_rounds(labelled, reading)
                rounds = [of_line.get(example.line, 0) for example in examples]
            names = (example.label for example in examples)
            label_set = labels_of(names, str(labelled)) if labels is None else read_labels(labels, reading)
            check_labels(examples, label_set, str(labelled))
            loaded = load_backbone(config, device)
            if examples:
                config = config.model_copy(update={"log_shares": "estimate"})
            with warnings.catch_warnings():
                if not examples:  # no warning in a first round, which starts from descriptions alone
                    warnings.simplefilter("ignore", CrossTuneWarning)
                trained = train(
                    examples,
                    label_set,
                    config,
                    unlabeled=texts if examples else (),
                    backbone=loaded,
                    progress=progress,
                    where=str(labelled or labels),
                )
            if examples:
                gain = measure_round(
                    examples, rounds, label_set, trained.config, backbone=loaded, progress=progress, where=str(labelled)
                )
        chosen = suggest_texts(trained, texts, number, backbone=loaded, progress=progress)
    with new_file(output) as sink:
        sink.write(sheet(output, examples, rounds, chosen).encode("utf-8"))
    if gain is not None:
        typer.echo(_said(gain, max(rounds)))
    typer.echo(
        f"{output}: {len(chosen)} of {len(texts)} texts to label as round {max(rounds, default=0) + 1}, "
        f"{len(examples)} labelled so far. Fill in the column label."
    )
    # The sheet has columns that train expects, however the others were read; a checkpoint has the labels and settings.
    words = task_words(output, checkpoint or labels, type(reading)(), config=checkpoint, backbone=backbone, seed=seed)
    words += ["--unlabeled", pool, "--log-shares", "estimate"]
    next_command("crosstune", "train", *words, "-o", output.with_suffix(".ckpt"))


def _said(gain: RoundGain, number: int) -> str:
    before, after = 100 * gain.without, 100 * gain.with_round
    advice = "" if gain.pays else " It gained no more than chance explains: another round may not pay."
    return (
        f"round {number}: accuracy on held-out labelled texts {before:.1f}% without it, {after:.1f}% with it "
        f"(standard error {100 * gain.standard_error:.1f}).{advice}"
    )
