"""Few-shot accuracy: our heads, their controls and SetFit, on the same splits, from the same frozen backbone.

    python benchmarks/accuracy.py --data-root ../shared/data --sets sst2,trec --shots 8,16 --seeds 13,42
    python benchmarks/accuracy.py ... --methods setfit --setfit-python /path/to/an/env/with/setfit/bin/python

A data root holds folders with train.jsonl (the pool that shots are drawn from), test.jsonl and labels.json. Results are kept
in a JSON file, one row a run, with versions and machine; a run that is there already is not repeated. Table and plot are made
from it. Nothing is chosen on test texts: every choice of a head is made on its shots.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from crosstune import LabelSet, TrainConfig, evaluate, few_shot_split, read_examples, read_labels, train
from crosstune.backbone import FrozenBackbone
from crosstune.examples import Example, example_line
from crosstune.feature_cache import FeatureCache, TextStates, default_cache_path
from crosstune.features import cached_features
from crosstune.pooling import POOLS, Atom, FeatureSpec
from crosstune.selection import attention_layers, default_views, spec_of

SETS = (
    "sst2,mr,cr,subj,trec,ag_news,dbpedia14,yelp_polarity,sst5,emotion,snips,sms_spam,banking77,clinc150_plus,mrpc,rte"
)
CACHED_POOLS = tuple(pool for pool in POOLS if pool != "mask")
#: A label of this name is left out of training; its test texts are out of scope.
OUT_OF_SCOPE = "oos"
#: SetFit trains on all pairs of shots, twice the more frequent kind; runs of more steps than this are left out.
SETFIT_STEPS = 1000
SETFIT_BATCH = 16

Probs = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """One draw of one set; ``test`` are its texts, ``states`` what the cache keeps of them."""

    folder: Path
    backbone: FrozenBackbone
    labels: LabelSet
    shots: tuple[Example, ...]
    test: tuple[Example, ...]
    states: TextStates
    seed: int
    setfit_python: str | None


Method = Callable[[Task], "tuple[Probs, float] | None"]


def head(task: Task, labels: LabelSet, shots: Sequence[Example], kind: str = "default") -> tuple[Probs, float]:
    """Train one of our heads; seconds are those of a second run, on cached features."""
    config = TrainConfig(head="paper" if kind == "paper" else "default", seed=task.seed)
    train(shots, labels, config, backbone=task.backbone)
    started = time.perf_counter()
    checkpoint = train(shots, labels, config, backbone=task.backbone)
    seconds = time.perf_counter() - started
    trained = checkpoint.head
    return trained.probs(cached_features(task.states, trained.spec, trained.queries)).numpy(), seconds


def shuffled(labels: LabelSet, seed: int) -> LabelSet:
    """The same labels with each other's descriptions: what the descriptions are worth as mere extra parameters."""
    order = np.random.RandomState(seed).permutation(len(labels))
    turned = {int(a): int(b) for a, b in zip(order, np.roll(order, 1), strict=True)}
    return LabelSet.from_mapping({label.name: labels.labels[turned[i]].descriptions for i, label in enumerate(labels)})


def names_only(labels: LabelSet) -> LabelSet:
    """Label names in place of their descriptions."""
    return LabelSet.from_mapping({label.name: label.name.replace("_", " ") for label in labels})


def control(task: Task, model: object, spec: FeatureSpec) -> tuple[Probs, float]:
    """Fit a scikit-learn classifier on cached features of the shots; answers count as sure."""
    states = encode(task.backbone, task.shots)
    x, y = cached_features(states, spec).numpy(), np.array(task.labels.indices(task.shots))
    started = time.perf_counter()
    model.fit(x, y)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    test = cached_features(task.states, spec).numpy()
    if hasattr(model, "predict_proba"):
        return model.predict_proba(test).astype(np.float32), seconds
    return np.eye(len(task.labels), dtype=np.float32)[model.predict(test)], seconds  # type: ignore[attr-defined]


