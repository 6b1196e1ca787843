"""How well two runs of ``crosstune-export bench`` agree on the ratio of two bundles.

    crosstune-export bench A B --rounds 300 --json one.json
    crosstune-export bench A B --rounds 300 --json two.json
    python -m benchmarks.latency.bench_repeat one.json two.json

Prints, for each setting and run, the second bundle's median divided by that of the first, the same for processor time,
and the difference between the runs.
"""

from __future__ import annotations

import argparse
import json
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs=2, help="JSON files of the two runs")
    paths = parser.parse_args().runs
    print("| tokens, batch, threads | median | difference | processor time | difference |\n|---|---|---|---|---|")
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
    print(f"| largest | | {100 * worst[0]:.1f}% | | {100 * worst[1]:.1f}% |")


if __name__ == "__main__":
    main()
