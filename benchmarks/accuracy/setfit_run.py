"""One SetFit run on given shots, in an environment of its own. ``accuracy.py`` calls it by path.

    SETFIT/bin/python benchmarks/accuracy/setfit_run.py --model DIR --train shots.jsonl --test test.jsonl --labels labels.json \
        --seed 13 --output probs.npy

Prints one JSON object: training time and versions. Writes float32 (N, L) probabilities of the test texts, with columns
in the order of the label file. Uses SetFit's default settings: one epoch over all oversampled pairs, batches of 16.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import setfit
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
from transformers import set_seed


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--train", "--test", "--labels", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    setfit.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    labels = list(json.loads(Path(arguments.labels).read_text("utf-8")))
    rows = [json.loads(line) for line in Path(arguments.train).read_text("utf-8").splitlines()]
    test = [json.loads(line) for line in Path(arguments.test).read_text("utf-8").splitlines()]

    set_seed(arguments.seed)
    model = SetFitModel.from_pretrained(arguments.model)
    separator = model.model_body.tokenizer.sep_token
    shots = Dataset.from_dict(
        {"text": [joined(row, separator) for row in rows], "label": [labels.index(row["label"]) for row in rows]}
    )
    settings = TrainingArguments(
        output_dir=str(Path(arguments.output).with_suffix(".trainer")),
        seed=arguments.seed,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        show_progress_bar=False,
    )
    trainer = Trainer(model=model, args=settings, train_dataset=shots)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    probs = model.predict_proba([joined(row, separator) for row in test], as_numpy=True, show_progress_bar=False)
    columns = np.zeros((len(test), len(labels)), np.float32)
    columns[:, np.asarray(model.model_head.classes_, int)] = probs
    np.save(arguments.output, columns)
    versions = {name: metadata.version(name) for name in ("setfit", "sentence-transformers", "transformers", "torch")}
    print(json.dumps({"train_seconds": seconds, "versions": versions}))


def joined(row: dict[str, str], separator: str) -> str:
    """One text; the texts of a pair with the separator token between them."""
    return row["text"] if row.get("text_pair") is None else f"{row['text']} {separator} {row['text_pair']}"


if __name__ == "__main__":
    main()
