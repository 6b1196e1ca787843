"""Which texts get a label with ``--abstain-at coverage=0.95``: without what length adds to similarity, with it, and with a log.

    python -m benchmarks.accuracy.coverage_by_length --data-root DATA

For each task: the share that gets a label of all test texts, of the short ones, and of texts that belong to no label: the out-of-scope
texts of the task if it has some, and texts of other tasks, long or short. The shots choose the thresholds, or up to 500 texts of the
training pool without their labels, which stand for a log; test texts only measure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.unbalanced import load
from crosstune import Checkpoint, TrainConfig, draw_shots, read_examples, train
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_with_similarity
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.heads.default.head import PriorHead

#: Examples per label of each task, and words up to which a text counts as short.
TASKS = {
    "clinc150_plus": (8, 4),
    "support_desk": (16, 8),
    "trec": (16, 6),
    "sst2": (16, 8),
    "emotion": (16, 8),
    "ag_news": (16, 25),
}
#: Texts of each other task, test texts, and texts of a log.
FOREIGN_TEXTS, MOST_TEXTS, LOG_TEXTS = 100, 1000, 500
VARIANTS = ("without", "with", "with_log")


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
    print("| task | texts | number | without | with | with a log |\n|---|---|---|---|---|---|")
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
            log = log_of(folders[name], pool, shots, seed)
            with patch("crosstune.heads.default.fit.length_offsets", lambda *_: np.empty(0, np.float32)):
                plain = train(shots, labels, config, backbone=backbone)
            by_shots = train(shots, labels, config, backbone=backbone)
            by_log = train(shots, labels, config, backbone=backbone, unlabeled=log)
            similarities = [cosines_and_tokens(plain, backbone, found) for found in texts.values()]
            shares.append([[answered(head, *found) for head in (plain, by_shots, by_log)] for found in similarities])
            if len(pool) == len(shots):  # all examples are shots, whatever the seed
                break
        kept = json.loads(arguments.output.read_text("utf-8"))["rows"] if arguments.output.exists() else []
        rows = [row for row in kept if row["task"] != name]
        for (part, found), of_seeds in zip(texts.items(), np.transpose(shares, (1, 2, 0)), strict=True):
            means = " | ".join(f"{100 * values.mean():.1f}%" for values in of_seeds)
            print(f"| {name} | {part} | {len(found)} | {means} |", flush=True)
            row = {"task": name, "texts": part, "number": len(found), "seeds": seeds[: len(shares)]}
            rows.append(row | dict(zip(VARIANTS, of_seeds.tolist(), strict=True)))
        rows.sort(key=lambda row: list(TASKS).index(row["task"]))
        arguments.output.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")


def _short(texts: list[Text], words: int) -> list[Text]:
    return [text for text in texts if len(str(text).split()) <= words]


def log_of(folder: Path, pool: list[Example], shots: list[Example], seed: int) -> list[Text]:
    """Texts without labels: the log of the task, or texts of its pool that are no shots."""
    if (folder / "log.txt").exists():
        return list((folder / "log.txt").read_text("utf-8").splitlines())
    known = {example.content for example in shots}
    rest = [example.content for example in pool if example.content not in known]
    return [rest[i] for i in np.random.RandomState(seed).permutation(len(rest))[:LOG_TEXTS]]


def cosines_and_tokens(
    plain: Checkpoint, backbone: Backbone, texts: list[Text]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Similarity before length is counted, which all variants have in common, and number of tokens, (N,) each."""
    _, cosines = predict_with_similarity(plain, backbone, texts)
    assert cosines is not None
    return cosines, np.array([len(row.ids) for row in backbone.tokenize(texts, plain.tokens)], np.int64)


def answered(checkpoint: Checkpoint, cosines: npt.NDArray[np.float32], tokens: npt.NDArray[np.int64]) -> float:
    """Share of texts that get a label, in [0, 1]."""
    assert isinstance(checkpoint.head, PriorHead) and checkpoint.min_similarity is not None
    offsets = checkpoint.head.scope_offsets.numpy()
    similarity = cosines + offsets[tokens] if len(offsets) else cosines
    return float((similarity >= checkpoint.min_similarity).mean())


if __name__ == "__main__":
    main()
