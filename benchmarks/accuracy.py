"""Few-shot accuracy: our heads and their controls, on the same splits, from the same frozen backbone.

    python benchmarks/accuracy.py --data-root ../shared/data --sets sst2,trec --seeds 13,42

Results are kept in a JSON file, one row a run; a run that is there already is not repeated. The table is made from it.
A data root holds folders with train.jsonl (the pool), test.jsonl and labels.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
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
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from crosstune import LabelSet, TrainConfig, evaluate, few_shot_split, read_examples, read_labels, train
from crosstune.backbone import FrozenBackbone
from crosstune.examples import Example
from crosstune.pooling import POOLS, Atom, FeatureSpec, pool_layers, pooled_features
from crosstune.selection import default_views, spec_of

TEST_POOLS = tuple(pool for pool in POOLS if pool != "mask")


@dataclass(frozen=True)
class Task:
    """One draw of one set, with pooled states of its test texts, float32 (N, P, layers + 1, D)."""

    backbone: FrozenBackbone
    labels: LabelSet
    shots: tuple[Example, ...]
    test_pooled: torch.Tensor
    seed: int


Probs = npt.NDArray[np.float32]
Method = Callable[[Task], tuple[Probs, float]]


def head(task: Task, labels: LabelSet, shots: Sequence[Example], name: str) -> tuple[Probs, float]:
    """Train one of our heads; seconds are those of a second run, on cached features."""
    config = TrainConfig(head="paper" if name == "paper" else "default", seed=task.seed)
    train(shots, labels, config, backbone=task.backbone)
    started = time.perf_counter()
    checkpoint = train(shots, labels, config, backbone=task.backbone)
    seconds = time.perf_counter() - started
    features = pooled_features(task.test_pooled, TEST_POOLS, checkpoint.head.spec)
    return checkpoint.head.probs(features).numpy(), seconds


def shuffled(labels: LabelSet, seed: int) -> LabelSet:
    """The same labels with each other's descriptions: what the descriptions are worth as mere extra parameters."""
    order = np.random.RandomState(seed).permutation(len(labels))
    turned = {int(a): int(b) for a, b in zip(order, np.roll(order, 1), strict=True)}
    return LabelSet.from_mapping({label.name: labels.labels[turned[i]].descriptions for i, label in enumerate(labels)})


def names_only(labels: LabelSet) -> LabelSet:
    """Label names in place of their descriptions."""
    return LabelSet.from_mapping({label.name: label.name.replace("_", " ") for label in labels})


def control(task: Task, model: object, spec: FeatureSpec) -> tuple[Probs, float]:
    """Fit a scikit-learn classifier on features of the shots."""
    pooled = torch.cat(
        [
            pool_layers(hidden, TEST_POOLS, task.backbone.pool_positions(task.backbone.tokens))
            for _, hidden in task.backbone.batches([shot.content for shot in task.shots], 1)
        ]
    )
    order = [i for chunk, _ in _order(task) for i in chunk]
    x = pooled_features(pooled, TEST_POOLS, spec).numpy()
    y = np.array(task.labels.indices(task.shots))[order]
    started = time.perf_counter()
    model.fit(x, y)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    answers = model.predict(pooled_features(task.test_pooled, TEST_POOLS, spec).numpy())  # type: ignore[attr-defined]
    return np.eye(len(task.labels), dtype=np.float32)[answers], seconds


def _order(task: Task) -> list[tuple[list[int], None]]:
    rows = task.backbone.tokenize([shot.content for shot in task.shots])
    return [(sorted(range(len(rows)), key=lambda i: len(rows[i].ids)), None)]


def last_layer(task: Task) -> FeatureSpec:
    """What sentence-transformers would use: the mean of the last layer."""
    return FeatureSpec((Atom("mean", task.backbone.layer_count),))


METHODS: dict[str, Method] = {
    "default": lambda task: head(task, task.labels, task.shots, "default"),
    "paper": lambda task: head(task, task.labels, task.shots, "paper"),
    "zero-shot": lambda task: head(task, task.labels, (), "default"),
    "names only": lambda task: head(task, names_only(task.labels), task.shots, "default"),
    "shuffled descriptions": lambda task: head(task, shuffled(task.labels, task.seed), task.shots, "default"),
    "logistic regression": lambda task: control(task, LogisticRegression(max_iter=1000, C=100), last_layer(task)),
    "logistic regression, our features": lambda task: control(
        task, LogisticRegression(max_iter=1000, C=10), spec_of(default_views(task.backbone.layer_count))
    ),
    "nearest prototype": lambda task: control(task, NearestCentroid(), last_layer(task)),
    "kNN": lambda task: control(task, KNeighborsClassifier(3, metric="cosine"), last_layer(task)),
}


