"""Accuracy with generated texts, and how well the noise filter detects bad ones.

    python -m benchmarks.accuracy.augmentation --data-root DATA --sets sst2,subj --seeds 13,42,87

Sources of generated texts:

    flipped   64 real texts per label from the pool, 30% of them with a wrong label
    foreign   64 real texts per label from the pool, 30% of them from another task
    written   texts by a language model at --base-url and --model; its answers are saved in --answers
    given     texts by a language model in TEXTS/SET/more.jsonl (--texts), whatever the shots; those of the test set are dropped

Each source is used in five ways: no generated texts, all of them as if they were shots, all of them, those that the filter keeps
text by text, and those that pass the gate too. For flipped and foreign texts, the good texts alone show the result of a perfect filter.
Accuracy is measured on test texts, which are used for nothing else; --measure pool measures on unused texts of the pool
instead, to choose settings.

DATA has a folder for each dataset with train.jsonl (the pool), test.jsonl and labels.json. The results are a JSON file;
existing runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from crosstune import CrossTuneWarning, LabelSet, TrainConfig, draw_shots, read_examples, read_labels
from crosstune.augmentation import AugmentConfig, carry_out, plan_requests
from crosstune.augmentation.endpoint import Endpoint
from crosstune.backbone.frozen import Backbone
from crosstune.data.examples import Example
from crosstune.data.task import Task
from crosstune.features.encoding import encode
from crosstune.filter.noise_filter import filter_generated
from crosstune.filter.result import GATED, FilterResult
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.fit import fit_head

SHOTS = 16
PLANTED = 64
NOISE = 0.3
USES = ("none", "as shots", "all", "filtered", "filtered + gate")
GOOD = "good alone"
#: Sources as the tables name them.
SOURCE_TITLES = {
    "flipped": "wrong labels",
    "foreign": "another task",
    "written": "written by a model",
    "given": "written by a strong model",
}
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def planted(
    source: str,
    pool: Sequence[Example],
    shots: Sequence[Example],
    labels: LabelSet,
    foreign: Sequence[Example],
    seed: int,
) -> tuple[list[Example], list[bool]]:
    """Pool texts with labels, and whether each is good: of this task, with its own label."""
    draw = np.random.RandomState(seed + 1)
    seen = {shot.content for shot in shots}
    rest = [example for example in pool if example.content not in seen]
    chosen = draw_shots(rest, PLANTED, seed)
    texts, good = [], []
    for example in chosen:
        spoilt = bool(draw.rand() < NOISE)
        text, label = example.text, example.label
        if spoilt and source == "flipped":
            label = labels.names[(labels.index(label) + draw.randint(1, len(labels))) % len(labels)]
        elif spoilt:
            text = foreign[draw.randint(len(foreign))].text
        texts.append(Example(text, label))
        good.append(not spoilt)
    return texts, good


def measured_on(
    arguments: argparse.Namespace, name: str, labels: LabelSet, pool: Sequence[Example], seed: int
) -> list[Example]:
    """Test texts, or those of the pool that are neither shots nor planted."""
    if arguments.measure == "test":
        test = read_examples(Path(arguments.data_root) / name / "test.jsonl")
        return [row for row in test if row.label in labels.names][: arguments.max_test]
    shots = {shot.content for shot in draw_shots(pool, SHOTS, seed)}
    rest = [example for example in pool if example.content not in shots]
    planted_too = {example.content for example in draw_shots(rest, PLANTED, seed)}
    return [example for example in rest if example.content not in planted_too][: arguments.max_test]


def written(arguments: argparse.Namespace, shots: Sequence[Example], labels: LabelSet, seed: int) -> list[Example]:
    """Texts by the language model; saved answers are reused."""
    plan = plan_requests(shots, labels, per_label=arguments.per_label, seed=seed)
    endpoint = Endpoint.resolve(arguments.base_url, "OPENAI_API_KEY")
    config = AugmentConfig(arguments.model, concurrency=2, timeout_s=900)
    return list(carry_out(shots, labels, plan, endpoint, config, Path(arguments.answers)).kept)


def shares(result: FilterResult, good: Sequence[bool]) -> dict[str, object]:
    """Decisions of the filter text by text, without the gate, and the same for fixed thresholds."""
    kept = np.array([item.reason in (None, GATED) for item in result.judged])
    agrees = np.array([item.teacher_label == item.example.label for item in result.judged])
    prob = np.array([item.label_prob for item in result.judged])
    is_good = np.array(good)
    curve = [
        [
            threshold,
            float((agrees & (prob >= threshold))[is_good].mean()),
            float((~(agrees & (prob >= threshold)))[~is_good].mean()),
        ]
        for threshold in THRESHOLDS
    ]
    return {"good_kept": float(kept[is_good].mean()), "bad_dropped": float((~kept)[~is_good].mean()), "curve": curve}


@dataclass(frozen=True)
class Setting:
    """What a head is fitted with."""

    labels: LabelSet
    config: TrainConfig
    backbone: Backbone


def measure(
    setting: Setting,
    shots: Sequence[Example],
    further: Sequence[Example],
    test: Sequence[Example],
    *,
    as_shots: bool = False,
) -> float:
    """Accuracy on the test texts of a head trained on shots and further texts, which are not filtered here."""
    known = {shot.content for shot in shots}  # a shot's own label wins
    unique = {example.content: example for example in further if example.content not in known}
    task = Task(setting.labels, shots, (*unique.values(), *test))
    encoded = encode(task, setting.backbone, encoding_plan(setting.config, setting.backbone))
    learned = len(encoded.examples) - len(test)
    fitted = fit_head(replace(encoded, shots=learned) if as_shots else encoded, np.arange(learned), setting.config)
    answers = fitted.probs(encoded.texts.select(np.arange(learned, len(encoded.examples)))).argmax(1)
    return float((answers == np.array(setting.labels.indices(test))).mean())


def run_one(
    setting: Setting,
    shots: Sequence[Example],
    texts: Sequence[Example],
    good: Sequence[bool] | None,
    test: Sequence[Example],
    none: float,
) -> dict[str, object]:
    """One source on one split."""
    started = time.perf_counter()
    result = filter_generated(texts, shots, setting.labels, setting.config, backbone=setting.backbone)
    seconds = time.perf_counter() - started
    filtered = [item.example for item in result.judged if item.reason in (None, GATED)]
    lists = {"all": list(texts), "filtered": filtered, "filtered + gate": list(result.kept)}
    if good is not None:
        lists[GOOD] = list(compress(texts, good))
    accuracy: dict[str, float] = {"none": none, "as shots": measure(setting, shots, texts, test, as_shots=True)}
    for use, chosen in lists.items():
        same = next((accuracy[other] for other in accuracy if lists.get(other) == chosen), None)
        accuracy[use] = same if same is not None else measure(setting, shots, chosen, test) if chosen else none
    return {
        "accuracy": accuracy,
        "texts": {use: len(chosen) for use, chosen in lists.items()},
        "held_out": {"without": result.accuracy_without, "with": result.accuracy_with, "evidence": result.evidence},
        "gates": [[gate.texts, gate.f1_without, gate.f1_with, gate.enters] for gate in result.gates],
        "dropped": result.reasons,
        "filter_seconds": seconds,
        **(shares(result, good) if good is not None else {}),
    }


def run(arguments: argparse.Namespace) -> dict[str, list[dict[str, object]]]:
    """Do the missing runs, and write the results after each."""
    output = Path(arguments.output)
    state = json.loads(output.read_text("utf-8")) if output.exists() else {"rows": []}
    state |= {"machine": platform.platform(), "shots": SHOTS, "noise": NOISE, "model": arguments.model}
    done = {(row["set"], row["seed"], row["source"]) for row in state["rows"]}
    backbone = Backbone.load(arguments.backbone, device=arguments.device)
    root = Path(arguments.data_root)
    runs = [(name, seed, source) for source in arguments.sources for seed in arguments.seeds for name in arguments.sets]
    nones: dict[tuple[str, int], float] = {(row["set"], row["seed"]): row["accuracy"]["none"] for row in state["rows"]}
    with Progress(console=Console(stderr=True)) as bars:
        for name, seed, source in bars.track(runs, description="runs"):
            if (name, seed, source) in done:
                continue
            labels, pool = read_labels(root / name / "labels.json"), read_examples(root / name / "train.jsonl")
            test = measured_on(arguments, name, labels, pool, seed)
            shots = draw_shots(pool, SHOTS, seed)
            setting = Setting(labels, TrainConfig(backbone=arguments.backbone, seed=seed), backbone)
            if (name, seed) not in nones:
                nones[name, seed] = measure(setting, shots, (), test)
            good = None
            if source == "written":
                texts = written(arguments, shots, labels, seed)
            elif source == "given":
                measured = {example.content for example in test}
                found = read_examples(arguments.texts / name / "more.jsonl")
                texts = [example for example in found if example.content not in measured]
            else:
                other = "trec" if name != "trec" else "sst2"
                texts, good = planted(source, pool, shots, labels, read_examples(root / other / "train.jsonl"), seed)
            if not texts:
                continue
            row = run_one(setting, shots, texts, good, test, nones[name, seed])
            state["rows"].append({"set": name, "seed": seed, "source": source} | row)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(state, indent=1) + "\n", "utf-8")
    return state


def tables(state: dict[str, list[dict[str, object]]]) -> list[Table]:
    """Accuracy by source, set and use, in percent; and what the filter kept of good and dropped of bad texts."""
    rows = state["rows"]
    shown = []
    for source in dict.fromkeys(row["source"] for row in rows):
        uses = USES if source in ("written", "given") else (*USES, GOOD)
        titles = ["good texts only" if use == GOOD else use for use in uses]
        table = Table(f"{SOURCE_TITLES[source]}: accuracy, %", *titles, "gain of filter + gate", "texts kept", box=None)
        means = []
        for name in dict.fromkeys(row["set"] for row in rows if row["source"] == source):
            those = [row for row in rows if (row["set"], row["source"]) == (name, source)]
            means.append([100 * float(np.mean([row["accuracy"][use] for row in those])) for use in uses])
            kept, offered = (sum(row["texts"][use] for row in those) for use in (USES[-1], "all"))
            table.add_row(f"{name} ({len(those)})", *_cells(means[-1]), f"{kept} of {offered}")
        table.add_row("mean", *_cells(np.mean(means, 0)), "")
        shown.append(table)
    columns = (
        "source",
        "accuracy without generated texts",
        "good kept",
        "bad dropped",
        "teacher probability at least 0.5, 0.6, 0.7, 0.8, 0.9",
    )
    table = Table("per text, %", *columns, box=None)
    for name, source in dict.fromkeys((row["set"], row["source"]) for row in rows if "curve" in row):
        those = [row for row in rows if (row["set"], row["source"]) == (name, source)]
        figures = [[row["accuracy"]["none"], row["good_kept"], row["bad_dropped"]] for row in those]
        curve = 100 * np.mean([row["curve"] for row in those], 0)
        points = "  ".join(f"{kept:.0f}/{dropped:.0f}" for _, kept, dropped in curve[4:])
        table.add_row(name, SOURCE_TITLES[source], *(f"{100 * value:.1f}" for value in np.mean(figures, 0)), points)
    return [*shown, table]


def markdown(table: Table) -> str:
    """The same table as Markdown."""
    rows = zip(*(column.cells for column in table.columns), strict=True)
    lines = [[str(column.header) for column in table.columns], ["---"] * len(table.columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _cells(accuracy: Sequence[float]) -> list[str]:
    return [*(f"{value:.1f}" for value in accuracy), f"{accuracy[USES.index('filtered + gate')] - accuracy[0]:+.1f}"]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with a folder for each dataset")
    parser.add_argument(
        "--sets",
        default="sst2,cr,subj,mr,sms_spam,ag_news,trec,emotion",
        type=lambda text: text.split(","),
        help="datasets, separated by commas",
    )
    parser.add_argument(
        "--seeds",
        default="13,42,87",
        type=lambda text: [int(part) for part in text.split(",")],
        help="seeds of the random splits",
    )
    parser.add_argument(
        "--sources",
        default="flipped,foreign",
        type=lambda text: text.split(","),
        help="flipped, foreign, written, given",
    )
    parser.add_argument("--texts", default=Path("llm_texts"), type=Path, help="folder of texts, for given")
    parser.add_argument("--base-url", default="http://127.0.0.1:8080/v1", help="LLM server, for written")
    parser.add_argument("--model", default="smollm2-135m", help="model name, for written")
    parser.add_argument("--per-label", default=10, type=int, help="texts to request per label, for written")
    parser.add_argument("--answers", default="out/answers.sqlite", help="file of saved answers, for written")
    parser.add_argument("--backbone", default="minilm", help="minilm (packaged), a folder or a hub id")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--measure", default="test", choices=("test", "pool"), help="texts to measure accuracy on")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument(
        "--output", default="out/augmentation.json", help="JSON file of results, continued if it exists"
    )
    parser.add_argument("--markdown", default=None, help="Markdown file to write the tables to")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)
        state = run(arguments)
    shown = tables(state)
    for table in shown:
        Console(width=200).print(table)
    if arguments.markdown:
        Path(arguments.markdown).write_text("\n".join(map(markdown, shown)), "utf-8")


if __name__ == "__main__":
    main()
