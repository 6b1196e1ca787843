"""``crosstune filter``: choose the generated texts to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, progress_bars
from crosstune_cli.options import Device, Force, LabelFile, OnConflict, TrainFile, reads_rows, task_words

from crosstune.rows.options import ReadOptions


@reads_rows()
def filter_texts(
    generated: Annotated[
        Path, typer.Option("--generated", help="Generated texts with the labels they were requested for.")
    ],
    train_file: TrainFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="JSON Lines file of the kept texts; all verdicts are written to OUTPUT.filter.json."
        ),
    ],
    labels: LabelFile = None,
    report: Annotated[Path | None, typer.Option("--report", help="HTML report to write.")] = None,
    gate: Annotated[
        bool,
        typer.Option(
            "--gate/--no-gate",
            help="Drop the generated texts of each label for which they lower the accuracy on real examples.",
        ),
    ] = True,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Encoder to fine-tune as the teacher: minilm, a folder or a hub id; default: the head itself.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="minilm (packaged), a short name such as bge-small, a folder, or a hub id; default: minilm.",
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", help="Examples to draw per label, as train does; default: all.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Random seed for drawing examples and assigning folds; default: 13.")
    ] = None,
    device: Device = "auto",
    on_conflict: OnConflict = "fail",
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Keep generated texts whose label a teacher agrees with and that do not lower the accuracy on real examples."""
    from crosstune.core.errors import ConfigError
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.examples import example_line
    from crosstune.data.labels import check_labels
    from crosstune.data.readers import read_rows, read_task
    from crosstune.data.sampling import draw_shots

    if output.suffix != ".jsonl":
        raise ConfigError(f"{output}: ending {output.suffix!r}, expected .jsonl. Rename the output.")
    verdicts = output.with_suffix(".filter.json")
    for path in (output, verdicts, *([report] if report else [])):
        check_output(path, force=force, what="output file")
    places = {"--output": output, "the verdicts": verdicts, "--report": report}
    check_places(places, [generated, train_file, labels])

    from crosstune import load_config

    config = load_config(None, {"backbone": backbone, "seed": seed})
    label_set, examples = read_task(train_file, labels, reading, on_conflict=on_conflict)
    check_labels(examples, label_set, str(train_file), expect_every_label=True)
    texts = read_rows(generated)
    check_labels(texts, label_set, str(generated))
    if shots is not None:
        examples = draw_shots(examples, shots, config.seed)

    from crosstune.core.token_layout import replace_surrogates
    from crosstune.filter.noise_filter import filter_generated
    from crosstune.filter.report import report_page

    fit = None
    if teacher is not None:
        from crosstune.backbone.frozen import Backbone
        from crosstune.filter.fine_tuned_teacher import FineTunedFit

        fit = FineTunedFit(label_set, Backbone.load(teacher, device=device), config.seed)
    with progress_bars() as bars:
        result = filter_generated(
            texts,
            examples,
            label_set,
            config,
            device=device,
            teacher=fit,
            gate=gate,
            progress=bars,
            where=str(generated),
        )
    files = {verdicts: json.dumps(result.to_json(), ensure_ascii=False, indent=1) + "\n"}
    if report is not None:
        files[report] = report_page(result, replace_surrogates(str(generated)))
    files[output] = "".join(example_line(example) for example in result.kept)
    for path, text in files.items():
        with new_file(path) as sink:
            sink.write(text.encode("utf-8"))
    reasons = ", ".join(f"{reason} {n}" for reason, n in result.reasons.items())
    typer.echo(
        f"{output}: {len(texts)} texts = {len(result.kept)} kept + {len(result.dropped)} dropped"
        + (f" ({reasons})" if reasons else "")
    )
    measured = result.accuracy_with
    with_kept = "not measured with the kept texts" if measured is None else f"{100 * measured:.1f}% with the kept texts"
    typer.echo(
        f"accuracy on held-out real examples: {100 * result.accuracy_without:.1f}% without generated texts, {with_kept}"
    )
    words = task_words(
        train_file, labels, reading, backbone=backbone, shots=shots, seed=seed,
        on_conflict=None if on_conflict == "fail" else on_conflict,
    )  # fmt: skip
    next_command("crosstune", "train", *words, "--generated", generated, "-o", output.with_suffix(".ckpt"))
