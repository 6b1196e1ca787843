"""The decisions of the noise filter as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from crosstune.core.reports.page import figure, folded, html_page, legend, plain, short, table
from crosstune.core.reports.plot import Axis, Bar, Plot, bars
from crosstune.filter.label_gate import LabelGate
from crosstune.filter.result import FILTER_REASONS, FilterResult, Judged

#: Bars of the histogram.
BINS = 20
#: Characters of a text that the tables show.
CHARACTERS = 500
#: Colours.
KEPT, DROPPED = 0, 1


def report_page(result: FilterResult, name: str) -> str:
    """The page.

    Args:
        result: The filter's decisions.
        name: Name of the file that was filtered.
    """
    kept = [item for item in result.judged if item.reason is None]
    labels = list(dict.fromkeys(item.example.label for item in result.judged))
    offered = {label: [item for item in result.judged if item.example.label == label] for label in labels}
    by_label = [
        Bar(label, _shares(sum(item.reason is None for item in items), len(items)), _figure(items))
        for label, items in offered.items()
    ]
    reasons = [Bar(reason, [(count, DROPPED)], str(count)) for reason, count in result.reasons.items()]
    return html_page(
        f"{name}: noise filter",
        [
            f"<h1>{len(kept)} of {len(result.judged)} generated texts kept</h1>",
            f'<p class="faint">{plain(name)}</p>',
            _verdict(result),
            legend([("kept", KEPT), ("dropped", DROPPED)]),
            "<h2>By label</h2>",
            figure(bars("kept and dropped of each label", by_label), "Generated texts of each label."),
            "<h2>Why texts were dropped</h2>",
            figure(bars("texts dropped for each reason", reasons), "Generated texts.")
            if reasons
            else "<p>No text was dropped.</p>",
            *(f'<p class="faint">{plain(reason)}: {plain(FILTER_REASONS[reason])}.</p>' for reason in result.reasons),
            "<h2>The teacher's probability of the requested label</h2>",
            _histogram(result),
            "<h2>The gate</h2>",
            _gates(result),
            "<h2>Every text</h2>",
            *(_texts(reason, [item for item in result.dropped if item.reason == reason]) for reason in result.reasons),
            _texts("kept", kept),
        ],
    )


def _verdict(result: FilterResult) -> str:
    if result.accuracy_with is None:
        outcome = "With the kept texts it was not measured, since the gate was off"
    elif any(gate.enters for gate in result.gates):
        outcome = f"With the kept texts it is <b>{100 * result.accuracy_with:.1f}%</b>"
    else:
        outcome = "The gate admits the generated texts of no label"
    return (
        f"<p>Accuracy of the head on held-out real examples, without generated texts: <b>{100 * result.accuracy_without:.1f}%</b>. "
        f"{outcome}. The accuracy of the teacher is {100 * result.teacher_accuracy:.1f}%. "
        f"It judges {100 * result.noise:.0f}% of the generated texts mislabelled (threshold {result.threshold:.2f}).</p>"
    )


def _shares(kept: int, offered: int) -> list[tuple[float, int]]:
    return [(kept, KEPT), (offered - kept, DROPPED)]


def _figure(items: Sequence[Judged]) -> str:
    return f"{sum(item.reason is None for item in items)} of {len(items)}"


def _histogram(result: FilterResult) -> str:
    counts = [[0, 0] for _ in range(BINS)]
    for item in result.judged:
        counts[min(int(item.label_prob * BINS), BINS - 1)][item.reason is not None] += 1
    most = max(sum(pair) for pair in counts) or 1
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    plot = Plot(
        "probability by the teacher",
        Axis("probability by the teacher", 0, 1, ticks=ticks),
        Axis("texts", 0, 1.1 * most, ticks=(0, most)),
        height=200,
    )
    for i, (kept, dropped) in enumerate(counts):
        plot.bar(i / BINS, (i + 1) / BINS, 0, kept, KEPT)
        plot.bar(i / BINS, (i + 1) / BINS, kept, kept + dropped, DROPPED)
    plot.rule(result.threshold)
    return figure(plot.svg(), "The dashed line is the threshold: texts to the left of it are dropped.")


def _gates(result: FilterResult) -> str:
    if not result.gates:
        return "<p>The gate was off, or no text came to it.</p>"
    rows = [
        [gate.label, str(gate.texts), f"{100 * gate.f1_without:.1f}", f"{100 * gate.f1_with:.1f}", _decision(gate)]
        for gate in result.gates
    ]
    return table(["label", "texts", "F1 without, %", "F1 with, %", "decision"], rows, numbers=(1, 2, 3))


def _decision(gate: LabelGate) -> str:
    return "kept" if gate.enters else "dropped" if gate.texts else "no texts"


def _texts(title: str, items: Sequence[Judged]) -> str:
    rows = (
        [
            short(" | ".join(item.example.parts), CHARACTERS),
            item.example.label,
            item.teacher_label,
            f"{item.teacher_prob:.2f}",
            f"{item.label_prob:.2f}",
        ]
        for item in items
    )
    head = ["text", "requested label", "teacher's label", "probability", "probability of the requested label"]
    return folded(f"{title} ({len(items)})", table(head, rows, numbers=(3, 4)))
