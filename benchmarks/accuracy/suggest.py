"""``crosstune suggest`` compared with random picks and with balanced picks of the same number.

    python -m benchmarks.accuracy.suggest --data-root DATA --sets subj,sst2,trec --seeds 13,21,42

Half of the K·L texts is suggested from the descriptions alone, half by a head that is trained on the first half. Random picks are drawn
from the same pool, and are learned from without and with the log (``log_shares``); suggested ones with it. Balanced picks are K per
label. ``--rare`` removes texts of one label from the pool until it is ten times rarer; the seed decides which label. The table has the
mean recall of the labels on the test texts, which counts them alike as the heads do; the results also have the accuracy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.accuracy_methods import Split, answers, cached_states
from benchmarks.accuracy.unbalanced import load
from crosstune import Checkpoint, Example, LabelSet, TrainConfig, draw_shots, suggest_texts, train
from crosstune.backbone.frozen import Backbone
from crosstune.core.token_layout import Text

SETS = "sst2,mr,cr,subj,trec,ag_news,yelp_polarity,sst5,emotion,snips,sms_spam,dbpedia14"
METHODS = ("random", "random_with_log", "balanced", "suggested")


def suggested(split: Split, pool: Sequence[Example], number: int, seed: int) -> list[Example]:
    """Two rounds of suggestions, labelled as the pool has them."""
    of_text = {example.content: example for example in pool}
    chosen: list[Example] = []
    for round_size in (number // 2, number - number // 2):
        checkpoint = trained(split, chosen, seed, of_text)
        found = suggest_texts(checkpoint, list(of_text), round_size, backbone=split.backbone)
        chosen += [of_text[suggestion.text] for suggestion in found]
    return chosen


def skewed(pool: Sequence[Example], labels: LabelSet, seed: int) -> list[Example]:
    """The pool with every tenth text of one label only."""
    rare = labels.names[np.random.RandomState(seed).randint(len(labels))]
    of_rare = [example for example in pool if example.label == rare]
    kept = set(of_rare[::10])
    return [example for example in pool if example.label != rare or example in kept]


def trained(split: Split, shots: Sequence[Example], seed: int, log: Collection[Text] = ()) -> Checkpoint:
    """A head; with a log that the shots come from, one that knows how frequent each label is there."""
    if not (log and shots):
        return train(shots, split.labels, TrainConfig(seed=seed), backbone=split.backbone)
    config = TrainConfig(seed=seed, log_shares="estimate")
    return train(shots, split.labels, config, unlabeled=list(log), backbone=split.backbone)


def measure(split: Split, checkpoint: Checkpoint) -> tuple[float, float]:
    """Accuracy and mean recall of the labels on the test texts, in percent."""
    gold = np.array(split.labels.indices(split.test))
    right = answers(split, checkpoint, 0.0).probs.argmax(1) == gold
    recall = [right[gold == label].mean() for label in np.unique(gold)]
    return 100 * float(right.mean()), 100 * float(np.mean(recall))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--shots", default=16, type=int, help="K, examples per label; default: 16")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits; default: 13,21,42")
    parser.add_argument("--max-pool", default=None, type=int, help="maximum number of pool texts per dataset")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument("--rare", action="store_true", help="make one label of the pool ten times rarer")
    parser.add_argument(
        "--output", default="out/suggest.json", type=Path, help="JSON file of results, continued if it exists"
    )
    arguments = parser.parse_args()
    rows = [row for row in run(arguments) if (row["rare"], row["shots"]) == (arguments.rare, arguments.shots)]
    table = Table("set", *METHODS, "gain over random", "gain over balanced")
    means = []
    for name in dict.fromkeys(row["set"] for row in rows):
        means.append(
            np.mean([[row[f"{method}_recall"] for method in METHODS] for row in rows if row["set"] == name], 0)
        )
        table.add_row(name, *_figures(means[-1]))
    table.add_row("mean", *_figures(np.mean(means, 0)))
    Console(width=120).print(table)


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Do the missing runs, and write the results after each."""
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(output.read_text("utf-8")) if output.exists() else []
    done = {(row["set"], row["seed"], row["rare"], row["shots"]) for row in rows}
    backbone = Backbone.load("minilm", device="cpu")
    for name in arguments.sets.split(","):
        labels, whole, test = load(arguments.data_root / name)
        test = test[: arguments.max_test]
        for seed in map(int, arguments.seeds.split(",")):
            if (name, seed, arguments.rare, arguments.shots) in done:
                continue
            random = np.random.RandomState(seed)
            pool = [whole[i] for i in random.permutation(len(whole))[: arguments.max_pool]]
            pool = skewed(pool, labels, seed) if arguments.rare else pool
            split = Split(backbone, labels, (), tuple(test), cached_states(backbone, test), seed, None)
            number, log = arguments.shots * len(labels), [example.content for example in pool]
            row = {"set": name, "seed": seed, "rare": arguments.rare, "shots": arguments.shots}
            for method, shots, of_log in (
                ("random", pool[:number], []),
                ("random_with_log", pool[:number], log),
                ("balanced", draw_shots(whole, arguments.shots, seed), []),
                ("suggested", suggested(split, pool, number, seed), log),
            ):
                row[method], row[f"{method}_recall"] = measure(split, trained(split, shots, seed, of_log))
            rows.append(row)
            output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    return rows


def _figures(values: Sequence[float]) -> list[str]:
    random, _, balanced, chosen = values
    return [*(f"{value:.1f}" for value in values), f"{chosen - random:+.1f}", f"{chosen - balanced:+.1f}"]


if __name__ == "__main__":
    main()
