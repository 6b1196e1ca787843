"""Which texts get a label with ``--abstain-at coverage=0.95``, with and without what length adds to the similarity of a text.

    python -m benchmarks.accuracy.coverage_by_length --data-root DATA

For each task: the share that gets a label of all test texts, of the short ones, and of texts that belong to no label: the out-of-scope
texts of the task if it has some, and texts of other tasks, long or short. The shots choose the thresholds; test texts only measure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.accuracy.unbalanced import load
from crosstune import Checkpoint, TrainConfig, draw_shots, read_examples, train
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_with_similarity
from crosstune.core.token_layout import Text

#: Examples per label of each task, and words up to which a text counts as short.
TASKS = {
    "clinc150_plus": (8, 4),
    "support_desk": (16, 8),
    "trec": (16, 6),
    "sst2": (16, 8),
    "emotion": (16, 8),
    "ag_news": (16, 25),
}
#: Texts of each other task.
FOREIGN_TEXTS, MOST_TEXTS = 100, 1000


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--tasks", default=",".join(TASKS), help="tasks, separated by commas; default: all")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits; default: 13,21,42")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmarks/results/coverage_by_length.json"),
        help="JSON file; rows of other tasks stay in it",
    )
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    folders = {name: arguments.data_root / name for name in TASKS} | {"support_desk": Path("examples/support_desk")}
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    foreign = {
        name: [example.content for example in load(folder)[2][:FOREIGN_TEXTS]] for name, folder in folders.items()
    }
    print("| task | texts | number | without | with |\n|---|---|---|---|---|")
    for name in arguments.tasks.split(","):
        count, short = TASKS[name]
        labels, pool, test = load(folders[name])
        everything = read_examples(folders[name] / "test.jsonl")
        own: list[Text] = [example.content for example in test[:MOST_TEXTS]]
        others: list[Text] = [text for other in TASKS if other != name for text in foreign[other]]
        texts = {
            "test": own,
            f"test, up to {short} words": _short(own, short),
            "out of scope": [example.content for example in everything if example.label not in labels.names],
            "of other tasks": others,
            f"of other tasks, up to {short} words": _short(others, short),
        }
        texts = {part: found for part, found in texts.items() if found}
        shares = []
        for seed in seeds:
            shots = draw_shots(pool, count, seed)
            config = TrainConfig(abstain_at="coverage=0.95", seed=seed)
            trained = train(shots, labels, config, backbone=backbone)
            with patch("crosstune.heads.default.fit.length_offsets", lambda *_: np.empty(0, np.float32)):
                plain = train(shots, labels, config, backbone=backbone)
            shares.append([[answered(head, backbone, found) for head in (plain, trained)] for found in texts.values()])
            if len(pool) == len(shots):  # all examples are shots, whatever the seed
                break
        kept = json.loads(arguments.output.read_text("utf-8"))["rows"] if arguments.output.exists() else []
        rows = [row for row in kept if row["task"] != name]
        for (part, found), of_seeds in zip(texts.items(), np.transpose(shares, (1, 2, 0)), strict=True):
            without, with_lengths = (100 * float(values.mean()) for values in of_seeds)
            print(f"| {name} | {part} | {len(found)} | {without:.1f}% | {with_lengths:.1f}% |", flush=True)
            row = {"task": name, "texts": part, "number": len(found), "seeds": seeds[: len(shares)]}
            rows.append(row | dict(zip(("without", "with"), of_seeds.tolist(), strict=True)))
        rows.sort(key=lambda row: list(TASKS).index(row["task"]))
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


def _short(texts: list[Text], words: int) -> list[Text]:
    return [text for text in texts if len(str(text).split()) <= words]


def answered(checkpoint: Checkpoint, backbone: Backbone, texts: list[Text]) -> float:
    """Share of texts that get a label, in [0, 1]."""
    _, similarity = predict_with_similarity(checkpoint, backbone, texts)
    assert similarity is not None and checkpoint.min_similarity is not None
    return float((similarity >= checkpoint.min_similarity).mean())


if __name__ == "__main__":
    main()
