"""Accuracy without examples: by descriptions alone, and by descriptions and a log without labels (``train --unlabeled``).

    python -m benchmarks.accuracy.unlabeled --data-root DATA --sets sst2,trec,ag_news

The log is the pool without its labels, once as it is and once with one label ten times rarer than the others. Accuracy and mean recall of
the labels are measured on the test texts, which are not in the log.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.accuracy_methods import Split, answers, cached_states
from benchmarks.accuracy.unbalanced import load
from crosstune import CrossTuneWarning, Example, TrainConfig, train
from crosstune.backbone.frozen import Backbone

SETS = "sst2,mr,cr,subj,trec,ag_news,yelp_polarity,sst5,emotion,snips,sms_spam"
KINDS = ("descriptions", "log", "skewed_log")
#: How rare the rare label of a skewed log is.
RARE = 0.1


def skewed(pool: Sequence[Example], rare: str, seed: int) -> list[Example]:
    """The pool with most texts of one label taken out."""
    draw = np.random.RandomState(seed).rand(len(pool))
    return [example for example, chance in zip(pool, draw, strict=True) if example.label != rare or chance < RARE]


def measure(split: Split, log: Sequence[Example]) -> tuple[float, float, bool]:
    """Accuracy and mean recall on the test texts in percent, and whether training warned of a label that seems too frequent."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CrossTuneWarning)
        texts = [example.text for example in log]
        checkpoint = train((), split.labels, TrainConfig(), unlabeled=texts, backbone=split.backbone)
    gold = np.array(split.labels.indices(split.test))
    right = answers(split, checkpoint, 0.0).probs.argmax(1) == gold
    recall = [right[gold == label].mean() for label in np.unique(gold)]
    warned = any("descriptions alone" in str(warning.message) for warning in caught)
    return 100 * float(right.mean()), 100 * float(np.mean(recall)), warned


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Do the missing runs, and write the results after each."""
    output: Path = arguments.output
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(output.read_text("utf-8")) if output.exists() else []
    backbone = Backbone.load("minilm", device="cpu")
    for name in arguments.sets.split(","):
        if any(row["set"] == name for row in rows):
            continue
        labels, pool, test = load(arguments.data_root / name)
        test, pool = test[: arguments.max_test], pool[: arguments.max_pool]
        split = Split(backbone, labels, (), tuple(test), cached_states(backbone, test), 0, None)
        logs = {"descriptions": [()], "log": [pool]}
        logs["skewed_log"] = [skewed(pool, rare, 13) for rare in labels.names[: arguments.rare_labels]]
        row: dict[str, Any] = {"set": name, "texts": len(pool)}
        for kind, of_kind in logs.items():
            accuracy, recall, warned = zip(*(measure(split, log) for log in of_kind), strict=True)
            row |= {kind: accuracy, f"{kind}_recall": recall, f"{kind}_warned": warned}
        rows.append(row)
        output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    return rows


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--max-pool", default=500, type=int, help="maximum number of texts of a log; default: 500")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument("--rare-labels", default=2, type=int, help="labels that are rare in a log, in turn; default: 2")
    parser.add_argument("--output", default="out/unlabeled.json", type=Path, help="JSON file of results, continued")
    rows = run(parser.parse_args())
    table = Table("set", *(f"{kind}, {what}" for what in ("accuracy", "recall") for kind in KINDS), "warned", box=None)
    columns = [f"{kind}{what}" for what in ("", "_recall") for kind in KINDS]
    values = np.array([[np.mean(row[column]) for column in columns] for row in rows])
    for row, figures in zip([*rows, {"set": "mean"}], [*values, values.mean(0)], strict=True):
        said = [*row.get("log_warned", ()), *row.get("skewed_log_warned", ())]
        table.add_row(str(row["set"]), *(f"{value:.1f}" for value in figures), f"{sum(said)} of {len(said)}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
