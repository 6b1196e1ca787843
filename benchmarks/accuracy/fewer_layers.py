"""How many layers ``--layers auto`` keeps, and the accuracy on held-out shots and test texts.

    python -m benchmarks.accuracy.fewer_layers --data-root DATA --sets sms_spam,subj --seeds 13,21,42

The shots choose the layers, as for users; test texts only measure. The latency with fewer layers is measured by
``benchmarks.latency.latency``, with a bundle of each depth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from crosstune import TrainConfig, draw_shots, read_examples, read_labels
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint, predict_proba
from crosstune.data.examples import Example
from crosstune.training import train


def accuracy(checkpoint: Checkpoint, backbone: Backbone, test: Sequence[Example]) -> float:
    """Of a head on test texts, in [0, 1]."""
    probs = predict_proba(checkpoint, backbone, [example.content for example in test])
    gold = checkpoint.labels.indices(test)
    return float((probs.argmax(1) == gold).mean())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument(
        "--sets",
        default="sst2,mr,cr,subj,trec,emotion,ag_news,sms_spam,sst5,snips,yelp_polarity,dbpedia14",
        help="datasets, separated by commas",
    )
    parser.add_argument("--shots", type=int, default=16, help="examples per label")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits")
    parser.add_argument("--max-test", type=int, default=1000, help="maximum number of test texts per dataset")
    parser.add_argument("--backbone", default="minilm", help="minilm (packaged), a folder or a hub id")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/exit_layers.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    backbone = Backbone.load(arguments.backbone)
    rows = []
    print(
        "| dataset | seed | layers chosen | held-out accuracy, all layers | chosen | test accuracy, all layers | chosen |\n|"
        + "---|" * 7
    )
    for name in arguments.sets.split(","):
        folder = arguments.data_root / name
        labels = read_labels(folder / "labels.json")
        pool, test = read_examples(folder / "train.jsonl"), read_examples(folder / "test.jsonl")[: arguments.max_test]
        for seed in map(int, arguments.seeds.split(",")):
            shots = draw_shots(pool, arguments.shots, seed)
            whole, chosen = (
                train(shots, labels, TrainConfig(seed=seed, layers=layers), backbone=backbone)
                for layers in (None, "auto")
            )
            row = {
                "set": name,
                "seed": seed,
                "layers": chosen.head.spec.last_layer,
                "held_out_all": whole.quality.cv_accuracy,
                "held_out": chosen.quality.cv_accuracy,
                "test_all": accuracy(whole, backbone, test),
                "test": accuracy(chosen, backbone, test),
            }
            rows.append(row)
            figures = [f"{100 * row[key]:.1f}" for key in ("held_out_all", "held_out", "test_all", "test")]
            print("| " + " | ".join([name, str(seed), str(row["layers"]), *figures]) + " |", flush=True)
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            lines = ",\n ".join(map(json.dumps, rows))
            arguments.output.write_text(f'{{"shots": {arguments.shots}, "rows": [\n {lines}\n]}}\n', "utf-8")


if __name__ == "__main__":
    main()
