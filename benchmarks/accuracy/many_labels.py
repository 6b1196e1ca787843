"""Hundreds of labels: processor time of training, size per label, label changes of int8, and accuracy.

    python -m benchmarks.accuracy.many_labels --data-root DATA time
    python -m benchmarks.accuracy.many_labels --data-root DATA size
    python -m benchmarks.accuracy.many_labels --data-root DATA accuracy

``time`` and ``size`` join the labels of seven datasets; beyond them, a label is described by one text of a dataset's class, with the next
texts of that class as shots. ``time`` runs ``crosstune train`` with an empty cache, in a process of its own whose processor time counts,
start included. ``size`` builds the same head in fp32 and int8, and both bundles classify test texts of the datasets. The size per label
is the int8 bundle's beyond that of a bundle with the first two labels.

``accuracy`` trains on a few shots of datasets with many labels, with the product's number of label queries or, with ``--queries``, with
others. ``--name`` keeps rows of several versions beside each other.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.unbalanced import load
from crosstune import LabelSet, TrainConfig, draw_shots, train
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_proba
from crosstune.data.examples import Example
from crosstune.evaluation.metrics import rate_interval
from crosstune.heads.default import queries
from crosstune_export import Classifier
from crosstune_export.builder.pipeline import BuildConfig, build

JOINED = ("clinc150_plus", "banking77", "dbpedia14", "snips", "trec", "emotion", "ag_news")
PROGRAM = "from crosstune_cli.entry import crosstune; crosstune()"


def joined(root: Path, count: int, shots: int) -> tuple[LabelSet, list[Example], list[str]]:
    """So many labels with their shots, and test texts.

    Returns:
        The labels, their shots, and up to 150 test texts of each dataset.
    """
    described: dict[str, str] = {}
    examples: list[Example] = []
    left: list[tuple[str, list[str]]] = []
    tests: list[str] = []
    for folder in JOINED:
        labels, pool, test = load(root / folder)
        tests += [example.text for example in test[:150]]
        texts: dict[str, list[str]] = {label.name: [] for label in labels}
        for example in pool:
            texts[example.label].append(example.text)
        for label in labels:
            name = f"{folder} {label.name}"
            described[name] = label.descriptions[0]
            examples += [Example(text, name) for text in texts[label.name][:shots]]
            left.append((name, texts[label.name][shots:]))
    for number in range(count - len(described)):
        name, rest = left[number % len(left)]
        first = number // len(left) * (shots + 1)
        described[f"{name} {number}"] = rest[first]
        examples += [Example(text, f"{name} {number}") for text in rest[first + 1 : first + 1 + shots]]
    kept = dict(list(described.items())[:count])
    return LabelSet.from_mapping(kept), [example for example in examples if example.label in kept], tests


def write_task(folder: Path, labels: LabelSet, examples: Sequence[Example]) -> list[str]:
    """Write a task's files, and give the options of ``crosstune train`` for them."""
    described = {label.name: label.descriptions[0] for label in labels}
    (folder / "labels.json").write_text(json.dumps(described), "utf-8")
    rows = [json.dumps({"text": example.text, "label": example.label}) for example in examples]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return ["--train", str(folder / "train.jsonl"), "--labels", str(folder / "labels.json")]


