"""Unbalanced shots against as many balanced ones: accuracy with every label of the test texts counted alike.

    python -m benchmarks.accuracy.unbalanced --data-root DATA --sets subj:5,sst2:4,trec --seeds 13,21,42

With ``name:COUNT``, a dataset of two labels gets COUNT shots of one label and 2·K − COUNT of the other; the seed decides which is
rare. Without a count, K·L shots are drawn at random from a pool in which one label is ten times rarer.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.accuracy_methods import Split, answers, cached_states
from crosstune import LabelSet, TrainConfig, draw_shots, read_examples, read_labels, train
from crosstune.backbone.frozen import Backbone
from crosstune.data.examples import Example

SETS = "subj:5,sst2:4,trec,cr:5,ag_news,emotion"
#: A label of this name is not used in training.
OUT_OF_SCOPE = "oos"


def load(folder: Path) -> tuple[LabelSet, list[Example], list[Example]]:
    """Labels, pool and test texts of a dataset, without texts that are out of scope."""
    labels = LabelSet(tuple(label for label in read_labels(folder / "labels.json") if label.name != OUT_OF_SCOPE))
    pool, test = (
        [example for example in read_examples(folder / f"{part}.jsonl") if example.label in labels.names]
        for part in ("train", "test")
    )
    return labels, pool, test


def unbalanced(
    pool: Sequence[Example], labels: LabelSet, shots: int, rare_count: int | None, seed: int
) -> list[Example]:
    """So many shots as ``shots`` per label would be, of which few have one label."""
    random = np.random.RandomState(seed)
    rare = labels.names[random.randint(len(labels))]
    total = shots * len(labels)
    if rare_count is None:
        chance = np.array([0.1 if example.label == rare else 1.0 for example in pool])
        return [pool[i] for i in random.choice(len(pool), total, replace=False, p=chance / chance.sum())]
    wanted = {name: rare_count if name == rare else total - rare_count for name in labels.names}
    drawn = []
    for i in random.permutation(len(pool)):
        if wanted[pool[i].label] > 0:
            wanted[pool[i].label] -= 1
            drawn.append(pool[i])
    return drawn


def balanced_accuracy(split: Split, shots: Sequence[Example], config: TrainConfig) -> tuple[float, float | None]:
    """Mean recall of the labels on the test texts, in percent, and the accuracy on held-out folds."""
    checkpoint = train(shots, split.labels, config, backbone=split.backbone)
    predicted = answers(split, checkpoint, 0.0).probs.argmax(1)
    gold = np.array(split.labels.indices(split.test))
    recall = [float((predicted[gold == label] == label).mean()) for label in np.unique(gold)]
    held_out = checkpoint.quality.cv_accuracy
    return 100 * float(np.mean(recall)), None if held_out is None else 100 * held_out


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--shots", default=16, type=int, help="examples per label; default: 16")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits; default: 13,21,42")
    parser.add_argument("--head", default="default", help="default or paper")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument("--output", default="out/unbalanced.json", type=Path, help="JSON file of results")
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    table = Table(
        "set", "shots per label", "balanced", "unbalanced", "difference", "held-out folds", "shares of the shots"
    )
    rows = []
    for entry in arguments.sets.split(","):
        name, _, count = entry.partition(":")
        labels, pool, test = load(arguments.data_root / name)
        test = test[: arguments.max_test]
        states = cached_states(backbone, test)
        for seed in map(int, arguments.seeds.split(",")):
            even = draw_shots(pool, arguments.shots, seed)
            skewed = unbalanced(pool, labels, arguments.shots, int(count) if count else None, seed)
            split = Split(backbone, labels, (), tuple(test), states, seed, None)
            config = TrainConfig(head=arguments.head, seed=seed)
            balanced, _ = balanced_accuracy(split, even, config)
            ours, held_out = balanced_accuracy(split, skewed, config)
            row = {"set": name, "seed": seed, "head": arguments.head, "balanced": balanced, "unbalanced": ours}
            row |= {"held_out": held_out, "counts": sorted(Counter(example.label for example in skewed).values())}
            if arguments.head == "default":
                as_shots = config.model_copy(update={"expected_shares": "shots"})
                row["shares_of_shots"] = balanced_accuracy(split, skewed, as_shots)[0]
            rows.append(row)
        of_set = [row for row in rows if row["set"] == name]
        table.add_row(name, str(of_set[0]["counts"]), *_means(of_set))
    table.add_row("mean", "", *_means(rows))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    Console(width=120).print(table)


def _means(rows: Sequence[dict[str, object]]) -> list[str]:
    columns = {}
    for key in ("balanced", "unbalanced", "held_out", "shares_of_shots"):
        values = [row[key] for row in rows if row.get(key) is not None]
        columns[key] = float(np.mean(values)) if values else float("nan")  # type: ignore[arg-type]
    difference = columns["unbalanced"] - columns["balanced"]
    return [
        *(f"{columns[key]:.1f}" for key in ("balanced", "unbalanced")),
        f"{difference:+.1f}",
        *(f"{columns[key]:.1f}" for key in ("held_out", "shares_of_shots")),
    ]


if __name__ == "__main__":
    main()
