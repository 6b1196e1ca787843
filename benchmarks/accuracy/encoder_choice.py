"""Accuracy with generated texts where each split takes the encoder with the better held-out accuracy.

    python -m benchmarks.accuracy.encoder_choice bge-small=augmentation_bge.json mpnet=augmentation_mpnet.json

Reads results of ``benchmarks.accuracy.augmentation``, one file for each encoder. The held-out accuracy is that of the shots of the
split, as ``crosstune filter`` prints it; of equal ones, that of the encoder named first counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="NAME=FILE", help="an encoder and its results")
    arguments = parser.parse_args()
    encoders: dict[str, dict[tuple[str, int], Row]] = {}
    for argument in arguments.results:
        name, _, path = argument.partition("=")
        rows = json.loads(Path(path).read_text("utf-8"))["rows"]
        encoders[name] = {(row["set"], row["seed"]): row for row in rows}
    first, *others = encoders.values()
    splits = [split for split in first if all(split in rows for rows in others)]
    table = Table("set", *encoders, *(f"{name} + texts" for name in encoders), "chosen + texts", "chosen")
    means = []
    for dataset in dict.fromkeys(name for name, _ in splits):
        keys = [split for split in splits if split[0] == dataset]
        chosen = [max(encoders, key=lambda name: held_out(encoders[name][key])) for key in keys]
        columns = [
            [accuracy(rows[key], use) for key in keys]
            for use in ("none", "filtered + gate")
            for rows in encoders.values()
        ]
        columns.append(
            [accuracy(encoders[name][key], "filtered + gate") for name, key in zip(chosen, keys, strict=True)]
        )
        means.append(np.mean(columns, 1))
        counts = ", ".join(f"{chosen.count(name)} {name}" for name in encoders if name in chosen)
        table.add_row(f"{dataset} ({len(keys)})", *(f"{value:.1f}" for value in means[-1]), counts)
    table.add_row("mean", *(f"{value:.1f}" for value in np.mean(means, 0)), "")
    Console(width=140).print(table)


def held_out(row: Row) -> float:
    """Accuracy on held-out shots with the texts that are kept."""
    return float(row["held_out"]["with"])


def accuracy(row: Row, use: str) -> float:
    """Accuracy on the test texts, in percent."""
    return 100 * float(row["accuracy"][use])


if __name__ == "__main__":
    main()
