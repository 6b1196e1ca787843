"""Bundles with early exits compared with the same bundles without: label changes, accuracy and time.

    python -m benchmarks.accuracy.early_exits --data-root DATA --sets sst2,mr,cr,subj,trec,ag_news,yelp_polarity,emotion,snips,sms_spam

For each set and seed a head is trained on 16 shots per label and built as int8 with early exits, with texts of the pool without their
labels as calibration. It is compared with the same graph with its exits closed, on test texts, on truncated test texts and on test texts
of another set. Time is processor time of the graph, batch 1, both graphs in turn for each text, on the kernels of onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.unbalanced import load
from crosstune import CrossTuneWarning, TrainConfig, draw_shots, train
from crosstune.backbone.frozen import Backbone
from crosstune.evaluation.metrics import rate_interval
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.probe_texts import truncated_texts
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.runtime.session import GraphSession, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

SETS = "sst2,mr,subj,trec,ag_news,yelp_polarity,emotion,snips,sms_spam"
#: Most texts of halves and of the other set, and rounds of timing.
MOST_OTHERS, ROUNDS = 400, 3


def _probs(session: GraphSession, tokenizer: TextTokenizer, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.stack([session.run(tokenizer.batch([row]).feeds())[0][0] for row in tokenizer.rows(texts)])


def _changes(sessions: Sequence[GraphSession], tokenizer: TextTokenizer, texts: Sequence[str]) -> float:
    """Share of the texts whose label the exits change, in percent."""
    closed, exits = (_probs(session, tokenizer, texts).argmax(1) for session in sessions)
    return 100 * float((closed != exits).mean())


def _times(sessions: Sequence[GraphSession], tokenizer: TextTokenizer, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Processor time of each text in milliseconds, (2, N): the least of several rounds."""
    feeds = [tokenizer.batch([row]).feeds() for row in tokenizer.rows(texts)]
    times = np.full((ROUNDS, len(sessions), len(feeds)), np.inf)
    for turn in range(ROUNDS):
        for at, feed in enumerate(feeds):
            for which, session in enumerate(sessions):
                started = time.process_time()
                session.run(feed)
                times[turn, which, at] = 1e3 * (time.process_time() - started)
    return np.asarray(times.min(0))


def measure(
    folder: Path, other: Path, backbone: Backbone, arguments: argparse.Namespace, seed: int
) -> dict[str, object]:
    """All figures of one set and seed."""
    labels, pool, test = load(folder)
    test = test[: arguments.max_test]
    texts, gold = [example.text for example in test], np.array(labels.indices(test))
    shots = draw_shots(pool, arguments.shots, seed)
    random, taken = np.random.RandomState(seed), {shot.text for shot in shots}
    log = [pool[i].text for i in random.permutation(len(pool)) if pool[i].text not in taken][: arguments.texts]
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint, path, file = (Path(temporary) / name for name in ("x.ckpt", "x.bundle", "log.jsonl"))
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in log), "utf-8")
        train(shots, labels, TrainConfig(seed=seed), backbone=backbone).save(checkpoint)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CrossTuneWarning)  # of exits that do not pay, which the table shows
            result = build(
                checkpoint,
                path,
                BuildConfig("int8", calibration=file, max_flips_percent=100, early_exit_percent=arguments.budget),
            )
        files = read_bundle(path)
    manifest = result.manifest
    row: dict[str, object] = {"set": folder.name, "seed": seed, "budget": arguments.budget, "texts": len(log)}
    tokenizer = TextTokenizer(files.tokenizer, manifest.tokens, manifest.text_pair, "tokenizer")
    sessions = [
        open_session(model, manifest.graph, "graph", kernels="portable")
        for model in (without_exits(files.model), files.model)
    ]
    closed, exits = (_probs(session, tokenizer, texts) for session in sessions)
    accuracies = [float(100 * (probs.argmax(1) == gold).mean()) for probs in (closed, exits)]
    changes = int((closed.argmax(1) != exits.argmax(1)).sum())
    facts = manifest.exits
    times = _times(sessions, tokenizer, texts[: arguments.timed]) if facts is not None else np.ones((2, 1))
    halves = [text for text in truncated_texts(texts) if isinstance(text, str)][:MOST_OTHERS]
    foreign = [example.text for example in load(other)[2]][:MOST_OTHERS]
    return row | {
        "shares": [1.0] if facts is None else list(facts.shares),
        "expected_time": 1.0 if facts is None else facts.expected_time,
        "time": float(times[1].mean() / times[0].mean()),
        "worst_time": float(times[1].max() / times[0].max()),
        "accuracy": accuracies[0],
        "accuracy_with_exits": accuracies[1],
        "test_texts": len(texts),
        "label_changes_percent": 100 * changes / len(texts),
        "label_changes_interval": [100 * end for end in rate_interval(changes, len(texts))],
        "label_changes_on_halves_percent": _changes(sessions, tokenizer, halves),
        "label_changes_on_other_set_percent": _changes(sessions, tokenizer, foreign),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--seeds", default="13,21", help="seeds of the random splits; default: 13,21")
    parser.add_argument("--shots", default=16, type=int, help="examples per label; default: 16")
    parser.add_argument("--budget", default=2.0, type=float, help="percent of labels that may change; default: 2")
    parser.add_argument("--texts", default=1000, type=int, help="calibration texts; default: 1000")
    parser.add_argument("--max-test", default=1000, type=int, help="maximum number of test texts; default: 1000")
    parser.add_argument("--timed", default=200, type=int, help="test texts that are timed; default: 200")
    parser.add_argument(
        "--output", default="out/early_exits.json", type=Path, help="JSON file of results; known runs are kept"
    )
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else []
    names = arguments.sets.split(",")
    print(
        "| set | seed | leave early | time | accuracy | label changes | on halves | on another set |\n|---|---|---|---|---|---|---|---|"
    )
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        for seed in map(int, arguments.seeds.split(",")):
            known = [row for row in rows if (row["set"], row["seed"], row["budget"]) == (name, seed, arguments.budget)]
            row = (
                known[0]
                if known
                else measure(arguments.data_root / name, arguments.data_root / other, backbone, arguments, seed)
            )
            if not known:
                rows.append(row)
                arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
            print(
                f"| {name} | {seed} | {100 * (1 - row['shares'][-1]):.0f}% | {row['time']:.2f} | {row['accuracy']:.1f} to "
                f"{row['accuracy_with_exits']:.1f} | {row['label_changes_percent']:.1f}% | "
                f"{row['label_changes_on_halves_percent']:.1f}% | {row['label_changes_on_other_set_percent']:.1f}% |",
                flush=True,
            )


if __name__ == "__main__":
    main()
