"""Labels and accuracy of int8 bundles compared with fp32, by onnxruntime's kernels and by the fast ones.

    python -m benchmarks.accuracy.quantization --data-root DATA --sets ag_news,sst2,trec,emotion,subj,cr

For each dataset a head is trained on 16 shots per label and built in both precisions with default settings. Both
bundles classify every test text. Each row also has the share of labels that the build expected int8 to change.
``benchmarks.parity.invariance`` measures whether an answer depends on anything but its text.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crosstune import TrainConfig, read_examples, read_labels, train
from crosstune.backbone.frozen import Backbone
from crosstune.evaluation.metrics import rate_interval
from crosstune_export import Classifier
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.report import mcnemar

Probs = npt.NDArray[np.float32]


def measure(folder: Path, backbone: Backbone, shots: int, seed: int, kernels: Sequence[str]) -> dict[str, object]:
    """All figures of one set, for each choice of kernels."""
    labels = read_labels(folder / "labels.json")
    pool, test = read_examples(folder / "train.jsonl"), read_examples(folder / "test.jsonl")
    texts, gold = [example.text for example in test], np.array(labels.indices(test))
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "x.ckpt"
        train(pool, labels, TrainConfig(shots=shots, seed=seed), backbone=backbone).save(checkpoint)
        paths = {precision: Path(temporary) / f"{precision}.bundle" for precision in ("fp32", "int8")}
        for precision, path in paths.items():
            result = build(checkpoint, path, BuildConfig(precision=precision, max_flips_percent=100))
        quality = result.manifest.quality_facts  # of int8, the last
        expected = Classifier.load(paths["fp32"]).predict_proba(texts, batch_size=1)
        found = {
            name: Classifier.load(paths["int8"], kernels=name).predict_proba(texts, batch_size=1) for name in kernels
        }
    assert quality.expected_changes is not None
    compared = [part for part in (quality.to_fp32, quality.to_fp32_truncated) if part is not None]
    facts = {
        "texts": len(texts),
        "accuracy_fp32": float((expected.argmax(1) == gold).mean()),
        "expected_flips": quality.expected_changes.to_json(),
        "flips_of_compared_texts": [sum(part.label_changes for part in compared), sum(part.texts for part in compared)],
    }
    return facts | {name: compare(expected, probs, gold) for name, probs in found.items()}


def compare(expected: Probs, probs: Probs, gold: npt.NDArray[np.int64]) -> dict[str, object]:
    """Int8 compared with fp32: float32 (N, L), and the true classes (N,)."""
    before, after = expected.argmax(1), probs.argmax(1)
    flips = int((before != after).sum())
    lost, won = int(((before == gold) & (after != gold)).sum()), int(((before != gold) & (after == gold)).sum())
    return {
        "flips": flips,
        "flips_interval_percent": [100 * end for end in rate_interval(flips, len(gold))],
        "accuracy": float((after == gold).mean()),
        "mcnemar_p": mcnemar(lost, won),
        "max_prob_difference": float(np.abs(probs - expected).max()),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default="ag_news,sst2,trec,emotion,subj,cr", help="datasets, separated by commas")
    parser.add_argument("--backbone", default="minilm", help="minilm (packaged), a folder or a hub id")
    parser.add_argument("--shots", type=int, default=16, help="examples per label")
    parser.add_argument("--seed", type=int, default=13, help="seed of the random split")
    parser.add_argument("--kernels", default="portable,fast", help="kernels of the int8 bundle, separated by commas")
    parser.add_argument("--output", default="out/quantization.json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    backbone, kernels = Backbone.load(arguments.backbone, device="cpu"), arguments.kernels.split(",")
    report: dict[str, dict[str, Any]] = {}
    print(
        "| dataset | texts | kernels | label changes | expected (95% interval) | accuracy fp32 | accuracy int8 | McNemar p |\n"
        + "|---" * 8
        + "|"
    )
    for name in arguments.sets.split(","):
        row = measure(arguments.data_root / name, backbone, arguments.shots, arguments.seed, kernels)
        report[name] = row
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        share, low, high = (100 * row["expected_flips"][key] for key in ("share", "low", "high"))
        said = f"{share:.1f}% ({low:.1f} to {high:.1f})"
        for kind in kernels:
            int8 = row[kind]
            print(
                f"| {name} | {row['texts']} | {kind} | {int8['flips']} ({100 * int8['flips'] / row['texts']:.1f}%) | {said} "
                f"| {100 * row['accuracy_fp32']:.1f} "
                f"| {100 * int8['accuracy']:.1f} | {int8['mcnemar_p']:.2g} |",
                flush=True,
            )
    texts = sum(row["texts"] for row in report.values())
    for kind in kernels:
        flips = sum(row[kind]["flips"] for row in report.values())
        print(f"\n{kind}: {flips} of {texts} labels differ from fp32 ({100 * flips / texts:.2f}%).")


if __name__ == "__main__":
    main()
