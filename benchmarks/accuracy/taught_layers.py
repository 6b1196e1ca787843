"""A head on fewer layers, with and without a log that teaches it the answers of all layers: accuracy and label changes.

    python -m benchmarks.accuracy.taught_layers --data-root DATA

For each set and seed three heads are trained on 16 shots per label: on all layers, on fewer, and on fewer with the other texts of the
pool as a log (``train --layers 3 --unlabeled``). Test texts only measure. Known runs of the JSON file are kept.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.unbalanced import load
from crosstune import TrainConfig, draw_shots, train
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_proba

SETS = "sms_spam,snips,ag_news,subj,cr,sst2,yelp_polarity,trec,emotion"


def measure(folder: Path, backbone: Backbone, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All figures of one set and seed."""
    labels, pool, test = load(folder)
    shots = draw_shots(pool, arguments.shots, seed)
    taken = {shot.text for shot in shots}
    order = np.random.RandomState(seed).permutation(len(pool))
    log = list(dict.fromkeys(pool[i].text for i in order if pool[i].text not in taken))[: arguments.texts]
    new = [example for example in test if example.text not in taken.union(log)][: arguments.max_test]
    fewer = TrainConfig(seed=seed, layers=arguments.layers)
    trained = {
        "all": train(shots, labels, TrainConfig(seed=seed), backbone=backbone),
        "untaught": train(shots, labels, fewer, backbone=backbone),
        "taught": train(shots, labels, fewer, backbone=backbone, unlabeled=log),
    }
    answers = {
        name: predict_proba(checkpoint, backbone, [example.text for example in new]).argmax(1)
        for name, checkpoint in trained.items()
    }
    gold, facts = np.array(labels.indices(new)), trained["taught"].facts.head.taught
    return {
        "log_texts": len(log),
        "test_texts": len(new),
        "accuracy": {name: 100 * float((answer == gold).mean()) for name, answer in answers.items()},
        "label_changes": {
            name: 100 * float((answers[name] != answers["all"]).mean()) for name in ("untaught", "taught")
        },
        "of_the_log": None if facts is None else facts.to_json(),
    }


def by_set(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the means over the seeds."""
    head = "| set | all layers | untaught | taught | label changes untaught | taught | stated by training |"
    lines = [head, "|---|" + "---|" * 6]
    for name in [*dict.fromkeys(row["set"] for row in rows), "mean"]:
        chosen = [row for row in rows if name in (row["set"], "mean")]
        accuracy = {part: np.mean([row["accuracy"][part] for row in chosen]) for part in ("all", "untaught", "taught")}
        changes = [np.mean([row["label_changes"][part] for row in chosen]) for part in ("untaught", "taught")]
        changes.append(np.mean([100 * row["of_the_log"]["label_changes"] / row["log_texts"] for row in chosen]))
        losses = [f"{accuracy[part]:.1f} ({accuracy[part] - accuracy['all']:+.1f})" for part in ("untaught", "taught")]
        cells = [name, f"{accuracy['all']:.1f}", *losses, *(f"{share:.1f}%" for share in changes)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--seeds", default="13,21", help="seeds of the random splits; default: 13,21")
    parser.add_argument("--shots", default=16, type=int, help="examples per label; default: 16")
    parser.add_argument("--layers", default=3, type=int, help="layers of the shallow heads; default: 3")
    parser.add_argument("--texts", default=500, type=int, help="maximum number of texts of the log; default: 500")
    parser.add_argument("--max-test", default=500, type=int, help="maximum number of test texts; default: 500")
    parser.add_argument(
        "--output", default="out/taught_layers.json", type=Path, help="JSON file of results; known runs are kept"
    )
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else []
    for name in arguments.sets.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            key = {"set": name, "seed": seed, "layers": arguments.layers}
            if not any(row.items() >= key.items() for row in rows):
                rows.append(key | measure(arguments.data_root / name, backbone, arguments, seed))
                arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    print(by_set(rows))


if __name__ == "__main__":
    main()
