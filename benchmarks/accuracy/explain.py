"""Deletion test of explanations: do the words that an explanation ranks first matter most?

    python -m benchmarks.accuracy.explain --data-root DATA --sets sst2,trec,ag_news

The words of each test text are ordered by their importance for the predicted label. One test removes the first fifth of
the words (at least one) from the text; a second test keeps only that fifth. The texts are classified with the public
``classify``, and the mean decrease of the label's probability is printed. Orders:

- ``left out`` (its name in the results): ``Classifier.explain``, which compares the text with and without each word.
- ``attention``: attention of the label's own queries to the tokens of a word, ``Σ softmax(8 · cos) · cos``, in torch.
- ``contribution``: the contribution of each token to the log-odds, in torch. All features are sums over tokens (a
  maximum belongs to one token), so the contributions add up to the log-odds, except for a constant.
- ``random``: mean of several random orders.

The head of a dataset is trained on 16 shots per label and built as int8, unless OUT already has its bundle.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from crosstune import draw_shots, load_checkpoint, read_examples, read_labels, train
from crosstune.checkpoint import Checkpoint
from crosstune.config import TrainConfig
from crosstune.features.attention import SHARPNESS
from crosstune.heads.default.head import PriorHead
from crosstune_export import Classifier

SHARE, DRAWS, SHOTS, SEED = 0.2, 5, 16, 13


def bundle_of(root: Path, out: Path, name: str) -> tuple[Checkpoint, Classifier]:
    """Train and build, or read existing files."""
    checkpoint, bundle = out / f"{name}.ckpt", out / f"{name}.bundle"
    if not checkpoint.exists():
        labels = read_labels(root / name / "labels.json")
        shots = draw_shots(read_examples(root / name / "train.jsonl"), SHOTS, SEED)
        train(shots, labels, TrainConfig(seed=SEED)).save(checkpoint)
    if not bundle.exists():
        from crosstune_export.builder.pipeline import BuildConfig, build

        build(checkpoint, bundle, BuildConfig(precision="int8", max_flips_percent=10))
    return load_checkpoint(checkpoint), Classifier.load(bundle)


class Inside:
    """Splits the output of a head into contributions of tokens."""

    def __init__(self, trained: Checkpoint) -> None:
        assert isinstance(trained.head, PriorHead)
        self.head, self.backbone, self.tokens = trained.head, trained.load_backbone(device="cpu"), trained.tokens

    def shares(self, text: str, answer: int) -> tuple[np.ndarray, np.ndarray]:
        """Attention and contribution of each position of a text, (T,), for a label."""
        head = self.head
        with torch.inference_mode():
            (_, hidden), *_ = self.backbone.batches([text], 1, self.tokens)
            states, mask = hidden.states, hidden.mask
            probs, vector = head(states, mask)
            others = probs[0].clone()
            others[answer] = 0
            slope = head.label_keys[answer] - (others / others.sum()) @ head.label_keys  # of the log-odds, (F,)
            size, count = states[0].shape[-1], len(head.spec.atoms)
            pieces = torch.zeros(int(mask.sum()))
            for index, atom in enumerate(head.spec.atoms):
                part = slope[index * size : (index + 1) * size]
                layer = states[atom.layer][0]
                if atom.pool == "mean":
                    length = layer.mean(0).norm()
                    pieces += layer @ part / (length * len(layer))
                elif atom.pool == "max":
                    values, at = layer.max(0)
                    pieces.index_add_(0, at, values * part / values.norm())
                else:  # the first token of the text
                    at = head.positions.first
                    pieces[at] += layer[at] @ part / layer[at].norm()
            attention = torch.zeros_like(pieces)
            queries, start = head.label_queries, size * count
            per_label = queries.shape[1] // len(head.label_keys)
            for index, layer in enumerate(head.spec.attention):
                cosine = torch.nn.functional.normalize(states[layer][0], dim=-1) @ queries[index].t()  # (T, Q)
                found = (SHARPNESS * cosine).softmax(0) * cosine
                pieces += found @ slope[start + index * queries.shape[1] : start + (index + 1) * queries.shape[1]]
                attention += found[:, answer * per_label : (answer + 1) * per_label].sum(1)
            whole = pieces.sum() - vector[0] @ slope
            assert abs(float(whole)) < 1e-3 * max(1.0, float(slope.abs().max())), f"shares do not add up: {whole}"
        return attention.numpy(), pieces.numpy()


def cut(text: str, spans: list[tuple[int, int]]) -> str:
    """A text without some of its words."""
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + " " + text[end:]
    return " ".join(text.split())


def measure(trained: Checkpoint, classifier: Classifier, texts: list[str]) -> dict[str, dict[str, np.ndarray]]:
    """Decrease of the label's probability, by order and test, (N,)."""
    inside, dice = Inside(trained), np.random.RandomState(SEED)
    orders: dict[str, list[list[np.ndarray]]] = {
        name: [] for name in ("left out", "attention", "contribution", "random")
    }
    spans, answers = [], []
    for index, text in enumerate(texts):
        print(f"\r{index + 1} of {len(texts)}", end="", file=sys.stderr, flush=True)
        found = classifier.explain(text)
        answer = int(found.prediction.probs.argmax())
        words = classifier._tokenizer.words(text)
        attention, pieces = inside.shares(text, answer)
        by_name = {
            "left out": [np.array([word.evidence[answer] for word in found.words])],
            "attention": [np.array([attention[word.tokens].sum() for word in words])],
            "contribution": [np.array([pieces[word.tokens].sum() for word in words])],
            "random": [dice.rand(len(words)) for _ in range(DRAWS)],
        }
        for name, scores in by_name.items():
            orders[name].append([np.argsort(-score, kind="stable") for score in scores])
        spans.append([(word.start, word.end) for word in words])
        answers.append(answer)
    print(file=sys.stderr)
    rows = np.arange(len(texts))
    whole = classifier.predict_proba(texts)[rows, answers]
    result: dict[str, dict[str, np.ndarray]] = {}
    for name, found in orders.items():
        result[name] = {}
        for test in ("taken out", "kept alone"):
            falls = []
            for draw in range(len(found[0])):
                changed = []
                for text, places, order in zip(texts, spans, found, strict=True):
                    count = max(1, round(SHARE * len(places)))
                    chosen = order[draw][:count] if test == "taken out" else order[draw][count:]
                    changed.append(cut(text, [places[at] for at in chosen]))
                falls.append(whole - classifier.predict_proba(changed)[rows, answers])
            result[name][test] = np.mean(falls, 0)
    return result


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default="sst2,trec,ag_news", help="datasets, separated by commas")
    parser.add_argument("--texts", type=int, default=150, help="test texts per dataset")
    parser.add_argument("--out", type=Path, default=Path("out/explain"), help="folder for checkpoints and bundles")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/explain.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    report = {}
    print("| dataset | order | first fifth removed | only the first fifth kept |\n|---|---|---|---|")
    for name in arguments.sets.split(","):
        trained, classifier = bundle_of(arguments.data_root, arguments.out, name)
        pool = [
            row.text for row in read_examples(arguments.data_root / name / "test.jsonl") if len(row.text.split()) >= 5
        ]
        chosen = np.random.RandomState(SEED).permutation(len(pool))[: arguments.texts]
        found = measure(trained, classifier, [pool[at] for at in chosen])
        report[name] = {}
        for order, tests in found.items():
            figures = {
                test: {"mean": float(falls.mean()), "standard_error": float(falls.std() / np.sqrt(len(falls)))}
                for test, falls in tests.items()
            }
            report[name][order] = figures
            cells = " | ".join(f"{figure['mean']:.3f} ± {figure['standard_error']:.3f}" for figure in figures.values())
            print(f"| {name} | {order} | {cells} |", flush=True)
    body = {"texts": arguments.texts, "share": SHARE, "shots": SHOTS, "seed": SEED, "sets": report}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(body, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
