"""The build report, one HTML page: the graphs that were tried, the shipped graph, and the labels that changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from scipy.stats import binomtest

from crosstune.core.reports.page import figure, html_page, plain, table
from crosstune.core.reports.plot import Axis, Plot
from crosstune.evaluation.metrics import rate_interval
from crosstune_export.builder.search import Trial
from crosstune_export.bundle.facts import FAILED, ExitFacts
from crosstune_export.bundle.manifest import BundleManifest


@dataclass(frozen=True)
class LabelComparison:
    """Labels given by fp32 and by the shipped graph to N texts whose labels are known.

    Attributes:
        names: The L labels.
        truth: int64 (N,), indices of the known labels.
        before: int64 (N,), indices of the labels given by fp32.
        after: int64 (N,), indices of the labels given by the shipped graph.
    """

    names: Sequence[str]
    truth: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]


def compare_labels(
    names: Sequence[str],
    truth: Sequence[str] | None,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
) -> LabelComparison | None:
    """Compare the labels of two graphs.

    Args:
        names: The L labels.
        truth: The known labels of N texts; None if they are unknown.
        before: Probabilities by fp32, float32 (N, L).
        after: Probabilities by the shipped graph, float32 (N, L).

    Returns:
        The comparison; None if a label is unknown or not among ``names``.
    """
    if truth is None or not set(truth) <= set(names):
        return None
    indices = np.array([list(names).index(label) for label in truth])
    return LabelComparison(names, indices, before.argmax(1), after.argmax(1))


def mcnemar(only_before: int, only_after: int) -> float:
    """Return the exact two-sided p-value of McNemar's test, for the numbers of texts that only one classifier gets right.

    Examples:
        >>> mcnemar(1, 5)
        0.21875
    """
    discordant = only_before + only_after
    if discordant == 0:
        return 1.0
    return float(binomtest(only_before, discordant).pvalue)


def report_page(
    manifest: BundleManifest, trials: Sequence[Trial], labels: LabelComparison | None, *, trained_on: bool
) -> str:
    """Return the report as an HTML page.

    Args:
        manifest: Manifest of the bundle.
        trials: All graphs that were tried; exactly one is ``shipped``.
        labels: Label changes on texts with known labels; None omits this section.
        trained_on: Whether these are the training texts.
    """
    shipped = next(trial for trial in trials if trial.verdict == "shipped")
    parts = [
        f"<h1>Build of {plain(manifest.name)}</h1>",
        f"<p>{len(manifest.labels)} labels, backbone {plain(manifest.backbone_facts.name)}; shipped: "
        f"<b>{plain(shipped.variant.name)}</b>, {shipped.size_bytes / 1e6:.1f} MB, digest "
        f"<code>{manifest.digest[:16]}</code>.</p>",
        "<h2>Graphs tried</h2>",
        _pareto(trials),
        _trials_table(trials),
        "<h2>The shipped graph</h2>",
        _graph_table(shipped),
        "<h2>Rewrites</h2>",
        table(
            ["rewrite", "times"],
            [[name, "failed" if count == FAILED else str(count)] for name, count in shipped.passes.items()],
            numbers=(1,),
        ),
        "<h2>Comparison with fp32 and torch</h2>",
        _quality_table(manifest),
    ]
    if manifest.exits is not None:
        parts += ["<h2>Early exits</h2>", _exits_table(manifest.exits)]
    if labels is not None:
        parts.append(_label_changes(labels, trained_on))
    return html_page(f"Build of {manifest.name}", parts)


def _pareto(trials: Sequence[Trial]) -> str:
    """Return a chart of latency and label changes; the area of a dot is the size of the bundle."""
    timed = [
        (number, trial, trial.latency_ms) for number, trial in enumerate(trials, 1) if trial.latency_ms is not None
    ]
    if len(timed) < 2:
        return '<p class="faint">Only one graph was tried, so nothing was timed.</p>'
    plot = Plot(
        "Latency and label changes",
        Axis("latency per text, one thread (ms)", 0, max(latency for _, _, latency in timed) * 1.15),
        Axis(
            "labels that differ from fp32 (%)",
            0,
            max(0.5, *(trial.label_change_percent * 1.25 for _, trial, _ in timed)),
        ),
    )
    largest = max(trial.size_bytes for _, trial, _ in timed)
    frontier, least = [], math.inf
    for _, trial, latency in sorted(timed, key=lambda item: item[2]):
        if trial.label_change_percent < least:
            least = trial.label_change_percent
            frontier.append((latency, least))
    plot.line(frontier, 5, dashed=True)
    for number, trial, latency in timed:
        plot.dot(
            latency,
            trial.label_change_percent,
            2 if trial.verdict == "shipped" else 0,
            radius=4 + 8 * math.sqrt(trial.size_bytes / largest),
            title=trial.variant.name,
            above=str(number),
            faint=True,
        )
    return figure(
        plot.svg(),
        "Numbers refer to the table below. The area of a dot is the size of the bundle; the shipped graph is green. "
        "The dashed line is the Pareto front: no other graph is both faster and closer to fp32.",
    )


def _trials_table(trials: Sequence[Trial]) -> str:
    rows = [
        [
            str(number),
            trial.variant.name,
            f"{trial.size_bytes / 1e6:.1f}",
            "" if trial.latency_ms is None else f"{trial.latency_ms:.2f}",
            "reference" if trial.on_texts is None else f"{trial.label_changes} of {trial.texts}",
            trial.verdict,
        ]
        for number, trial in enumerate(trials, 1)
    ]
    shipped = {index for index, trial in enumerate(trials) if trial.verdict == "shipped"}
    head = ["", "graph", "MB", "ms", "labels that differ from fp32", "verdict"]
    return table(head, rows, numbers=(0, 2, 3, 4), marked=shipped)


def _graph_table(trial: Trial) -> str:
    """Return a table of nodes and constant bytes per stage; the encoder ends at its last normalization."""
    model = onnx.load_from_string(trial.model)
    sizes = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    nodes: dict[str, Counter[str]] = {}
    weight: Counter[str] = Counter()
    stage = "embeddings"
    encoder = _encoder_nodes(model.graph)
    for index, node in enumerate(model.graph.node):
        if node.op_type in _PRODUCTS:
            stage = "encoder"
        kind = stage if index in encoder else "features and labels"
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
    return table(["stage", "nodes", "MB", "most frequent"], rows, numbers=(1, 2))


def _encoder_nodes(graph: onnx.GraphProto) -> set[int]:
    """Return the indices of the last normalization and of all nodes that it depends on."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    norms = (index for index, node in enumerate(graph.node) if node.op_type.endswith("LayerNormalization"))
    pending = [max(norms, default=len(graph.node) - 1)]
    indices: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in indices:
            indices.add(index)
            pending += [makers[name] for name in graph.node[index].input if name in makers]
    return indices


