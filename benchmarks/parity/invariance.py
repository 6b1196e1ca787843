"""Batch invariance: does the answer to a text depend on anything but the text?

    python -m benchmarks.parity.invariance --bundle out/news.bundle --data-root DATA --sets ag_news,sst2,trec,emotion

The reference is one text per call on one thread. It is compared with one text per call on two threads, and with batches
of 8 and 64 on one and two threads, both sorted by length (as ``Classifier`` does) and padded. Texts longer than
``--max-tokens`` are skipped to save time.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np

from crosstune import read_examples
from crosstune_export import Classifier
from crosstune_export.builder.parity import graph_probs
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.kernels import KERNELS
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer


def texts_of(root: Path, sets: list[str], classifier: Classifier, count: int, max_tokens: int) -> list[str]:
    """So many distinct test texts of at most so many tokens, in an order that mixes sets and lengths."""
    found = dict.fromkeys(example.text for name in sets for example in read_examples(root / name / "test.jsonl"))
    texts = list(found)
    lengths = [len(ids) for ids in classifier.token_ids(texts)]
    short = [text for text, length in zip(texts, lengths, strict=True) if length <= max_tokens]
    random.Random(13).shuffle(short)
    return short[:count]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default="ag_news,sst2,trec,emotion,subj,cr,mr,snips,banking77", help="datasets")
    parser.add_argument("--count", type=int, default=10_000, help="number of texts")
    parser.add_argument("--max-tokens", type=int, default=32, help="maximum tokens per text")
    parser.add_argument("--kernels", default="auto", choices=KERNELS, help="kernels to classify with")
    parser.add_argument("--output", type=Path, default=Path("out/invariance.json"), help="JSON file to write")
    arguments = parser.parse_args()
    files = read_bundle(arguments.bundle)
    manifest = files.manifest
    tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, "tokenizer")
    classifiers = {
        threads: Classifier.load(arguments.bundle, threads=threads, kernels=arguments.kernels) for threads in (1, 2)
    }
    texts = texts_of(
        arguments.data_root, arguments.sets.split(","), classifiers[1], arguments.count, arguments.max_tokens
    )
    rows = tokenizer.rows(texts)
    alone = classifiers[1].predict_proba(texts, batch_size=1)
    ways = {}
    print("| | label changes | largest probability difference |\n|---|---|---|")
    for threads, classifier in classifiers.items():
        session = open_session(files.model, manifest.graph, "graph", threads=threads, kernels=arguments.kernels)
        runs = {
            f"{kind}, {threads} threads": call
            for kind, call in (
                ("alone", lambda c=classifier: c.predict_proba(texts, batch_size=1)),
                ("batches of 8", lambda c=classifier: c.predict_proba(texts, batch_size=8)),
                ("batches of 64", lambda c=classifier: c.predict_proba(texts, batch_size=64)),
                ("padded batches of 8", lambda s=session: graph_probs(s, tokenizer, rows, 8)),
                ("padded batches of 64", lambda s=session: graph_probs(s, tokenizer, rows, 64)),
            )
            if (kind, threads) != ("alone", 1)
        }
        for name, call in runs.items():
            found = call()
            changes = int((found.argmax(1) != alone.argmax(1)).sum())
            ways[name] = {"label_changes": changes, "max_prob_difference": float(np.abs(found - alone).max())}
            print(f"| {name} | {changes} of {len(texts)} | {ways[name]['max_prob_difference']:.1e} |", flush=True)
    lengths = [len(row.ids) for row in rows]
    report = {
        "texts": len(texts),
        "tokens": {"shortest": min(lengths), "median": float(np.median(lengths)), "longest": max(lengths)},
        "kernels": classifiers[1].kernels,
        "precision": manifest.graph.precision,
        "labels": len(manifest.labels),
        "ways": ways,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
