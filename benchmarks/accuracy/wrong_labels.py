"""How well ``crosstune check`` finds wrong labels: a tenth of the shots gets another label at random.

    python -m benchmarks.accuracy.wrong_labels --data-root DATA --seeds 13,21,42

Shots are ranked by the loss of the head on held-out folds. Wrong labels are reviewed (corrected) or dropped among the top of the list.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy.accuracy_methods import Split, answers, cached_states
from benchmarks.accuracy.unbalanced import load
from crosstune import Example, TrainConfig, check_examples, draw_shots, train
from crosstune.backbone.frozen import Backbone
from crosstune.data.task import Task
from crosstune.features.encoding import encode
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.fit import fit_head

SETS = "trec,subj,sms_spam,mr,cr,sst2"
#: Share of the shots that get a wrong label.
WRONG = 0.1
COLUMNS = (
    "precision in the top 10%",
    "recall in the top 20%",
    "recall of check",
    "listed by check, %",
    "accuracy with wrong labels",
    "top 10% dropped",
    "top 20% reviewed",
    "right labels",
)


def figures(split: Split, seed: int) -> list[float]:
    """One value a column, of one split; shares in percent."""
    random = np.random.RandomState(seed)
    shots, names = list(split.shots), split.labels.names
    wrong = random.permutation(len(shots))[: round(WRONG * len(shots))]
    noisy = list(shots)
    for i in wrong:
        noisy[i] = replace(
            shots[i], label=names[random.choice([j for j, n in enumerate(names) if n != shots[i].label])]
        )
    config = TrainConfig(seed=seed)
    encoded = encode(Task(split.labels, noisy), split.backbone, encoding_plan(config, split.backbone))
    held_out = fit_head(encoded, np.arange(encoded.shots), config).held_out
    order = np.argsort(held_out[np.arange(len(noisy)), split.labels.indices(noisy)], kind="stable")
    tenth, fifth = order[: len(wrong)], order[: 2 * len(wrong)]
    listed = {
        found.example.content for found in check_examples(noisy, split.labels, config, backbone=split.backbone).suspects
    }
    found = sum(noisy[i].content in listed for i in wrong)
    reviewed = [shots[i] if i in fifth else example for i, example in enumerate(noisy)]
    dropped = [example for i, example in enumerate(noisy) if i not in tenth]
    return [
        100 * float(np.isin(tenth, wrong).mean()),
        100 * float(np.isin(wrong, fifth).mean()),
        100 * found / len(wrong),
        100 * len(listed) / len(noisy),
        *(accuracy(split, examples, config) for examples in (noisy, dropped, reviewed, shots)),
    ]


def accuracy(split: Split, shots: Sequence[Example], config: TrainConfig) -> float:
    """Accuracy on the test texts, in percent."""
    predicted = answers(split, train(shots, split.labels, config, backbone=split.backbone), 0.0).probs.argmax(1)
    return 100 * float((predicted == np.array(split.labels.indices(split.test))).mean())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--shots", default=16, type=int, help="examples per label; default: 16")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits; default: 13,21,42")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument("--output", default="out/wrong_labels.json", type=Path, help="JSON file of results")
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    rows: list[dict[str, object]] = []
    table = Table("set", *COLUMNS)
    means = []
    for name in arguments.sets.split(","):
        labels, pool, test = load(arguments.data_root / name)
        test = test[: arguments.max_test]
        states = cached_states(backbone, test)
        values = []
        for seed in map(int, arguments.seeds.split(",")):
            shots = draw_shots(pool, arguments.shots, seed)
            values.append(figures(Split(backbone, labels, shots, tuple(test), states, seed, None), seed))
            rows.append({"set": name, "seed": seed, **dict(zip(COLUMNS, values[-1], strict=True))})
        means.append(np.mean(values, 0))
        table.add_row(name, *(f"{value:.1f}" for value in means[-1]))
    table.add_row("mean", *(f"{value:.1f}" for value in np.mean(means, 0)))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
