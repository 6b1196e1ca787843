"""Which texts get a label with ``--abstain-at coverage=0.95``, with and without what length adds to the similarity of a text.

    python -m benchmarks.accuracy.coverage_by_length --data-root DATA

For each task: the share that gets a label of all test texts, of the short ones, and of texts that belong to no label: the out-of-scope
texts of the task if it has some, and texts of other tasks. The shots choose the thresholds; test texts only measure.
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
    parser.add_argument("--seed", type=int, default=13, help="seed of the random split")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/coverage_by_length.json"), help="JSON file"
    )
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    folders = {name: arguments.data_root / name for name in TASKS} | {"support_desk": Path("examples/support_desk")}
    rows = []
    print("| task | texts | number | without | with |\n|---|---|---|---|---|")
    for name, (count, short) in TASKS.items():
        labels, pool, test = load(folders[name])
        shots = draw_shots(pool, count, arguments.seed)
        config = TrainConfig(abstain_at="coverage=0.95", seed=arguments.seed)
        trained = train(shots, labels, config, backbone=backbone)
        with patch("crosstune.heads.default.fit.length_offsets", lambda *_: np.empty(0, np.float32)):
            plain = train(shots, labels, config, backbone=backbone)
        own: list[Text] = [example.content for example in test[:MOST_TEXTS]]
        everything = read_examples(folders[name] / "test.jsonl")
        parts = {
            "test": own,
            f"test, up to {short} words": [text for text in own if len(str(text).split()) <= short],
            "out of scope": [example.content for example in everything if example.label not in labels.names],
            "of other tasks": [
                example.content
                for other in TASKS
                if other != name
                for example in load(folders[other])[2][:FOREIGN_TEXTS]
            ],
        }
        for part, texts in parts.items():
            if texts:
                shares = [answered(checkpoint, backbone, texts) for checkpoint in (plain, trained)]
                rows.append(
                    {"task": name, "texts": part, "number": len(texts), "without": shares[0], "with": shares[1]}
                )
                print(
                    f"| {name} | {part} | {len(texts)} | {100 * shares[0]:.1f}% | {100 * shares[1]:.1f}% |", flush=True
                )
    arguments.output.write_text(json.dumps({"seed": arguments.seed, "rows": rows}, indent=1) + "\n", "utf-8")


def answered(checkpoint: Checkpoint, backbone: Backbone, texts: list[Text]) -> float:
    """Share of texts that get a label, in [0, 1]."""
    _, similarity = predict_with_similarity(checkpoint, backbone, texts)
    assert similarity is not None and checkpoint.min_similarity is not None
    return float((similarity >= checkpoint.min_similarity).mean())


if __name__ == "__main__":
    main()
