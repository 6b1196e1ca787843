"""Tables and plots of the rows that ``accuracy.py`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from rich.table import Table

Row = Mapping[str, str | float]
#: Rows below the accuracies: key in the results, title, digits.
FIGURES = (
    ("macro_f1", "macro-F1", 3),
    ("ece", "ECE", 3),
    ("scope_auroc", "out-of-scope AUROC", 3),
    ("train_seconds", "training s", 2),
)
#: Methods in the plot, and their marks.
SHOWN = {
    "default": "o",
    "setfit": "D",
    "zero-shot": "v",
    "logistic regression": "s",
    "paper": "P",
    "shuffled descriptions": "x",
}


def cells_of(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, Row]]:
    """Rows by set and method, and then by seed."""
    cells: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        cells.setdefault((str(row["set"]), str(row["method"])), {})[int(row["seed"])] = row
    return cells


def names(rows: Sequence[Row], key: str) -> list[str]:
    """Distinct values of a key, in the order of appearance."""
    return list(dict.fromkeys(str(row[key]) for row in rows))


def accuracies(rows: Mapping[int, Row]) -> list[float]:
    """In percent."""
    return [100 * float(row["accuracy"]) for row in rows.values()]


def table(rows: Sequence[Row], title: str) -> Table:
    """Mean accuracy (± standard deviation over seeds) by set and method, and below the means over sets, also of other figures."""
    cells, sets, methods = cells_of(rows), names(rows, "set"), [m for m in names(rows, "method") if m != "setfit"]
    shown = Table(title, *methods, box=None)
    for name in sets:
        found = [accuracies(cells.get((name, method), {})) for method in methods]
        shown.add_row(name, *(f"{np.mean(v):.1f} ± {np.std(v):.1f} ({len(v)})" if v else "" for v in found))
    whole = [method for method in methods if all((name, method) in cells for name in sets)]
    means = {method: np.mean([np.mean(accuracies(cells[name, method])) for name in sets]) for method in whole}
    shown.add_row("mean", *(f"{means[method]:.1f}" if method in means else "" for method in methods))
    for figure, title_of_figure, digits in FIGURES:
        known = [name for name in sets if any(row["set"] == name and figure in row for row in rows)]
        if known:
            shown.add_row(
                f"{title_of_figure}, mean",
                *(mean_over_sets(cells, known, method, figure, digits) for method in methods),
            )
    return shown


def mean_over_sets(
    cells: Mapping[tuple[str, str], Mapping[int, Row]], sets: Sequence[str], method: str, figure: str, digits: int
) -> str:
    """Mean of a figure over datasets (of the means over seeds); empty if the method has not run on all of them."""
    found = [[float(row[figure]) for row in cells.get((name, method), {}).values() if figure in row] for name in sets]
    return f"{np.mean([np.mean(values) for values in found]):.{digits}f}" if all(found) else ""


def paired(rows: Sequence[Row], title: str) -> Table:
    """The default head compared with SetFit on the same splits, by dataset."""
    cells = cells_of(rows)
    shown = Table(title, "seeds", "default", "SetFit", "difference", "default, s", "SetFit, s", box=None)
    sums: list[tuple[float, ...]] = []
    for name in names(rows, "set"):
        a, b = cells.get((name, "default"), {}), cells.get((name, "setfit"), {})
        seeds = sorted(a.keys() & b.keys())
        if not seeds:
            continue
        both = [np.mean([100 * float(side[seed]["accuracy"]) for seed in seeds]) for side in (a, b)]
        spent = [np.mean([float(side[seed]["train_seconds"]) for seed in seeds]) for side in (a, b)]
        shown.add_row(
            name,
            ", ".join(map(str, seeds)),
            f"{both[0]:.1f}",
            f"{both[1]:.1f}",
            f"{both[0] - both[1]:+.1f}",
            f"{spent[0]:.1f}",
            f"{spent[1]:.0f}",
        )
        sums.append((*both, *spent))
    if sums:
        both_a, both_b, spent_a, spent_b = np.mean(sums, 0)
        difference = f"{both_a - both_b:+.1f}"
        shown.add_row("mean", "", f"{both_a:.1f}", f"{both_b:.1f}", difference, f"{spent_a:.1f}", f"{spent_b:.0f}")
    return shown


def below_controls(rows: Sequence[Row], title: str) -> Table:
    """The default head compared with the best of zero-shot, logistic regression and the paper head, means over seeds."""
    cells = cells_of(rows)
    rivals = ("zero-shot", "logistic regression", "paper")
    shown = Table(title, "default", "best baseline", "which", "difference", box=None)
    for name in names(rows, "set"):
        if not all((name, method) in cells for method in ("default", *rivals)):
            continue
        means = {method: np.mean(accuracies(cells[name, method])) for method in ("default", *rivals)}
        best = max(rivals, key=lambda method: means[method])
        difference = means["default"] - means[best]
        shown.add_row(name, f"{means['default']:.1f}", f"{means[best]:.1f}", best, f"{difference:+.1f}")
    return shown


def markdown(shown: Table) -> str:
    """A table as Markdown."""
    columns = [[str(column.header), *column.cells] for column in shown.columns]
    rows = list(zip(*columns, strict=True))
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]]) + "\n"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Plot accuracy by dataset: one mark per method, one panel per number of shots."""
    shots = sorted({int(row["shots"]) for row in rows})
    mpl.rcParams.update({"svg.hashsalt": "accuracy", "font.family": "sans-serif", "font.size": 9})
    figure, panels = plt.subplots(1, len(shots), figsize=(5.2 * len(shots), 5), sharey=True, squeeze=False)
    for panel, count in zip(panels[0], shots, strict=True):
        here = [row for row in rows if row["shots"] == count]
        cells, sets = cells_of(here), names(here, "set")
        for method, mark in SHOWN.items():
            known = [(i, accuracies(cells[name, method])) for i, name in enumerate(sets) if (name, method) in cells]
            if known:
                front = method == "default"
                x, y = [np.mean(values) for _, values in known], [i for i, _ in known]
                panel.scatter(
                    x, y, s=60 if front else 30, marker=mark, label=method, zorder=3 if front else 2, alpha=0.85
                )
        panel.set_yticks(range(len(sets)), sets)
        panel.set_title(f"{count} shots per label")
        panel.set_xlabel("accuracy, %")
        panel.grid(alpha=0.3)
    panels[0][0].invert_yaxis()  # the axis is shared
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(SHOWN), frameon=False)
    save(figure, path)


def plot_shots(rows: Sequence[Row], path: Path) -> None:
    """Plot mean accuracy by number of shots: one line per method, over the datasets that have every number."""
    shots = sorted({int(row["shots"]) for row in rows})
    mpl.rcParams.update({"svg.hashsalt": "accuracy", "font.family": "sans-serif", "font.size": 9})
    figure, panel = plt.subplots(figsize=(5.2, 3.4))
    for method in names(rows, "method"):
        lines = []
        for count in shots:
            here = [row for row in rows if row["shots"] == count and row["method"] == method]
            lines.append({name: np.mean(accuracies(by)) for (name, _), by in cells_of(here).items()})
        shared = set.intersection(*(set(line) for line in lines))
        if shared:
            panel.plot(shots, [np.mean([line[name] for name in shared]) for line in lines], marker="o", label=method)
    panel.set_xscale("log", base=2)
    panel.set_xticks(shots, [str(count) for count in shots])
    panel.set_xlabel("shots per label")
    panel.set_ylabel("mean accuracy, %")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    """Write a plot without a date, so that equal rows give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    plt.close(figure)
