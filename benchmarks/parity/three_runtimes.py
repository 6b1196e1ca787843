"""Token ids, labels and load times of bundles in Python, C++ and Node, on the same texts.

    make cpp web && python -m benchmarks.parity.three_runtimes --bundle fp32.bundle --bundle int8.bundle --data TEXTS.jsonl

Labels are compared with those of the first bundle in Python. Python and C++ run the fast kernels where they can, Node those of
onnxruntime, compiled to WebAssembly as in a browser. Each runtime loads a bundle several times, in turn; times
are medians of processor time (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.parity.tokenizer_parity import LIBRARY, open_node
from crosstune_export import Classifier
from tests.fixtures import c_library, node_runtime


def busy_seconds(process: int | str = "self") -> float:
    """Processor time that a process has used, from Linux."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load_seconds(loaders: dict[str, tuple[int | str, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Median processor seconds of each loader, in turn; a loader comes with the process that does its work."""
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, (process, load) in loaders.items():
            started = busy_seconds(process)
            loaded = load()
            times[name].append(busy_seconds(process) - started)
            if isinstance(loaded, node_runtime.Loaded):
                loaded.close()
            del loaded
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def measure(
    bundle: Path,
    texts: list[str],
    library: c_library.Library,
    node: node_runtime.NodeRuntime,
    rounds: int,
    reference: list[str | None] | None,
) -> tuple[dict[str, object], list[str | None]]:
    """All figures of a bundle, with label changes compared with ``reference`` or its own labels; and Python's labels."""
    seconds = load_seconds(
        {
            "python": ("self", lambda: Classifier.load(bundle)),
            "cpp": ("self", lambda: library.load(bundle)),
            "node": (node._process.pid, lambda: node.load(bundle)),
        },
        rounds,
    )
    python, cpp, web = Classifier.load(bundle), library.load(bundle), node.load(bundle)
    ids = python.token_ids(texts)
    by_runtime = {
        "python": [answer.label for answer in python.classify(texts, batch_size=1)],
        "cpp": [cpp.classify(text.encode()).label for text in texts],
        "node": [row["label"] for row in web.classify(texts)],
    }
    expected = reference or by_runtime["python"]
    ids_by_runtime = {
        "cpp": [tuple(cpp.tokenize(text.encode())[0]) for text in texts],
        "node": [tuple(row[0]) for row in web.tokenize(texts)],
    }
    web.close()
    facts = {
        "size_bytes": {path.name: path.stat().st_size for path in sorted(bundle.iterdir())},
        "load_seconds": seconds,
        "texts": len(texts),
        "ids_differing": {name: differing(found, ids) for name, found in ids_by_runtime.items()},
        "label_changes": {name: differing(found, expected) for name, found in by_runtime.items()},
    }
    return facts, by_runtime["python"]


def differing(found: Sequence[object], expected: Sequence[object]) -> int:
    """How many of them differ."""
    return sum(a != b for a, b in zip(found, expected, strict=True))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="bundle folder; repeat for more")
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines file with texts")
    parser.add_argument("--texts", type=int, default=200, help="texts to classify, from the start of the file")
    parser.add_argument("--rounds", type=int, default=5, help="times to load each bundle")
    parser.add_argument("--output", type=Path, default=Path("out/three_runtimes.json"), help="JSON file to write")
    arguments = parser.parse_args()
    lines = arguments.data.read_text("utf-8").splitlines()[: arguments.texts]
    texts = [json.loads(line)["text"] for line in lines]
    report, reference = {}, None
    print("| bundle | MB | load s: Python | C++ | Node | label changes: Python | C++ | Node | other ids: C++ | Node |")
    print("|---" * 10 + "|")
    with tempfile.TemporaryDirectory() as temporary:
        library, node = c_library.Library(str(LIBRARY.resolve())), open_node(Path(temporary))
        for bundle in arguments.bundle:
            row, labels = measure(bundle, texts, library, node, arguments.rounds, reference)
            report[bundle.stem], reference = row, reference or labels
            cells = [f"{sum(row['size_bytes'].values()) / 1e6:.1f}"]
            cells += [f"{value:.2f}" for value in row["load_seconds"].values()]
            cells += [str(count) for key in ("label_changes", "ids_differing") for count in row[key].values()]
            print("| " + " | ".join([bundle.stem, *cells]) + " |", flush=True)
        node.close()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
