"""The build's report: one HTML page with what was tried, what is in the graph, and which labels changed."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from crosstune_export.build.search import Trial
from crosstune_export.manifest import BundleManifest

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 720, 350, 70, 60
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2733;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{padding:.3rem .6rem;border-bottom:1px solid #dde3ea;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.shipped td{background:#e8f4ec;font-weight:600}svg{width:100%;height:auto}.note{color:#5a6775}
"""


@dataclass(frozen=True)
class LabelledAnswers:
    """Answers of fp32 and of the shipped graph on texts whose labels are known.

    Attributes:
        names: The L labels.
        truth: int64 (N,), the known labels.
        before: int64 (N,), what fp32 says.
        after: int64 (N,), what the shipped graph says.
    """

    names: Sequence[str]
    truth: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]


def labelled_answers(
    names: Sequence[str],
    truth: Sequence[str] | None,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
) -> LabelledAnswers | None:
    """Answers from probabilities (N, L); None where a text has no label or one that is not among the names."""
    if truth is None or not set(truth) <= set(names):
        return None
    indices = np.array([list(names).index(label) for label in truth])
    return LabelledAnswers(names, indices, before.argmax(1), after.argmax(1))


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """A 95 % interval for a rate (Wilson 1927).

    Example:
        >>> [round(end, 3) for end in wilson(1, 100)]
        [0.002, 0.054]
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = hits / trials, z * z / trials
    middle = (rate + square / 2) / (1 + square)
    half = z * math.sqrt(rate * (1 - rate) / trials + square / trials / 4) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(only_before: int, only_after: int) -> float:
    """Exact two-sided p-value that two classifiers err alike, from the texts that only one of them gets right.

    Example:
        >>> mcnemar(1, 5)
        0.21875
    """
    discordant = only_before + only_after
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(only_before, only_after) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def report_page(manifest: BundleManifest, trials: Sequence[Trial], answers: LabelledAnswers | None) -> str:
    """The whole page."""
    shipped = next(trial for trial in trials if trial.verdict == "shipped")
    parts = [
        f"<h1>Build of {_text(manifest.name)}</h1>",
        f"<p>{len(manifest.labels)} labels, backbone {_text(str(manifest.backbone['name']))}; shipped: "
        f"<b>{_text(shipped.candidate.name)}</b>, {shipped.size_bytes / 1e6:.1f} MB, digest "
        f"<code>{manifest.digest[:16]}</code>.</p>",
        "<h2>What was tried</h2>",
        _pareto(trials),
        _trials_table(trials),
        "<h2>What is in the graph</h2>",
        _graph_table(shipped),
        "<h2>Rewrites that fired</h2>",
        _table(["rewrite", "times"], [[_text(name), str(count)] for name, count in shipped.passes.items()], numbers=1),
        "<h2>Answers</h2>",
        _quality_table(manifest),
    ]
    if answers is not None:
        parts.append(_flips(answers))
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Build of {_text(manifest.name)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _pareto(trials: Sequence[Trial]) -> str:
    """Latency against flips; the area of a dot is the size of the bundle."""
    timed = [trial for trial in trials if trial.latency_ms is not None]
    if len(timed) < 2:
        return '<p class="note">One graph was tried, so nothing was timed.</p>'
    right = max(trial.latency_ms or 0 for trial in timed) * 1.15
    top = max(max(trial.flip_percent for trial in timed) * 1.25, 0.5)
    largest = max(trial.size_bytes for trial in timed)

    def x(value: float) -> float:
        return _LEFT + value / right * (_WIDTH - _LEFT - 20)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - 20)

    lines = [
        f'<line x1="{_LEFT}" y1="{y(0):.1f}" x2="{_WIDTH - 20}" y2="{y(0):.1f}" stroke="#8896a5"/>',
        f'<line x1="{_LEFT}" y1="20" x2="{_LEFT}" y2="{y(0):.1f}" stroke="#8896a5"/>',
        f'<text x="{(_LEFT + _WIDTH) / 2}" y="{_HEIGHT - 8}" text-anchor="middle">milliseconds a text, one thread</text>',
        f'<text x="16" y="{_HEIGHT / 2 - 20}" text-anchor="middle" transform="rotate(-90 16 {_HEIGHT / 2 - 20})">'
        "labels unlike fp32, %</text>",
    ]
    for step in range(1, 5):
        at, share = right * step / 5, top * step / 5
        lines.append(f'<text x="{x(at):.1f}" y="{y(0) + 26:.1f}" text-anchor="middle">{at:.2g}</text>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y(share) + 5:.1f}" text-anchor="end">{share:.2g}</text>')
    ordered = sorted(timed, key=lambda trial: trial.latency_ms or 0)
    frontier, least = [], math.inf
    for trial in ordered:
        if trial.flip_percent < least:
            least = trial.flip_percent
            frontier.append(trial)
    path = " ".join(f"{x(trial.latency_ms or 0):.1f},{y(trial.flip_percent):.1f}" for trial in frontier)
    lines.append(f'<polyline points="{path}" fill="none" stroke="#b9c4cf" stroke-dasharray="5 4"/>')
    for number, trial in enumerate(trials, 1):
        if trial.latency_ms is None:
            continue
        color = "#1b7f4b" if trial.verdict == "shipped" else "#4a76b8"
        at_x, at_y = x(trial.latency_ms), y(trial.flip_percent)
        radius = 4 + 8 * math.sqrt(trial.size_bytes / largest)
        lines.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{radius:.1f}" fill="{color}" fill-opacity=".35" stroke="{color}">'
            f"<title>{_text(trial.candidate.name)}</title></circle>"
        )
        lines.append(f'<text x="{at_x:.1f}" y="{at_y - radius - 3:.1f}" text-anchor="middle">{number}</text>')
    inner = "".join(lines)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="latency against flips" font-size="13">{inner}</svg>'
        '<p class="note">Numbers are the rows below; the area of a dot is the size of the bundle; green is shipped; the '
        "dashed line joins those that nothing beats in both.</p>"
    )


def _trials_table(trials: Sequence[Trial]) -> str:
    rows = []
    for number, trial in enumerate(trials, 1):
        latency = "" if trial.latency_ms is None else f"{trial.latency_ms:.2f}"
        flips = "reference" if trial.on_texts is None else f"{trial.flips} of {trial.texts}"
        cells = [str(number), _text(trial.candidate.name), f"{trial.size_bytes / 1e6:.1f}", latency, flips]
        kind = ' class="shipped"' if trial.verdict == "shipped" else ""
        inner = "".join(f'<td class="n">{cell}</td>' if i > 1 else f"<td>{cell}</td>" for i, cell in enumerate(cells))
        rows.append(f"<tr{kind}>{inner}<td>{_text(trial.verdict)}</td></tr>")
    head = '<th></th><th>graph</th><th class="n">MB</th><th class="n">ms</th><th class="n">labels unlike fp32</th><th>verdict</th>'
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _graph_table(trial: Trial) -> str:
    """Nodes and constant bytes of each stage."""
    model = onnx.load_from_string(trial.model)
    sizes = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    nodes: dict[str, Counter[str]] = {}
    weight: Counter[str] = Counter()
    stage = "embeddings"
    last = max(i for i, node in enumerate(model.graph.node) if node.op_type in ("MatMul", *_PRODUCTS))
    for index, node in enumerate(model.graph.node):
        if node.op_type in _PRODUCTS:
            stage = "encoder"
        kind = "features and labels" if index > last + 4 else stage
        nodes.setdefault(kind, Counter())[node.op_type] += 1
        for name in node.input:
            weight[kind] += sizes.pop(name, 0)
    rows = [
        [
            kind,
            str(sum(count.values())),
            f"{weight[kind] / 1e6:.2f}",
            ", ".join(f"{n} {op}" for op, n in count.most_common(8)),
        ]
        for kind, count in nodes.items()
    ]
    return _table(["stage", "nodes", "MB", "most frequent"], rows, numbers=2)


_PRODUCTS = ("Attention", "QAttention", "MatMulIntegerToFloat", "MultiHeadAttention")


def _quality_table(manifest: BundleManifest) -> str:
    rows = []
    for name, figures in manifest.quality.items():
        if isinstance(figures, Mapping):
            flips, texts = int(str(figures["flips"])), int(str(figures["texts"]))
            low, high = wilson(flips, texts)
            difference = float(str(figures["max_prob_difference"]))
            rows.append(
                [
                    _text(name.replace("_", " ")),
                    f"{flips} of {texts}",
                    f"{100 * low:.1f} to {100 * high:.1f} %",
                    f"{difference:.1e}",
                ]
            )
    return _table(["compared", "labels that differ", "95 % interval", "largest difference of a probability"], rows, 3)


def _flips(answers: LabelledAnswers) -> str:
    rows = []
    for index, name in enumerate(answers.names):
        mine = answers.before == index
        flips, count = int((answers.after[mine] != index).sum()), int(mine.sum())
        low, high = wilson(flips, count)
        rows.append([_text(name), str(count), str(flips), f"{100 * low:.1f} to {100 * high:.1f} %"])
    right_before, right_after = answers.before == answers.truth, answers.after == answers.truth
    lost, won = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    return (
        _table(["fp32 says", "texts", "shipped graph says another", "95 % interval"], rows, 3)
        + f"<p>Accuracy on these {len(answers.truth)} texts: fp32 {100 * right_before.mean():.1f} %, shipped "
        f"{100 * right_after.mean():.1f} %. Right only in fp32: {lost}; right only as shipped: {won}; McNemar's exact "
        f"p = {mcnemar(lost, won):.2g}.</p>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Columns 1 .. ``numbers`` are figures."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="n">{cell}</{tag}>' if 0 < i <= numbers else f"<{tag}>{cell}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<table><tr>{row(head, 'th')}</tr>{body}</table>"


def _text(value: str) -> str:
    return html.escape(" ".join(value.split()))