_PRODUCTS = ("Attention", "QAttention", "MatMulIntegerToFloat", "MultiHeadAttention")


def _quality_table(manifest: BundleManifest) -> str:
    rows = []
    for title, difference in manifest.quality_facts.comparisons:
        low, high = rate_interval(difference.label_changes, difference.texts)
        rows.append(
            [
                title,
                f"{difference.label_changes} of {difference.texts}",
                f"{100 * low:.1f}% to {100 * high:.1f}%",
                f"{difference.max_difference:.1e}",
            ]
        )
    head = ["compared", "labels that differ", "95% interval", "largest probability difference"]
    expected = manifest.quality_facts.expected_changes
    return table(head, rows, numbers=(1, 2, 3)) + ("" if expected is None else f"<p>{expected.summary}.</p>")


def _exits_table(exits: ExitFacts) -> str:
    """Return a table of the share that leaves at each exit, and the label changes."""
    places = ["the word vectors" if layer == 0 else f"layer {layer}" for layer in exits.layers]
    thresholds = [f"{threshold:.3f}" for threshold in exits.thresholds]
    rows = [
        [place, threshold, f"{100 * share:.1f}%"]
        for place, threshold, share in zip([*places, "all layers"], [*thresholds, ""], exits.shares, strict=True)
    ]
    changes = []
    counts = (
        (exits.label_changes, exits.texts, "texts"),
        (exits.truncated_label_changes, exits.truncated_texts, "truncated texts"),
    )
    for changed, count, what in counts:
        low, high = rate_interval(changed, count)
        changes.append(f"{changed} of {count} {what} ({100 * low:.1f}% to {100 * high:.1f}%)")
    return (
        table(["leave after", "threshold", "share"], rows, numbers=(1, 2))
        + f"<p>Labels that differ from those of all layers: {' and '.join(changes)}. Expected time of a text, by the layers that it "
        f"runs: {exits.expected_time:.2f} of the time without exits; the longest stays that of all layers.</p>"
    )


def _label_changes(labels: LabelComparison, trained_on: bool) -> str:
    rows = []
    for index, name in enumerate(labels.names):
        with_label = labels.before == index
        changes, count = int((labels.after[with_label] != index).sum()), int(with_label.sum())
        low, high = rate_interval(changes, count)
        rows.append([name, str(count), str(changes), f"{100 * low:.1f}% to {100 * high:.1f}%"])
    right_before, right_after = labels.before == labels.truth, labels.after == labels.truth
    lost, won = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    whose = "the training texts, which says nothing about new texts" if trained_on else "these texts"
    return (
        table(["label by fp32", "texts", "label changes", "95% interval"], rows, numbers=(1, 2, 3))
        + f"<p>Accuracy on {whose} (n = {len(labels.truth)}): fp32 {100 * right_before.mean():.1f}%, shipped "
        f"{100 * right_after.mean():.1f}%. Correct only in fp32: {lost}; correct only as shipped: {won}; McNemar's exact "
        f"p = {mcnemar(lost, won):.2g}.</p>"
    )
