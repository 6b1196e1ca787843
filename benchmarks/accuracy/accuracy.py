"""Few-shot accuracy of the heads, baselines and SetFit, on the same splits with the same frozen backbone.

    python -m benchmarks.accuracy.accuracy --data-root DATA --sets sst2,trec --shots 8,16 --seeds 13,42
    python -m benchmarks.accuracy.accuracy --data-root DATA --methods setfit --setfit-python SETFIT/bin/python

DATA has a folder for each dataset with train.jsonl (the pool that shots are drawn from), test.jsonl and labels.json.
The results are a JSON file with one row per run; existing runs are not repeated. Tables and plots are made from it. No
choice is made on test texts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from sklearn.metrics import roc_auc_score

from benchmarks.accuracy.accuracy_methods import ABLATIONS, METHODS, Outcome, Split, cached_states
from benchmarks.accuracy.accuracy_tables import below_controls, markdown, paired, plot, plot_shots, table
from crosstune import LabelSet, draw_shots, evaluate, read_examples, read_labels
from crosstune.backbone.frozen import Backbone
from crosstune.data.examples import Example

SETS = (
    "sst2,mr,cr,subj,trec,ag_news,dbpedia14,yelp_polarity,sst5,emotion,snips,sms_spam,banking77,clinc150_plus,mrpc,rte"
)
#: A label of this name is not used in training; its test texts are out of scope.
OUT_OF_SCOPE = "oos"


def figures(outcome: Outcome, test: Sequence[Example], labels: LabelSet) -> dict[str, float | int]:
    """Scores over the in-scope texts, and how well the similarity to the training texts detects the others."""
    inside = np.array([example.label in labels.names for example in test])
    known = [example for example in test if example.label in labels.names]
    result = evaluate(outcome.probs[inside], labels.indices(known), labels.names)
    row: dict[str, float | int] = {
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        "ece": float(result.ece),
        "n": result.n,
    }
    if not inside.all():
        row["top_probability_auroc"] = float(roc_auc_score(inside, outcome.probs.max(1)))
        row["scope_auroc"] = float(roc_auc_score(inside, outcome.similarity))
    return row


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Do the missing runs, and write the results after each."""
    output = Path(arguments.output)
    state = json.loads(output.read_text("utf-8")) if output.exists() else {"rows": []}
    state["machine"] = {"platform": platform.platform(), "threads": torch.get_num_threads(), "cores": os.cpu_count()}
    state["versions"] = {name: metadata.version(name) for name in ("torch", "transformers", "scikit-learn")}
    done = {(r["backbone"], r["set"], r["shots"], r["seed"], r["method"]) for r in state["rows"]}
    backbone = Backbone.load(arguments.backbone, device=arguments.device, prefix=arguments.prefix)
    name_of_backbone = Path(arguments.backbone).name
    if arguments.prefix:
        state["prefixes"] = state.get("prefixes", {}) | {name_of_backbone: arguments.prefix}
    total = len(arguments.sets) * len(arguments.shots) * len(arguments.seeds) * len(arguments.methods)
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("runs", total=total)
        for name in arguments.sets:
            folder = Path(arguments.data_root) / name
            named = read_labels(folder / "labels.json")
            labels = LabelSet(tuple(label for label in named if label.name != OUT_OF_SCOPE))
            pool = [example for example in read_examples(folder / "train.jsonl") if example.label in labels.names]
            test: tuple[Example, ...] = ()
            for shots in arguments.shots:
                for seed in arguments.seeds:
                    for method in arguments.methods:
                        bars.update(bar, description=f"{name} {shots} {seed} {method}", advance=1)
                        key = (name_of_backbone, name, shots, seed, method)
                        if key in done:
                            continue
                        if not test:
                            rows = [e for e in read_examples(folder / "test.jsonl") if e.label in named.names]
                            test = tuple(rows[: arguments.max_test])
                            states = cached_states(backbone, test)
                        drawn = draw_shots(pool, shots, seed)
                        task = Split(backbone, labels, drawn, test, states, seed, arguments.setfit_python)
                        outcome = (METHODS | ABLATIONS)[method](task)
                        if outcome is None:
                            continue
                        state["rows"].append(
                            dict(zip(("backbone", "set", "shots", "seed", "method"), key, strict=True))
                            | figures(outcome, test, labels)
                            | {"train_seconds": outcome.seconds}
                        )
                        output.parent.mkdir(parents=True, exist_ok=True)
                        output.write_text(lines(state), "utf-8")
    return state


def lines(state: dict[str, object]) -> str:
    """JSON with one row a line."""
    facts = {key: value for key, value in state.items() if key != "rows"}
    rows = ",\n ".join(json.dumps(row) for row in state["rows"])  # type: ignore[attr-defined]
    return f'{json.dumps(facts)[:-1]}, "rows": [\n {rows}\n]}}\n'


def methods(text: str) -> list[str]:
    """Names of methods, separated by commas."""
    names = text.split(",")
    if unknown := [name for name in names if name not in METHODS | ABLATIONS]:
        raise argparse.ArgumentTypeError(f"found {unknown[0]!r}, expected some of {', '.join(METHODS | ABLATIONS)}")
    return names


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with a folder for each dataset")
    parser.add_argument(
        "--sets", default=SETS.split(","), type=lambda text: text.split(","), help="datasets, separated by commas"
    )
    parser.add_argument(
        "--shots",
        default=[8, 16],
        type=lambda text: [int(part) for part in text.split(",")],
        help="examples per label; default: 8,16",
    )
    parser.add_argument(
        "--seeds",
        default=[13, 21, 42, 87, 100],
        type=lambda text: [int(part) for part in text.split(",")],
        help="seeds of the random splits; default: 13,21,42,87,100",
    )
    parser.add_argument(
        "--methods", default=list(METHODS), type=methods, help="methods and ablations; default: all methods"
    )
    parser.add_argument("--backbone", default="minilm", help="minilm (packaged), a folder or a hub id")
    parser.add_argument(
        "--prefix", default=None, help="text before every text; default: what the backbone's folder states"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--max-test", default=None, type=int, help="maximum number of test texts per dataset")
    parser.add_argument("--setfit-python", default=None, help="Python of an environment with setfit==1.2.0")
    parser.add_argument("--output", default="out/accuracy.json", help="JSON file of results, continued if it exists")
    parser.add_argument("--markdown", default=None, help="Markdown file to write the tables to")
    parser.add_argument(
        "--plot",
        default=None,
        help="plot to write: accuracy by dataset, or by shots if there are more than three values",
    )
    arguments = parser.parse_args()
    state = run(arguments)
    asked = [
        row
        for row in state["rows"]  # type: ignore[attr-defined]
        if row["set"] in arguments.sets
        and row["shots"] in arguments.shots
        and row["backbone"] == Path(arguments.backbone).name
    ]
    tables = []
    for shots in arguments.shots:
        rows = [row for row in asked if row["shots"] == shots]
        made = [part(rows, f"{shots} shots per label") for part in (table, paired, below_controls)]
        tables += [part for part in made if part.row_count]
    if arguments.markdown is not None:
        Path(arguments.markdown).write_text("\n".join(map(markdown, tables)), "utf-8")
    if arguments.plot is not None:
        (plot_shots if len(arguments.shots) > 3 else plot)(asked, Path(arguments.plot))
    for shown in tables:
        Console(width=None if sys.stdout.isatty() else 250).print(shown)


if __name__ == "__main__":
    main()
