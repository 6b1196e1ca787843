"""Add a label to a bundle by its description alone: are its texts recognised, and what happens to the other labels?

    python -m benchmarks.accuracy.add_label --bundle out/news.bundle --data DATA/ag_news --others DATA/dbpedia14 \
        --labels Plant,Film,Village

Each label of the other dataset is added to a copy of the bundle with ``crosstune-export labels add``, in a process that
cannot import torch or onnx. Its own test texts should get the new label. The texts of the bundle's dataset should keep
their labels, and the logits of the old labels must not change.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from crosstune import read_examples
from crosstune_export import Classifier

EDIT = """
import sys
for name in ("torch", "onnx", "onnxscript", "transformers"):
    sys.modules[name] = None  # importing it fails
from crosstune_cli.export_app import main
main()
"""


def logits(probs: np.ndarray) -> np.ndarray:
    """Scores up to a constant a row, float64."""
    return np.log(np.maximum(probs.astype(np.float64), 1e-12))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--data", type=Path, required=True, help="dataset that the bundle was trained on")
    parser.add_argument("--others", type=Path, required=True, help="dataset that the new labels come from")
    parser.add_argument("--labels", required=True, help="labels to add, separated by commas")
    parser.add_argument("--output", type=Path, default=Path("out/add_label.json"), help="JSON file to write")
    arguments = parser.parse_args()
    descriptions = json.loads((arguments.others / "labels.json").read_text("utf-8"))
    old = Classifier.load(arguments.bundle)
    own = read_examples(arguments.data / "test.jsonl")
    foreign = read_examples(arguments.others / "test.jsonl")
    texts, gold = [example.text for example in own], [example.label for example in own]
    before = old.predict_proba(texts)
    right = np.array([old.labels[index] for index in before.argmax(1)]) == gold
    report = {"accuracy_before": float(right.mean()), "texts": len(texts), "labels": {}}
    print(
        "| new label | its texts recognised | accuracy on the old texts before | after | largest logit change | seconds |"
    )
    print("|---|---|---|---|---|---|")
    for name in arguments.labels.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            bundle = Path(shutil.copytree(arguments.bundle, Path(temporary) / "x.bundle"))
            started = time.perf_counter()
            line = [sys.executable, "-c", EDIT, "labels", "add", str(bundle), name, descriptions[name]]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
            new = Classifier.load(bundle)
            after = new.predict_proba(texts)
            mine = [example.text for example in foreign if example.label == name]
            recognised = new.predict_proba(mine).argmax(1) == len(new.labels) - 1
        still = np.array([new.labels[index] for index in after.argmax(1)]) == gold
        sure = (before > 1e-6).all(1) & (after[:, :-1] > 1e-6).all(1)  # float32 probabilities hold no smaller logits
        shift = (logits(after)[:, :-1] - logits(before))[sure]
        moved = float(np.abs(shift - shift.mean(1, keepdims=True)).max())
        report["labels"][name] = {
            "recognised": float(recognised.mean()),
            "its_texts": len(mine),
            "accuracy_after": float(still.mean()),
            "logits_moved": moved,
            "logits_compared": int(sure.sum()),
            "edit_s": seconds,
        }
        print(
            f"| {name} | {100 * recognised.mean():.1f}% of {len(mine)} | {100 * right.mean():.1f}% | "
            f"{100 * still.mean():.1f}% | {moved:.1e} | {seconds:.2f} |",
            flush=True,
        )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