def setfit(task: Task) -> tuple[Probs, float] | None:
    """SetFit fine-tunes the same backbone, in its own environment; None where it is not to be had or takes too long."""
    counts = Counter(shot.label for shot in task.shots).values()
    same = sum(math.comb(count + 1, 2) for count in counts)
    other = math.comb(len(task.shots), 2) - sum(math.comb(count, 2) for count in counts)
    if task.setfit_python is None or 2 * max(same, other) / SETFIT_BATCH > SETFIT_STEPS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in ("train", "test", "probs.npy")}
        paths["train"].write_text("".join(map(example_line, task.shots)), "utf-8")
        paths["test"].write_text("".join(map(example_line, task.test)), "utf-8")
        (Path(folder) / "labels").write_text(json.dumps({label.name: "" for label in task.labels}), "utf-8")
        command = [task.setfit_python, str(Path(__file__).with_name("setfit_run.py")), "--model", model_folder(task)]
        command += [
            "--train",
            str(paths["train"]),
            "--test",
            str(paths["test"]),
            "--labels",
            str(Path(folder) / "labels"),
        ]
        command += ["--seed", str(task.seed), "--output", str(paths["probs.npy"])]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        report = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
        return np.load(paths["probs.npy"]), report["train_seconds"]


def model_folder(task: Task) -> str:
    """Where the backbone's own files are."""
    return str(task.backbone.model.config._name_or_path)


def last_layer(task: Task) -> FeatureSpec:
    """What sentence-transformers would use: the mean of the last layer."""
    return FeatureSpec((Atom("mean", task.backbone.layer_count),))


def our_features(task: Task) -> FeatureSpec:
    """Pooled states as the default head sees them."""
    depth = task.backbone.layer_count
    return FeatureSpec(spec_of(default_views(depth), depth).atoms)


METHODS: dict[str, Method] = {
    "default": lambda task: head(task, task.labels, task.shots),
    "paper": lambda task: head(task, task.labels, task.shots, "paper"),
    "zero-shot": lambda task: head(task, task.labels, ()),
    "names only": lambda task: head(task, names_only(task.labels), task.shots),
    "shuffled descriptions": lambda task: head(task, shuffled(task.labels, task.seed), task.shots),
    "logistic regression": lambda task: control(task, LogisticRegression(max_iter=1000, C=100), last_layer(task)),
    "logistic regression, our features": lambda task: control(
        task, LogisticRegression(max_iter=1000, C=10), our_features(task)
    ),
    "nearest prototype": lambda task: control(task, NearestCentroid(), last_layer(task)),
    "kNN": lambda task: control(task, KNeighborsClassifier(3, metric="cosine"), last_layer(task)),
    "setfit": setfit,
}


def encode(backbone: FrozenBackbone, examples: Sequence[Example]) -> TextStates:
    """States of all texts, by way of the user's cache."""
    with FeatureCache(default_cache_path()) as cache:
        layers = attention_layers(backbone.layer_count)
        return cache.states(backbone, [example.content for example in examples], CACHED_POOLS, layers)


