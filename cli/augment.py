"""``crosstune augment``: further texts from an LLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.console import next_command, note, progress_bars
from crosstune_cli.options import Force, LabelFile, OnConflict, TrainFile, not_nan, reads_rows, task_words

from crosstune.rows.options import ReadOptions


@reads_rows()
def augment(
    train_file: TrainFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="JSON Lines file to write; the account of costs is written to OUTPUT.account.json."
        ),
    ],
    base_url: Annotated[
        str, typer.Option("--base-url", help="OpenAI-compatible server, such as https://api.example.com/v1.")
    ],
    model: Annotated[str, typer.Option("--model", help="Name of the model on that server.")],
    labels: LabelFile = None,
    per_label: Annotated[int, typer.Option("--per-label", help="Texts to request per label.")] = 20,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", help="Maximum cost in US dollars; needs a known price.")
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices", help="TOML file with a table per model: prompt and answer in US dollars per million tokens."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent and its cost, and send nothing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="File that keeps all paid answers; default: OUTPUT.answers.sqlite.")
    ] = None,
    key_name: Annotated[
        str, typer.Option("--key-env", help="Environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Maximum concurrent requests.")] = 4,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, callback=not_nan, help="Timeout of a request, in seconds.")
    ] = 120.0,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0, callback=not_nan, help="Maximum wait for a busy server, in seconds.")
    ] = 120.0,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=2, callback=not_nan, help="Sampling temperature.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Random seed for choosing the examples in each prompt.")] = 13,
    shots: Annotated[
        int | None, typer.Option("--shots", help="Examples to draw per label, as train does; default: all.")
    ] = None,
    on_conflict: OnConflict = "fail",
    force: Force = False,
    *,
    reading: ReadOptions,
) -> None:
    """Ask an LLM for further texts of each label."""
    from crosstune.augmentation.augment import AugmentConfig
    from crosstune.augmentation.job import prepare
    from crosstune.core.errors import ConfigError
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.examples import example_line
    from crosstune.data.labels import check_labels
    from crosstune.data.readers import read_task
    from crosstune.data.sampling import draw_shots

    if output.suffix != ".jsonl":
        raise ConfigError(f"{output}: ending {output.suffix!r}, expected .jsonl. Rename the output.")
    account_file = output.with_suffix(".account.json")
    cache = cache or output.with_suffix(".answers.sqlite")
    if not dry_run:
        for path in (output, account_file):
            check_output(path, force=force, what="output file")
        places = {"--output": output, "its account": account_file, "--cache": cache}
        check_places(places, [train_file, labels, prices])
    label_set, examples = read_task(train_file, labels, reading, on_conflict=on_conflict)
    check_labels(examples, label_set, str(train_file), expect_every_label=True)
    if shots is not None:
        examples = draw_shots(examples, shots, seed)
    config = AugmentConfig(model, temperature, concurrency, timeout, max_wait)
    job = prepare(
        examples, label_set, config, base_url=base_url, per_label=per_label, max_cost=max_cost, prices=prices,
        key_env=key_name, seed=seed, send=not dry_run,
    )  # fmt: skip
    plan, endpoint, config = job.plan, job.endpoint, job.config

    from crosstune.augmentation.account import account_json, describe_account, describe_plan

    if dry_run:
        typer.echo(describe_plan(plan, endpoint, config))
        return
    via = f" via the proxy {endpoint.proxy}" if endpoint.proxy else ""
    note(f"sending {plan.seed_texts} texts to {endpoint.host}{via}, model {model}")
    with progress_bars() as progress:
        result = job.run(cache, progress=progress)
    account = json.dumps(account_json(result, plan, endpoint, config), ensure_ascii=False, indent=1) + "\n"
    with new_file(account_file) as sink:
        sink.write(account.encode("utf-8"))
    with new_file(output) as sink:
        for example in result.kept:
            sink.write(example_line(example).encode("utf-8"))
    first, *rest = describe_account(result, endpoint, config)
    typer.echo("\n".join([f"{output}: {first}", *rest]))
    words = task_words(
        train_file, labels, reading, shots=shots, seed=None if seed == 13 else seed,
        on_conflict=None if on_conflict == "fail" else on_conflict,
    )  # fmt: skip
    next_command("crosstune", "filter", "--generated", output, *words, "-o", output.with_suffix(".kept.jsonl"))
