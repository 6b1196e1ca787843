"""Bundles with early exits compared with the same bundles without: label changes, accuracy and time.

    python -m benchmarks.accuracy.early_exits --data-root DATA --timed 0
    python -m benchmarks.accuracy.early_exits --data-root DATA

For each set and seed a head is trained on 16 shots per label and built as int8 with early exits, with texts of the pool without their
labels as calibration. It is compared with the same graph with its exits closed, on test texts, on truncated test texts and on test texts
of another set, on the kernels of onnxruntime and, where they run, on the fast ones. Time is processor time of the graph, batch 1, all
graphs in turn for each text. The first command builds and compares on a busy machine; the second only adds the times, on an idle one.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.unbalanced import load
from crosstune import CrossTuneWarning, TrainConfig, draw_shots, train
from crosstune.backbone.frozen import Backbone
from crosstune.evaluation.metrics import rate_interval
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.probe_texts import truncated_texts
from crosstune_export.bundle.files import BundleFiles, read_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.runtime.kernels import fast_kernels
from crosstune_export.runtime.session import GraphSession, open_session
from crosstune_export.runtime.tokenization import TextTokenizer

SETS = "sms_spam,snips,ag_news,subj,cr,sst2,yelp_polarity,trec,emotion"
#: Most texts of halves and of the other set, and rounds of timing.
MOST_OTHERS, ROUNDS = 400, 3
#: Label changes on test texts may be this many times the budget.
ALLOWED = 1.5


def kinds() -> tuple[str, ...]:
    """Return the kernels to measure."""
    return ("portable", "fast") if fast_kernels().name else ("portable",)


def sessions_of(files: BundleFiles, kernels: str) -> tuple[GraphSession, GraphSession]:
    """Return the graph with its exits closed, and as it is."""
    graph, longest = files.manifest.graph, files.manifest.tokens.max_length_tokens
    closed, exits = (
        open_session(model, graph, "graph", longest=longest, kernels=kernels)
        for model in (without_exits(files.model), files.model)
    )
    return closed, exits


def tokenizer_of(files: BundleFiles) -> TextTokenizer:
    """Return the tokenizer of a bundle."""
    return TextTokenizer(files.tokenizer, files.manifest.tokens, files.manifest.text_pair, "tokenizer")


def _answers(
    session: GraphSession, tokenizer: TextTokenizer, texts: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the labels of texts, and which of them left early."""
    answers = [session.run(tokenizer.batch([row]).feeds()) for row in tokenizer.rows(texts)]
    return np.array([answer[0][0].argmax() for answer in answers]), np.array(
        [not answer[1].any() for answer in answers]
    )


def _changes(sessions: Sequence[GraphSession], tokenizer: TextTokenizer, texts: Sequence[str]) -> float:
    """Share of the texts whose label the exits change, in percent."""
    closed, exits = (_answers(session, tokenizer, texts)[0] for session in sessions)
    return 100 * float((closed != exits).mean())


