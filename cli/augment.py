"""``crosstune augment`` and ``crosstune filter``: further texts from an LLM, and which of them to believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from crosstune_cli.run import a_number, progress


def augment(
    train_file: Annotated[Path, typer.Option("--train", help="Real examples: .jsonl, .csv, .tsv or .parquet.")],
    labels: Annotated[Path, typer.Option("--labels", help="JSON or TOML: label to description, or to several.")],
    output: Annotated[Path, typer.Option("--output", help="JSON Lines file to write; its account goes beside it.")],
    base_url: Annotated[
        str, typer.Option("--base-url", help="OpenAI-compatible server, such as https://api.example.com/v1.")
    ],
    model: Annotated[str, typer.Option("--model", help="Name of the model there.")],
    per_label: Annotated[int, typer.Option("--per-label", help="Texts to ask for, for each label.")] = 20,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", help="US dollars that are never exceeded; needs a price.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="TOML: [model] with prompt and answer, US dollars a million tokens.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent and what it costs; send nothing.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="File of bought answers; OUTPUT.answers.sqlite when left out.")
    ] = None,
    key_name: Annotated[
        str, typer.Option("--key-env", help="Environment variable that holds the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=64, help="Requests under way at once.")] = 4,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, callback=a_number, help="Seconds for a whole request.")
    ] = 120.0,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0, callback=a_number, help="Seconds that a busy server may make us wait.")
    ] = 120.0,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=2, callback=a_number, help="Sampling temperature.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Decides which texts stand in which prompt.")] = 13,
    shots: Annotated[
        int | None, typer.Option("--shots", help="Examples a label to draw, as train draws them; all when left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> None:
    """Ask an LLM for further texts of each label."""
    from crosstune.augmentation.budget import price_of, read_cap, read_prices
    from crosstune.augmentation.endpoint import Endpoint, is_on_this_machine, parse_base_url
    from crosstune.augmentation.plan import plan_requests
    from crosstune.core.errors import ConfigError
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.examples import example_line
    from crosstune.data.labels import check_labels, read_labels
    from crosstune.data.readers import read_examples
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
    address = parse_base_url(base_url)
    endpoint = Endpoint(address, "", key_name) if dry_run else Endpoint.resolve(base_url, key_name)
    cap = read_cap(max_cost)
    price = price_of(model, read_prices(prices) if prices else {}, on_this_machine=is_on_this_machine(address))
    if cap is not None and price is None:
        raise ConfigError(
            f"max-cost: the price of {model!r} is not known, so no cap can hold. "
            f'Give --prices with: ["{model}"], prompt = ..., answer = ... in US dollars for a million tokens.'
        )
    label_set = read_labels(labels)
    examples = read_examples(train_file)
    check_labels(examples, label_set, str(train_file), expect_every_label=True)
    if shots is not None:
        examples = draw_shots(examples, shots, seed)
    plan = plan_requests(examples, label_set, per_label=per_label, seed=seed)

    from crosstune.augmentation.account import account_json, describe_account, describe_plan
    from crosstune.augmentation.augment import AugmentConfig
    from crosstune.augmentation.augment import augment as ask

    config = AugmentConfig(model, temperature, concurrency, timeout, max_wait, cap, price)
    if dry_run:
        typer.echo(describe_plan(plan, endpoint, config))
        return
    by_way = f" by way of the proxy {endpoint.proxy}" if endpoint.proxy else ""
    typer.echo(f"sending {plan.seed_texts} texts to {endpoint.host}{by_way}, model {model}", err=True)
    with progress() as report:
        result = ask(examples, label_set, plan, endpoint, config, cache, progress=report)
    account = json.dumps(account_json(result, plan, endpoint, config), ensure_ascii=False, indent=1) + "\n"
    with new_file(account_file) as sink:
        sink.write(account.encode("utf-8"))
    with new_file(output) as sink:
        for example in result.kept:
            sink.write(example_line(example).encode("utf-8"))
    first, *rest = describe_account(result, endpoint, config)
    typer.echo("\n".join([f"{output}: {first}", *rest]))


def filter_texts(
    generated: Annotated[Path, typer.Option("--generated", help="Texts with the labels they were asked for.")],
    train_file: Annotated[Path, typer.Option("--train", help="Real examples.")],
    labels: Annotated[Path, typer.Option("--labels", help="JSON or TOML: label to description, or to several.")],
    output: Annotated[Path, typer.Option("--output", help="JSON Lines file of kept texts; all verdicts go beside it.")],
    report: Annotated[Path | None, typer.Option("--report", help="HTML page to write.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Whether a label must not get worse on real examples.")
    ] = True,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Encoder to fine-tune as the teacher: minilm, a folder or a hub id; the head when left out.",
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="As for train.")] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", help="Examples a label to draw, as train draws them; all when left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Decides draws and folds. [13]")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace existing outputs.")] = False,
) -> None:
    """Keep the generated texts that a teacher fitted on real examples believes and that do no harm."""
    from crosstune.core.errors import ConfigError
    from crosstune.core.outputs import check_output, check_places, new_file
    from crosstune.data.examples import example_line
    from crosstune.data.labels import check_labels, read_labels
    from crosstune.data.readers import read_examples, read_rows
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
    label_set = read_labels(labels)
    examples = read_examples(train_file)
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
        from crosstune.backbone.frozen import FrozenBackbone
        from crosstune.filter.fine_tuned_teacher import FineTunedFit

        fit = FineTunedFit(label_set, FrozenBackbone.load(teacher, device=device), config.seed)
    with progress() as bars:
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
    with_them = "with those kept not measured" if measured is None else f"{100 * measured:.1f} % with those kept"
    typer.echo(
        f"real examples, held out: {100 * result.accuracy_without:.1f} % right without generated texts, {with_them}"
    )
