"""Plot the results of ``benchmarks.latency.latency``: milliseconds against tokens, one line per engine, on logarithmic axes.

python -m benchmarks.latency.latency_plot out/latency.json out/latency.svg
"""

from __future__ import annotations

import argparse
import html
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 910, 460, 60, 300, 30, 50
COLORS = ("#1b7f4b", "#4a76b8", "#b8604a", "#8a5fb0", "#b08a2e", "#3a9aa5", "#7a7f87", "#c2477f")


def svg(report: Mapping[str, Any], threads: int = 1) -> str:
    """One text at a time on so many threads: the median time that passed at each length."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for case, rows in report["cases"].items():
        found = re.fullmatch(rf"(\d+) tokens, {threads} threads", case)
        for engine, row in rows.items() if found else ():
            lines.setdefault(engine, []).append((int(found[1]), row["p50_ms"]))
        if found and case in report.get("bounds_ms", {}):
            lines.setdefault("bound by the integer products", []).append((int(found[1]), report["bounds_ms"][case]))
    if not lines:
        raise SystemExit(f"latency: no case with one text and {threads} threads. Measure one first.")
    lengths = sorted({length for points in lines.values() for length, _ in points})
    times = [value for points in lines.values() for _, value in points]
    low, high = min(times) / 1.2, max(times) * 1.2

    def x(length: float) -> float:
        share = math.log(length / lengths[0]) / max(math.log(lengths[-1] / lengths[0]), 1e-9)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + math.log(high / value) / math.log(high / low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for power in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1):
        if low <= 2.0**power <= high:
            at = y(2.0**power)
            parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#dde3ea"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{2.0**power:g}</text>')
    for length in lengths:
        parts.append(f'<text x="{x(length):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{length}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">tokens</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 12}">median milliseconds per text, {threads} thread(s)</text>')
    ends = sorted((y(points[-1][1]), engine) for engine, points in lines.items())
    labels: dict[str, float] = {}
    for at, engine in ends:  # lines that end close together still get labels apart
        labels[engine] = max([at, *(before + 16 for before in labels.values())])
    for color, (engine, points) in zip(COLORS * len(lines), lines.items(), strict=False):
        path = " ".join(f"{x(length):.1f},{y(value):.1f}" for length, value in sorted(points))
        width = 3 if engine.startswith("crosstune") else 1.5
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"/>')
        label = html.escape(engine)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{labels[engine] + 4:.1f}" fill="{color}">{label}</text>')
    inner = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui,sans-serif" '
        f'font-size="13" fill="#1d2733">{inner}</svg>\n'
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="JSON file of benchmarks.latency.latency")
    parser.add_argument("target", type=Path, help="SVG file to write")
    arguments = parser.parse_args()
    arguments.target.write_text(svg(json.loads(arguments.source.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