def _times(sessions: Sequence[GraphSession], tokenizer: TextTokenizer, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Processor time of each text in milliseconds, (S, N): the least of several rounds."""
    feeds = [tokenizer.batch([row]).feeds() for row in tokenizer.rows(texts)]
    times = np.full((ROUNDS, len(sessions), len(feeds)), np.inf)
    for turn in range(ROUNDS):
        for at, feed in enumerate(feeds):
            for which, session in enumerate(sessions):
                started = time.process_time()
                session.run(feed)
                times[turn, which, at] = 1e3 * (time.process_time() - started)
    return np.asarray(times.min(0))


def make_bundle(folder: Path, path: Path, backbone: Backbone, arguments: argparse.Namespace, seed: int) -> None:
    """Train and build a bundle, and keep its calibration texts in the same folder."""
    labels, pool, _ = load(folder)
    shots = draw_shots(pool, arguments.shots, seed)
    random, taken = np.random.RandomState(seed), {shot.text for shot in shots}
    log = [pool[i].text for i in random.permutation(len(pool)) if pool[i].text not in taken][: arguments.texts]
    checkpoint, file = path.with_suffix(".ckpt"), path.with_suffix(".jsonl")
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in log), "utf-8")
    train(shots, labels, TrainConfig(seed=seed), backbone=backbone).save(checkpoint, force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)  # of exits that do not pay, which the table shows
        config = BuildConfig("int8", calibration=file, max_flips_percent=100, early_exit_percent=arguments.budget)
        build(checkpoint, path, config, force=True)


def measure(folder: Path, other: Path, files: BundleFiles, most: int) -> dict[str, Any]:
    """All figures of one set and seed but the times."""
    labels, _, test = load(folder)
    texts, gold = [example.text for example in test[:most]], np.array(labels.indices(test[:most]))
    halves = [text for text in truncated_texts(texts) if isinstance(text, str)][:MOST_OTHERS]
    foreign = [example.text for example in load(other)[2]][:MOST_OTHERS]
    tokenizer, facts, figures = tokenizer_of(files), files.manifest.exits, {}
    for kernels in kinds():
        sessions = sessions_of(files, kernels)
        closed, (exits, left) = _answers(sessions[0], tokenizer, texts)[0], _answers(sessions[1], tokenizer, texts)
        changes = int((closed != exits).sum())
        figures[kernels] = {
            "leave_early": float(left.mean()),
            "accuracy": float(100 * (closed == gold).mean()),
            "accuracy_with_exits": float(100 * (exits == gold).mean()),
            "label_changes_percent": 100 * changes / len(texts),
            "label_changes_interval": [100 * end for end in rate_interval(changes, len(texts))],
            "label_changes_on_halves_percent": _changes(sessions, tokenizer, halves),
            "label_changes_on_other_set_percent": _changes(sessions, tokenizer, foreign),
        }
    return {
        "test_texts": len(texts),
        "shares": [1.0] if facts is None else list(facts.shares),
        "expected_time": 1.0 if facts is None else facts.expected_time,
        "kernels": figures,
    }


def add_times(folder: Path, files: BundleFiles, row: dict[str, Any], timed: int) -> None:
    """Add the times of test texts to the figures of one set and seed."""
    texts = [example.text for example in load(folder)[2]][:timed]
    sessions = [session for kernels in row["kernels"] for session in sessions_of(files, kernels)]
    times = _times(sessions, tokenizer_of(files), texts)
    for number, figures in enumerate(row["kernels"].values()):
        closed, exits = times[2 * number : 2 * number + 2]
        figures["ms"], figures["ms_with_exits"] = float(closed.mean()), float(exits.mean())
        figures["worst_ms"], figures["worst_ms_with_exits"] = float(closed.max()), float(exits.max())


def line_of(row: dict[str, Any], kernels: str) -> str:
    """Return a row of the table."""
    part = row["kernels"][kernels]
    timed = "ms" in part
    return " | ".join(
        (
            f"| {row['set']}",
            str(row["seed"]),
            f"{100 * part['leave_early']:.0f}%",
            f"{part['ms']:.2f} to {part['ms_with_exits']:.2f}" if timed else "",
            f"{part['ms_with_exits'] / part['ms']:.2f}" if timed else "",
            f"{part['accuracy']:.1f} to {part['accuracy_with_exits']:.1f}",
            f"{part['label_changes_percent']:.1f}%",
            f"{part['label_changes_on_halves_percent']:.1f}%",
            f"{part['label_changes_on_other_set_percent']:.1f}% |",
        )
    )


def by_set(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of the means over the seeds, for each kind of kernels where they differ."""
    names = list(dict.fromkeys(row["set"] for row in rows))

    def mean(name: str, figure: Callable[[dict[str, Any]], float], form: str) -> str:
        chosen = [row["kernels"] for row in rows if name in (row["set"], "mean")]
        return " / ".join(form.format(np.mean([figure(kinds[kernels]) for kinds in chosen])) for kernels in chosen[0])

    lines = [
        f"| {name} | {mean(name, lambda part: 100 * part['leave_early'], '{:.0f}%')} | "
        f"{mean(name, lambda part: part['ms_with_exits'], '{:.2f}')} | "
        f"{mean(name, lambda part: part['ms_with_exits'] / part['ms'], '{:.2f}')} | "
        f"{mean(name, lambda part: part['accuracy_with_exits'] - part['accuracy'], '{:+.1f}')} | "
        f"{mean(name, lambda part: part['label_changes_percent'], '{:.1f}%')} | "
        f"{mean(name, lambda part: part['label_changes_on_halves_percent'], '{:.1f}%')} | "
        f"{mean(name, lambda part: part['label_changes_on_other_set_percent'], '{:.1f}%')} |"
        for name in [*names, "mean"]
    ]
    head = "| set | leave early | ms | time | accuracy | label changes | of half texts | of another set |"
    return "\n".join([head, "|---|" + "---|" * 7, *lines])


def summary(rows: Sequence[dict[str, Any]], kernels: str) -> str:
    """Return the means over all runs, and in how many the label changes are within ``ALLOWED`` times the budget."""
    parts = [row["kernels"][kernels] for row in rows]
    within = sum(row["kernels"][kernels]["label_changes_percent"] <= ALLOWED * row["budget"] for row in rows)
    accuracy = np.mean([part["accuracy_with_exits"] - part["accuracy"] for part in parts])
    times = [part["ms_with_exits"] / part["ms"] for part in parts if "ms" in part]
    times = f"time {np.mean(times):.2f}, " if times else ""
    return (
        f"{kernels}: {times}accuracy {accuracy:+.2f}, label changes {np.mean([p['label_changes_percent'] for p in parts]):.2f}%, "
        f"within {ALLOWED:g} times the budget in {within} of {len(rows)} runs, mean of {len(rows)} runs"
    )


HEAD = """| set | seed | leave early | ms | time | accuracy | label changes | on halves | on another set |
|---|---|---|---|---|---|---|---|---|"""


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
    parser.add_argument("--timed", default=200, type=int, help="test texts that are timed, 0 for none; default: 200")
    parser.add_argument(
        "--bundles",
        default="out/early_exits",
        type=Path,
        help="folder that keeps the bundles; known ones are not built again",
    )
    parser.add_argument(
        "--output", default="out/early_exits.json", type=Path, help="JSON file of results; known runs are kept"
    )
    arguments = parser.parse_args()
    backbone = Backbone.load("minilm", device="cpu")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.bundles.mkdir(parents=True, exist_ok=True)
    rows = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else []
    order = SETS.split(",")
    done = []
    for name in arguments.sets.split(","):
        folder = arguments.data_root / name
        other = arguments.data_root / order[(order.index(name) + 1) % len(order) if name in order else 0]
        for seed in map(int, arguments.seeds.split(",")):
            key = {"set": name, "seed": seed, "budget": arguments.budget}
            row = next((row for row in rows if row.items() >= key.items()), None)
            path = arguments.bundles / f"{name}-{seed}-{arguments.budget:g}.bundle"
            if not path.exists():
                make_bundle(folder, path, backbone, arguments, seed)
            files = read_bundle(path)
            if row is None:
                texts = len(path.with_suffix(".jsonl").read_text("utf-8").splitlines())
                row = key | {"texts": texts} | measure(folder, other, files, arguments.max_test)
                rows.append(row)
            if arguments.timed and not all("ms" in part for part in row["kernels"].values()):
                add_times(folder, files, row, arguments.timed)
            arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
            done.append(row)
    for kernels in done[0]["kernels"]:
        print(HEAD, *(line_of(row, kernels) for row in done), "", summary(done, kernels), "", sep="\n", flush=True)
    if all("ms" in part for row in done for part in row["kernels"].values()):
        print(by_set(done))


if __name__ == "__main__":
    main()
