"""Do two runs of ``crosstune-export bench`` agree on how much faster one bundle is than another?

    crosstune-export bench A B --rounds 300 --json one.json
    crosstune-export bench A B --rounds 300 --json two.json
    python -m benchmarks.accuracy.bench_repeat one.json two.json

For each setting: the ratio of the second bundle's median to the first one's in either run, the same for processor time, and
how far the two runs are apart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

Key = tuple[int, int, int]


def ratios(path: str, field: str) -> dict[Key, float]:
    """Second bundle over first, by tokens, batch size and threads."""
    rows = json.loads(Path(path).read_text("utf-8"))
    first, second = dict.fromkeys(row["bundle"] for row in rows)
    found = {(row["bundle"], row["length_tokens"], row["batch_size"], row["threads"]): row[field] for row in rows}
    return {key[1:]: found[(second, *key[1:])] / found[key] for key in found if key[0] == first}


def main() -> None:
    """Entry point."""
    paths = sys.argv[1:3]
    print("| tokens, batch, threads | median | apart | processor time | apart |\n|---|---|---|---|---|")
    columns = [[ratios(path, field) for path in paths] for field in ("p50_ms", "cpu_ms_per_text")]
    worst = [0.0, 0.0]
    for key in columns[0][0]:
        cells = []
        for index, runs in enumerate(columns):
            one, two = (run[key] for run in runs)
            apart = max(one, two) / min(one, two) - 1
            worst[index] = max(worst[index], apart)
            cells.append(f"{one:.2f} and {two:.2f} | {100 * apart:.1f}%")
        print(f"| {', '.join(map(str, key))} | {' | '.join(cells)} |")
    print(f"| most | | {100 * worst[0]:.1f}% | | {100 * worst[1]:.1f}% |")


if __name__ == "__main__":
    main()
