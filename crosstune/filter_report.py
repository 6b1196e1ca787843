"""The filter's verdicts as one HTML page: no script, nothing fetched, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from crosstune.label_gate import LabelGate
from crosstune.noise_filter import FILTER_REASONS, FilterResult, Judged

BINS = 20
WIDTH, BAR_HEIGHT, PLOT_HEIGHT = 640, 22, 120
KEPT, DROPPED = "#2f6f9f", "#c9772b"
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2327; --faint: #66707a; --line: #d9dee3; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --faint: #9aa4ad; --line: #3a424a; --paper: #15191d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p { max-width: 44rem; } .faint { color: var(--faint); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th.n, td.n { text-align: right; } td.text { width: 50%; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; } svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
summary { cursor: pointer; margin: .6rem 0; font-weight: 600; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
"""


def report_page(result: FilterResult, name: str) -> str:
    """The page.

    Args:
        result: What the filter found.
        name: Of the file that was filtered.
    """
    kept = [item for item in result.judged if item.reason is None]
    labels = list(dict.fromkeys(item.example.label for item in result.judged))
    offered = {label: [item for item in result.judged if item.example.label == label] for label in labels}
    parts = [
        f"<h1>{len(kept)} of {len(result.judged)} generated texts kept</h1>",
        f'<p class="faint">{escape(name)}</p>',
        _verdict(result),
        f'<p class="faint">{_key(KEPT)} kept &nbsp; {_key(DROPPED)} dropped</p>',
        "<h2>By label</h2>",
        _bars([(label, sum(item.reason is None for item in items), len(items)) for label, items in offered.items()]),
        "<h2>Why texts were dropped</h2>",
        _bars([(reason, 0, n) for reason, n in result.reasons.items()])
        + "".join(
            f'<p class="faint">{escape(reason)}: {escape(FILTER_REASONS[reason])}.</p>' for reason in result.reasons
        )
        if result.reasons
        else "<p>None was.</p>",
        "<h2>How sure the teacher is of the label a text was asked for</h2>",
        _histogram(result),
        "<h2>The gate</h2>",
        _gates(result),
        "<h2>Every text</h2>",
        *(_texts(reason, [item for item in result.dropped if item.reason == reason]) for reason in result.reasons),
        _texts("kept", kept),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(name)}: noise filter</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _verdict(result: FilterResult) -> str:
    without, with_ = 100 * result.accuracy_without, 100 * result.accuracy_with
    outcome = (
        f"with the kept texts it is <b>{with_:.1f} %</b>"
        if any(gate.enters for gate in result.gates)
        else "no label enters"
    )
    return (
        f"<p>On the real examples, held out, the head is right in <b>{without:.1f} %</b> without generated texts; {outcome}. "
        f"The teacher is right in {100 * result.teacher_accuracy:.1f} % of them, and had to give a text's label at least "
        f"{result.threshold:.2f}.</p>"
    )


def _key(colour: str) -> str:
    return f'<span class="key" style="background:{colour}"></span>'


def _bars(rows: Sequence[tuple[str, int, int]]) -> str:
    """Horizontal bars: name, kept, all."""
    most = max((total for _, _, total in rows), default=1) or 1
    left, room = 190, WIDTH - 190 - 90
    parts = []
    for i, (name, kept, total) in enumerate(rows):
        y, full, part = i * BAR_HEIGHT, room * total / most, room * kept / most
        short = name if len(name) <= 26 else name[:25] + "…"
        figure = f"{kept} of {total}" if kept else str(total)
        parts.append(
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(short)}</text>'
            f'<rect x="{left}" y="{y + 4}" width="{full:.1f}" height="14" rx="2" fill="{DROPPED}"/>'
            f'<rect x="{left}" y="{y + 4}" width="{part:.1f}" height="14" rx="2" fill="{KEPT}"/>'
            f'<text x="{left + full + 6:.1f}" y="{y + 15}">{figure}</text>'
        )
    return _svg(BAR_HEIGHT * len(rows) + 4, parts)


def _histogram(result: FilterResult) -> str:
    counts = [[0, 0] for _ in range(BINS)]
    for item in result.judged:
        counts[min(int(item.label_prob * BINS), BINS - 1)][item.reason is not None] += 1
    most = max(sum(pair) for pair in counts) or 1
    step = (WIDTH - 40) / BINS
    parts = []
    for i, (kept, dropped) in enumerate(counts):
        y = float(PLOT_HEIGHT)
        for n, colour in ((kept, KEPT), (dropped, DROPPED)):
            height = (PLOT_HEIGHT - 16) * n / most
            y -= height
            parts.append(
                f'<rect x="{20 + i * step + 1:.1f}" y="{y:.1f}" width="{step - 2:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
    x = 20 + result.threshold * (WIDTH - 40)
    parts.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{PLOT_HEIGHT}" stroke="currentColor" stroke-dasharray="4 3"/>'
    )
    parts += [
        f'<text x="{20 + at * (WIDTH - 40):.0f}" y="{PLOT_HEIGHT + 18}" text-anchor="middle">{at:g}</text>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    return (
        _svg(PLOT_HEIGHT + 24, parts)
        + '<p class="faint">Probability by the teacher; the dashed line is the least it had to be.</p>'
    )


def _gates(result: FilterResult) -> str:
    if not result.gates:
        return "<p>Not asked: the gate was off, or no text had come so far.</p>"
    rows = "".join(
        f'<tr><td>{escape(gate.label)}</td><td class="n">{gate.texts}</td><td class="n">{100 * gate.f1_without:.1f}</td>'
        f'<td class="n">{100 * gate.f1_with:.1f}</td><td>{_decision(gate)}</td></tr>'
        for gate in result.gates
    )
    head = '<tr><th>label</th><th class="n">texts</th><th class="n">F1 without, %</th><th class="n">F1 with, %</th><th></th></tr>'
    return f"<table>{head}{rows}</table>"


def _decision(gate: LabelGate) -> str:
    return "enters" if gate.enters else "stays out" if gate.texts else "no texts"


def _texts(title: str, items: Sequence[Judged]) -> str:
    rows = "".join(
        f'<tr><td class="text">{escape(item.example.text)}</td><td>{escape(item.example.label)}</td>'
        f'<td>{escape(item.teacher_label)}</td><td class="n">{item.teacher_prob:.2f}</td><td class="n">{item.label_prob:.2f}</td></tr>'
        for item in items
    )
    head = '<tr><th>text</th><th>asked for</th><th>teacher says</th><th class="n">with</th><th class="n">asked label gets</th></tr>'
    return f"<details><summary>{escape(title)} ({len(items)})</summary><table>{head}{rows}</table></details>"


def _svg(height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">{"".join(parts)}</svg>'
