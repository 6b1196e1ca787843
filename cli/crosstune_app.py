"""``crosstune``: train on a few examples, and measure."""

from __future__ import annotations

from crosstune_cli.augment import augment
from crosstune_cli.check import check
from crosstune_cli.evaluate import evaluate
from crosstune_cli.filter import filter_texts
from crosstune_cli.options import Version
from crosstune_cli.program import DATA, EVERYDAY, add, make_app
from crosstune_cli.run import run
from crosstune_cli.suggest import suggest
from crosstune_cli.train import train

app = make_app("crosstune", "Train a label attention head on a frozen backbone from a few labelled texts.")


@app.callback()
def _root(_: Version = False) -> None:
    """Train a label attention head on a frozen backbone from a few labelled texts."""


add(
    app, train,
    "crosstune train --train train.csv --labels labels.json -o news.ckpt",
    "crosstune train --train train.jsonl --labels labels.json --test test.jsonl --abstain-at coverage=0.95 -o news.ckpt",
    panel=EVERYDAY,
)  # fmt: skip
add(
    app, evaluate,
    "crosstune evaluate news.ckpt --data test.jsonl",
    "crosstune evaluate news.ckpt --data test.jsonl --report news.html",
    panel=EVERYDAY,
)  # fmt: skip
add(
    app, augment,
    "crosstune augment --train train.jsonl --labels labels.json --base-url http://localhost:8000/v1 --model NAME "
    "--dry-run -o more.jsonl",
    panel=DATA,
)  # fmt: skip
add(
    app, filter_texts,
    "crosstune filter --generated more.jsonl --train train.jsonl --labels labels.json -o kept.jsonl --report kept.html",
    name="filter", panel=DATA,
)  # fmt: skip
add(
    app, check,
    "crosstune check --train train.jsonl --labels labels.json --report suspects.html",
    panel=DATA,
)  # fmt: skip
add(
    app, suggest,
    "crosstune suggest --labels labels.json --pool log.txt --number 20 -o round1.csv",
    "crosstune suggest --labels labels.json --labelled round1.csv --pool log.txt --number 20 -o round2.csv",
    panel=DATA,
)  # fmt: skip


def main() -> None:
    """Entry point."""
    run(app, "crosstune")
