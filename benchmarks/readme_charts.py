"""Draw the two charts of the README from the results of the benchmarks.

    python -m benchmarks.readme_charts [--check]

``docs/accuracy_setfit.svg`` compares the accuracy with SetFit's at 8 and 16 shots, on the datasets and splits that both ran on;
``docs/latency_peers.svg`` compares the time of one text of 32 tokens. ``--check`` writes nothing and fails if a chart is old.
"""

from __future__ import annotations

import argparse
import html
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs"
WIDTH, LEFT, RIGHT, BAR, GAP = 640, 210, 70, 22, 10
TOKENS = 32
#: Engines of ``latency_kernels.json`` and their names in the chart.
ENGINES = {
    "crosstune support, kernels": "CrossTune, fast kernels",
    "crosstune support": "CrossTune, onnxruntime",
    "openvino nncf_int8": "OpenVINO, NNCF int8",
    "onnxruntime sentence_transformers_int8": "sentence-transformers int8",
    "onnxruntime o3_int8": "optimum O3 int8",
}

Bar = tuple[str, float, bool]


def accuracy_bars() -> list[tuple[str, list[Bar]]]:
    """Mean accuracy over datasets, in percent, of both methods on the same splits."""
    rows = json.loads((RESULTS / "accuracy.json").read_text("utf-8"))["rows"]
    values = {(row["shots"], row["set"], row["seed"], row["method"]): 100 * row["accuracy"] for row in rows}
    groups = []
    for shots in (8, 16):
        splits = sorted((name, seed) for s, name, seed, method in values if (s, method) == (shots, "setfit"))
        names = sorted({name for name, _ in splits})
        means = {
            method: mean(mean(values[shots, n, seed, method] for n, seed in splits if n == name) for name in names)
            for method in ("default", "setfit")
        }
        title = f"{shots} examples per label, {len(names)} datasets"
        groups.append((title, [("CrossTune", means["default"], True), ("SetFit", means["setfit"], False)]))
    return groups


def latency_bars() -> list[tuple[str, list[Bar]]]:
    """Median processor time of one text, in milliseconds, on one thread."""
    case = json.loads((RESULTS / "latency_kernels.json").read_text("utf-8"))["cases"][f"{TOKENS} tokens, 1 threads"]
    bars = [(name, case[key]["processor_p50_ms"], "CrossTune" in name) for key, name in ENGINES.items()]
    return [(f"one text of {TOKENS} tokens, one thread", bars)]


def svg(title: str, groups: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> str:
    """Horizontal bars in groups that share one axis from zero; our bars are coloured."""
    longest = max(value for _, bars in groups for _, value, _ in bars)
    parts, y = [], 34
    for heading, bars in groups:
        parts.append(f'<text class="quiet" x="0" y="{y + 10}">{html.escape(heading)}</text>')
        y += 20
        for name, value, ours in bars:
            width = (WIDTH - LEFT - RIGHT) * value / longest
            parts.append(f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{html.escape(name)}</text>')
            parts.append(
                f'<rect class="{"ours" if ours else "other"}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>'
            )
            parts.append(f'<text x="{LEFT + width + 8:.1f}" y="{y + 16}">{value:.1f}{unit}</text>')
            y += BAR + GAP
        y += GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{html.escape(title)}">'
        "<style>text{font:14px system-ui,sans-serif;fill:#1f2933}.title{font-weight:600}.quiet{fill:#52606d}"
        ".ours{fill:#0f766e}.other{fill:#9aa5b1}"
        "@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.quiet{fill:#9aa5b1}.ours{fill:#2dd4bf}.other{fill:#616e7c}}"
        f'</style><text class="title" x="0" y="16">{html.escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def charts() -> dict[Path, str]:
    """Each chart's file and content."""
    return {
        DOCS / "accuracy_setfit.svg": svg("Accuracy with the same weights: more is better", accuracy_bars(), "%"),
        DOCS / "latency_peers.svg": svg("Milliseconds of processor time: less is better", latency_bars(), " ms"),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a chart is old")
    check = parser.parse_args().check
    for path, content in charts().items():
        if not check:
            path.write_text(content, "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != content:
            raise SystemExit(f"docs/{path.name}: not what the results say. Run: python -m benchmarks.readme_charts")


if __name__ == "__main__":
    main()