def processor_seconds(command: Sequence[str], cache: Path) -> float:
    """Processor time of a command with a feature cache of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {"CROSSTUNE_CACHE": str(cache)}
    subprocess.run(["env", *(f"{name}={value}" for name, value in environment.items()), *command], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train_time(root: Path, count: int, shots: int) -> dict[str, Any]:
    """Processor time of training on so many labels."""
    labels, examples, _ = joined(root, count, shots)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = write_task(folder, labels, examples)
        command = [sys.executable, "-c", PROGRAM, "train", *options, "--output", str(folder / "many.ckpt")]
        seconds = processor_seconds(command, folder / "cache")
    return {"labels": count, "shots": shots, "train_processor_s": round(seconds, 1)}


def size(root: Path, count: int, shots: int) -> dict[str, Any]:
    """Size and label changes of int8 bundles with so many labels."""
    labels, examples, texts = joined(root, count, shots)
    few = LabelSet(tuple(labels)[:2])
    bytes_of, answers = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train(examples, labels).save(folder / "many")
        train([example for example in examples if example.label in few.names], few).save(folder / "few")
        for trained, precision in (("few", "int8"), ("many", "int8"), ("many", "fp32")):
            bundle = folder / f"{trained}-{precision}.bundle"
            build(folder / trained, bundle, BuildConfig(precision, max_flips_percent=100))
            bytes_of[bundle.stem] = sum(file.stat().st_size for file in bundle.iterdir())
            if trained == "many":
                classifier = Classifier.load(bundle, kernels="portable")
                answers[precision] = classifier.predict_proba(texts).argmax(1)
    changes = int((answers["fp32"] != answers["int8"]).sum())
    return {
        "labels": count,
        "shots": shots,
        "kb_per_label": round((bytes_of["many-int8"] - bytes_of["few-int8"]) / (count - 2) / 1000, 2),
        "bundle_mb": round(bytes_of["many-int8"] / 1e6, 2),
        "test_texts": len(texts),
        "label_changes_percent": 100 * changes / len(texts),
        "label_changes_interval": [100 * end for end in rate_interval(changes, len(texts))],
    }


def accuracy(folder: Path, shots: int, seed: int, backbone: Backbone) -> dict[str, Any]:
    """Accuracy on test texts, and on held-out shots, of a dataset."""
    labels, pool, test = load(folder)
    trained = train(draw_shots(pool, shots, seed), labels, TrainConfig(seed=seed), backbone=backbone)
    gold = np.array(labels.indices(test))
    right = predict_proba(trained, backbone, [example.text for example in test]).argmax(1) == gold
    return {
        "set": folder.name,
        "shots": shots,
        "seed": seed,
        "queries": 0 if trained.head.queries is None else trained.head.queries.shape[1],
        "held_out": trained.quality.cv_accuracy,
        "held_out_loss": trained.quality.cv_loss,
        "test_texts": len(gold),
        "test": float(right.mean()),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("time", "size", "accuracy"), help="what to measure")
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--labels", default=500, type=int, help="number of labels of time and size; default: 500")
    parser.add_argument("--sets", default="banking77,clinc150_plus", help="datasets of accuracy")
    parser.add_argument("--shots", default="2", help="examples per label, separated by commas; default: 2")
    parser.add_argument("--seeds", default="13,21,42", help="seeds of the random splits; default: 13,21,42")
    parser.add_argument("--queries", type=int, help="queries of each label, in place of the product's choice")
    parser.add_argument("--name", default="now", help="what to call the rows; default: now")
    parser.add_argument("--output", default="out/many_labels.json", type=Path, help="JSON file; known rows are kept")
    arguments = parser.parse_args()
    shots = [int(count) for count in arguments.shots.split(",")]
    rows: list[dict[str, Any]] = []
    if arguments.output.exists():
        rows = json.loads(arguments.output.read_text("utf-8"))

    def keep(row: dict[str, Any]) -> None:
        rows.append({"name": arguments.name, **row})
        print(json.dumps(rows[-1]), flush=True)
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")

    if arguments.what != "accuracy":
        measure = train_time if arguments.what == "time" else size
        keep(measure(arguments.data_root, arguments.labels, shots[0]))
        return
    if arguments.queries is not None:
        queries.QUERIES_PER_LABEL, queries.MOST_QUERIES = arguments.queries, sys.maxsize
    backbone = Backbone.load("minilm", device="cpu")
    for name in arguments.sets.split(","):
        for count in shots:
            for seed in map(int, arguments.seeds.split(",")):
                keep(accuracy(arguments.data_root / name, count, seed, backbone))
    known = [row for row in rows if "test" in row]
    print("| version | set | shots | test accuracy |\n|---|---|---|---|")
    for version, name, count in dict.fromkeys((row["name"], row["set"], row["shots"]) for row in known):
        same = [row["test"] for row in known if (row["name"], row["set"], row["shots"]) == (version, name, count)]
        print(f"| {version} | {name} | {count} | {100 * np.mean(same):.2f} ({len(same)} seeds) |")


if __name__ == "__main__":
    main()
