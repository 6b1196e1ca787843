"""Upper bound of the processor time that micro-batching could save the server, and whether it would change probabilities.

    python -m benchmarks.latency.serving_batching --bundle out/support.bundle

A batching server would classify the texts of concurrent requests together. Here windows of example texts stand for concurrent
requests: each text in a call of its own, and all texts of the window in one call, which runs texts of equal length together
without padding. Both take turns; the processor times are medians of the rounds. No request waits, so this is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from crosstune_export import Classifier

EXAMPLES = Path(__file__).parents[2] / "examples" / "support_desk" / "test.jsonl"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="bundle folder; repeat for more")
    parser.add_argument("--windows", default="4,8,16,32", help="texts per window, separated by commas")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each side, in turns")
    parser.add_argument("--output", type=Path, default=Path("out/serving_batching.json"), help="JSON file to write")
    arguments = parser.parse_args()
    texts = [json.loads(line)["text"] for line in EXAMPLES.read_text("utf-8").splitlines()][:192]
    report = {}
    print("| bundle | batch | ms per text, single | ms per text, batched | saved | largest change of a probability |")
    print("|---|---|---|---|---|---|")
    for path in arguments.bundle:
        classifier = Classifier.load(path)
        single_probs = np.concatenate([classifier.predict_proba([text]) for text in texts])
        for window in map(int, arguments.windows.split(",")):
            windows = [texts[start : start + window] for start in range(0, len(texts), window)]
            batched_probs = np.concatenate([classifier.predict_proba(part, batch_size=window) for part in windows])
            single, batched = [], []
            for _ in range(arguments.rounds):
                started = time.process_time()
                for text in texts:
                    classifier.classify([text])
                single.append(time.process_time() - started)
                started = time.process_time()
                for part in windows:
                    classifier.classify(part, batch_size=window)
                batched.append(time.process_time() - started)
            first, second = (1e3 * statistics.median(times) / len(texts) for times in (single, batched))
            row = {
                "single_processor_ms": round(first, 3),
                "batched_processor_ms": round(second, 3),
                "saved": round(1 - second / first, 3),
                "max_prob_difference": float(np.abs(single_probs - batched_probs).max()),
                "equal_answers": bool((single_probs == batched_probs).all()),
            }
            report.setdefault(path.stem, {})[str(window)] = row
            print(
                f"| {path.stem} | {window} | {first:.2f} | {second:.2f} | {100 * row['saved']:.0f}% "
                f"| {row['max_prob_difference']:.1e} |",
                flush=True,
            )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(f"wrote {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