def figures(probs: Probs, test: Sequence[Example], labels: LabelSet) -> dict[str, float | int]:
    """Scores over the texts that are in scope, and how well the top probability tells those from the others."""
    inside = np.array([example.label in labels.names for example in test])
    known = [example for example in test if example.label in labels.names]
    result = evaluate(probs[inside], labels.indices(known), labels.names)
    row: dict[str, float | int] = {
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        "ece": float(result.ece),
        "n": result.n,
    }
    if not inside.all():
        row["scope_auroc"] = float(roc_auc_score(inside, probs.max(1)))
    return row


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Do what is not done yet, writing after every run."""
    output = Path(arguments.output)
    state = json.loads(output.read_text("utf-8")) if output.exists() else {"rows": []}
    state["machine"] = {"platform": platform.platform(), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    state["versions"] = {name: metadata.version(name) for name in ("torch", "transformers", "scikit-learn")}
    done = {(r["backbone"], r["set"], r["shots"], r["seed"], r["method"]) for r in state["rows"]}
    backbone = FrozenBackbone.load(arguments.backbone, device=arguments.device)
    name_of_backbone = Path(arguments.backbone).name
    total = len(arguments.sets) * len(arguments.shots) * len(arguments.seeds) * len(arguments.methods)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("runs", total=total)
        for name in arguments.sets:
            folder = Path(arguments.data_root) / name
            named = read_labels(folder / "labels.json")
            labels = LabelSet(tuple(label for label in named if label.name != OUT_OF_SCOPE))
            pool = [example for example in read_examples(folder / "train.jsonl") if example.label in labels.names]
            test: tuple[Example, ...] = ()
            for shots in arguments.shots:
                for seed in arguments.seeds:
                    for method in arguments.methods:
                        bars.update(bar, description=f"{name} {shots} {seed} {method}", advance=1)
                        key = (name_of_backbone, name, shots, seed, method)
                        if key in done:
                            continue
                        if not test:
                            rows = [e for e in read_examples(folder / "test.jsonl") if e.label in named.names]
                            test = tuple(rows[: arguments.max_test])
                            states = encode(backbone, test)
                        drawn = few_shot_split(pool, shots, seed).train
                        task = Task(folder, backbone, labels, drawn, test, states, seed, arguments.setfit_python)
                        result = METHODS[method](task)
                        if result is None:
                            continue
                        state["rows"].append(
                            dict(zip(("backbone", "set", "shots", "seed", "method"), key, strict=True))
                            | figures(result[0], test, labels)
                            | {"train_seconds": result[1]}
                        )
                        output.parent.mkdir(parents=True, exist_ok=True)
                        output.write_text(json.dumps(state, indent=1) + "\n", "utf-8")
    return state


def table(state: dict[str, object], shots: int) -> Table:
    """Mean accuracy (± standard deviation over seeds) by set and method; the last mean is over the sets that SetFit ran on."""
    rows = [row for row in state["rows"] if row["shots"] == shots]  # type: ignore[attr-defined]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    shown = Table(f"{shots} shots a label", *methods, box=None)
    by: dict[tuple[str, str], list[dict[str, float]]] = {}
    for row in rows:
        by.setdefault((row["set"], row["method"]), []).append(row)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    for name in sets:
        cells = []
        for method in methods:
            values = [100 * row["accuracy"] for row in by.get((name, method), [])]
            cells.append(f"{np.mean(values):.1f} ± {np.std(values):.1f} ({len(values)})" if values else "")
        shown.add_row(name, *cells)
    with_setfit = [name for name in sets if (name, "setfit") in by]
    for title, chosen in (("mean", sets), ("mean where SetFit ran", with_setfit)):
        cells = []
        for method in methods:
            found = [
                100 * np.mean([r["accuracy"] for r in by[name, method]]) for name in chosen if (name, method) in by
            ]
            cells.append(f"{np.mean(found):.1f}" if found and len(found) == len(chosen) else "")
        shown.add_row(title, *cells)
    for figure, digits in (("train_seconds", 2), ("ece", 3), ("scope_auroc", 3)):
        cells = []
        for method in methods:
            values = [row[figure] for row in rows if row["method"] == method and figure in row]
            cells.append(f"{np.mean(values):.{digits}f}" if values else "")
        shown.add_row(f"{figure}, mean", *cells)
    return shown


def markdown(shown: Table) -> str:
    """A table for a page."""
    columns = [[str(shown.columns[0].header), *shown.columns[0].cells]]
    columns += [[str(column.header), *column.cells] for column in shown.columns[1:]]
    rows = list(zip(*columns, strict=True))
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]]) + "\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--sets", default=SETS.split(","), type=lambda text: text.split(","))
    parser.add_argument("--shots", default=[8, 16], type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument(
        "--seeds", default=[13, 21, 42, 87, 100], type=lambda text: [int(part) for part in text.split(",")]
    )
    parser.add_argument("--methods", default=list(METHODS), type=lambda text: text.split(","))
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-test", default=None, type=int, help="only so many test texts of each set")
    parser.add_argument("--setfit-python", default=None, help="the interpreter of an environment that has setfit")
    parser.add_argument("--output", default="out/accuracy.json")
    parser.add_argument("--markdown", default=None, help="also write the tables to this file")
    arguments = parser.parse_args()
    state = run(arguments)
    tables = [table(state, shots) for shots in arguments.shots]
    if arguments.markdown is not None:
        Path(arguments.markdown).write_text("\n".join(map(markdown, tables)), "utf-8")
    for shown in tables:
        Console(width=None if sys.stdout.isatty() else 250).print(shown)


if __name__ == "__main__":
    main()
