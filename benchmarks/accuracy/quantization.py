"""Labels and accuracy of int8 bundles compared with fp32.

    python -m benchmarks.accuracy.quantization --data-root DATA --sets ag_news,sst2,trec,emotion,subj,cr

For each dataset a head is trained on 16 shots per label and built in both precisions with default settings. Both
bundles classify every test text. ``benchmarks.parity.invariance`` measures whether an answer depends on anything but
its text.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from crosstune import TrainConfig, read_examples, read_labels, train
from crosstune.backbone.frozen import Backbone
from crosstune.evaluation.metrics import rate_interval
from crosstune_export import Classifier
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.report import mcnemar


def measure(folder: Path, backbone: Backbone, shots: int, seed: int) -> dict[str, object]:
    """All figures of one set."""
    labels = read_labels(folder / "labels.json")
    pool, test = read_examples(folder / "train.jsonl"), read_examples(folder / "test.jsonl")
    texts, gold = [example.text for example in test], np.array(labels.indices(test))
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "x.ckpt"
        train(pool, labels, TrainConfig(shots=shots, seed=seed), backbone=backbone).save(checkpoint)
        paths = {precision: Path(temporary) / f"{precision}.bundle" for precision in ("fp32", "int8")}
        for precision, path in paths.items():
            build(checkpoint, path, BuildConfig(precision=precision, max_flips_percent=100))
        expected = Classifier.load(paths["fp32"]).predict_proba(texts, batch_size=1)
        found = Classifier.load(paths["int8"]).predict_proba(texts, batch_size=1)
    before, after = expected.argmax(1), found.argmax(1)
    flips = int((before != after).sum())
    lost, won = int(((before == gold) & (after != gold)).sum()), int(((before != gold) & (after == gold)).sum())
    return {
        "texts": len(texts),
        "flips": flips,
        "flips_interval_percent": [100 * end for end in rate_interval(flips, len(texts))],
        "accuracy_fp32": float((before == gold).mean()),
        "accuracy_int8": float((after == gold).mean()),
        "mcnemar_p": mcnemar(lost, won),
        "max_prob_difference": float(np.abs(found - expected).max()),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default="ag_news,sst2,trec,emotion,subj,cr", help="datasets, separated by commas")
    parser.add_argument("--backbone", default="minilm", help="minilm (packaged), a folder or a hub id")
    parser.add_argument("--shots", type=int, default=16, help="examples per label")
    parser.add_argument("--seed", type=int, default=13, help="seed of the random split")
    parser.add_argument("--output", default="out/quantization.json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    backbone = Backbone.load(arguments.backbone, device="cpu")
    report = {}
    print("| dataset | texts | label changes | accuracy fp32 | accuracy int8 | McNemar p |\n|---|---|---|---|---|---|")
    for name in arguments.sets.split(","):
        row = measure(arguments.data_root / name, backbone, arguments.shots, arguments.seed)
        report[name] = row
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        print(
            f"| {name} | {row['texts']} | {row['flips']} | {100 * row['accuracy_fp32']:.1f} "
            f"| {100 * row['accuracy_int8']:.1f} | {row['mcnemar_p']:.2g} |",
            flush=True,
        )
    texts, flips = (sum(row[key] for row in report.values()) for key in ("texts", "flips"))
    print(f"\n{flips} of {texts} labels differ from fp32 ({100 * flips / texts:.2f}%).")


if __name__ == "__main__":
    main()
