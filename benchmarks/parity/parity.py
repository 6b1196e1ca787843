"""Answers of a bundle compared with the checkpoint: torch with the fp32 graph and with the int8 graph, on labelled texts.

    python -m benchmarks.parity.parity CKPT --data DATA/ag_news/test.jsonl

Besides the texts of the file, texts are cut and joined so that lengths range from no token to the maximum.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from crosstune import load_checkpoint, read_examples
from crosstune.checkpoint import predict_proba
from crosstune_export import Classifier
from crosstune_export.builder.pipeline import BuildConfig, build

LONG = 120


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint folder")
    parser.add_argument("--data", required=True, help="labelled examples")
    parser.add_argument("--output", default="out/parity.json", help="JSON file to write")
    arguments = parser.parse_args()
    trained = load_checkpoint(arguments.checkpoint)
    backbone = trained.load_backbone(device="cpu")
    examples = read_examples(arguments.data)
    texts = [example.text for example in examples]
    words = " ".join(texts).split()
    maximum = trained.tokens.max_length_tokens
    lengths = np.linspace(0, maximum * 1.2, LONG).astype(int)
    varied = [" ".join(words[7 * i : 7 * i + count]) for i, count in enumerate(lengths)]

    report: dict[str, object] = {
        "texts": len(texts),
        "lengths_tried": [0, maximum],
        "data": Path(arguments.data).parent.name,
    }
    with tempfile.TemporaryDirectory() as folder:
        bundles = {}
        for precision in ("fp32", "int8"):
            path = Path(folder) / f"{precision}.bundle"
            result = build(arguments.checkpoint, path, BuildConfig(precision=precision))
            bundles[precision] = Classifier.load(path, threads=2)
            report[f"{precision}_bytes"] = result.size_bytes
    expected = predict_proba(trained, backbone, texts + varied)
    for precision, classifier in bundles.items():
        for batch_size in (1, 8, 32):
            found = classifier.predict_proba(texts + varied, batch_size=batch_size)
            report[f"{precision}_batch_{batch_size}"] = {
                "max_prob_difference_to_torch": float(np.abs(found - expected).max()),
                "labels_equal_percent": 100 * float((found.argmax(1) == expected.argmax(1))[: len(texts)].mean()),
                "accuracy": float((found.argmax(1)[: len(texts)] == trained.labels.indices(examples)).mean()),
            }
    report["accuracy_torch"] = float((expected.argmax(1)[: len(texts)] == trained.labels.indices(examples)).mean())
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.output).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