def encode_test(backbone: FrozenBackbone, examples: Sequence[Example]) -> torch.Tensor:
    """Pooled states of all texts, float32 (N, P, layers + 1, D)."""
    out = torch.empty(len(examples), len(TEST_POOLS), backbone.layer_count + 1, backbone.hidden_size)
    for chunk, hidden in backbone.batches([example.content for example in examples], 32):
        out[chunk] = pool_layers(hidden, TEST_POOLS, backbone.pool_positions(backbone.tokens)).cpu()
    return out


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Do what is not done yet, writing after every run."""
    output = Path(arguments.output)
    state = json.loads(output.read_text("utf-8")) if output.exists() else {"rows": []}
    state["machine"] = {"platform": platform.platform(), "threads": torch.get_num_threads()}
    state["versions"] = {name: metadata.version(name) for name in ("torch", "transformers", "scikit-learn")}
    done = {(r["backbone"], r["set"], r["shots"], r["seed"], r["method"]) for r in state["rows"]}
    backbone = FrozenBackbone.load(arguments.backbone, device=arguments.device)
    total = len(arguments.sets) * len(arguments.shots) * len(arguments.seeds) * len(arguments.methods)
    with Progress(console=Console(stderr=True)) as bars:
        bar = bars.add_task("runs", total=total)
        for name in arguments.sets:
            folder = Path(arguments.data_root) / name
            labels, pool, test = read_labels(folder / "labels.json"), read_examples(folder / "train.jsonl"), None
            for shots in arguments.shots:
                for seed in arguments.seeds:
                    for method in arguments.methods:
                        bars.update(bar, description=f"{name} {shots} {seed} {method}", advance=1)
                        key = (arguments.backbone, name, shots, seed, method)
                        if key in done:
                            continue
                        if test is None:
                            test = [e for e in read_examples(folder / "test.jsonl") if e.label in labels.names]
                            test = test[: arguments.max_test]
                            pooled = encode_test(backbone, test)
                        task = Task(backbone, labels, few_shot_split(pool, shots, seed).train, pooled, seed)
                        probs, seconds = METHODS[method](task)
                        result = evaluate(probs, labels.indices(test), labels.names)
                        state["rows"].append(
                            dict(zip(("backbone", "set", "shots", "seed", "method"), key, strict=True))
                            | {
                                "accuracy": result.accuracy,
                                "macro_f1": result.macro_f1,
                                "ece": result.ece,
                                "n": result.n,
                                "train_seconds": seconds,
                            }
                        )
                        output.parent.mkdir(parents=True, exist_ok=True)
                        output.write_text(json.dumps(state, indent=1) + "\n", "utf-8")
    return state


def table(state: dict[str, object], shots: int) -> Table:
    """Mean accuracy (± standard deviation over seeds) by set and method."""
    rows = [row for row in state["rows"] if row["shots"] == shots]  # type: ignore[attr-defined]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    shown = Table(f"{shots} shots a label", *methods, box=None)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    means: dict[str, list[float]] = {method: [] for method in methods}
    for name in sets:
        cells = []
        for method in methods:
            values = [100 * row["accuracy"] for row in rows if row["set"] == name and row["method"] == method]
            cells.append(f"{np.mean(values):.1f} ± {np.std(values):.1f}" if values else "")
            if values:
                means[method].append(float(np.mean(values)))
        shown.add_row(name, *cells)
    shown.add_row("mean", *(f"{np.mean(means[m]):.1f}" if len(means[m]) == len(sets) else "" for m in methods))
    for figure, digits in (("train_seconds", 2), ("ece", 3)):
        values = ([row[figure] for row in rows if row["method"] == method] for method in methods)
        shown.add_row(f"{figure}, mean", *(f"{np.mean(list(v)):.{digits}f}" for v in values))
    return shown


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--sets", default="ag_news,sst2,subj,trec,banking77", type=lambda text: text.split(","))
    parser.add_argument("--shots", default="16", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--seeds", default="13,42", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--methods", default=",".join(METHODS), type=lambda text: text.split(","))
    parser.add_argument("--backbone", default="minilm")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-test", default=None, type=int, help="only so many test texts of each set")
    parser.add_argument("--output", default="out/accuracy.json")
    arguments = parser.parse_args()
    state = run(arguments)
    for shots in arguments.shots:
        Console(width=200).print(table(state, shots))


if __name__ == "__main__":
    main()
