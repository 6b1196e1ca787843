"""Time from a text to its label: bundles with early exits, and other tools with the same weights, all in one run.

    python -m benchmarks.latency.text_to_label --data-root DATA --bundles out/early_exits --peers PEERS --openvino-python PATH

Takes the bundles that ``benchmarks.accuracy.early_exits`` keeps, and the graphs of ``latency_peers.py``. All engines
tokenize too, and each has a process of its own. Texts are test texts of the bundle's dataset: first one by one, each engine
in turn for each text, then all together as a file would be. The other tools get a head that only multiplies the mean state;
their batches are sorted by length. Times are processor time on one thread: of each text the median of some calls, after one
that is not timed. Writes JSON to ``--output``, where known bundles are kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.unbalanced import load
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.kernels import fast_kernels

WORKER = Path(__file__).with_name("text_to_label_worker.py")
BATCH = 32


def engines_of(arguments: argparse.Namespace, bundle: Path) -> dict[str, list[str]]:
    """Name → Python, kind and file, of those whose files are there."""
    here, peers, python = sys.executable, arguments.peers, arguments.openvino_python
    engines = {"crosstune, portable": [here, "portable", str(bundle)]}
    if fast_kernels().name is not None:
        engines = {"crosstune, kernels": [here, "bundle", str(bundle)]} | engines
    for level in ("o2", "o3"):
        engines[f"optimum {level.upper()} int8"] = [here, "onnx", str(peers / f"{level}_int8.onnx")]
    if python is not None:
        engines["OpenVINO NNCF int8"] = [python, "openvino", str(peers / "openvino_int8.xml")]
    return engines


class Engine:
    """A worker process."""

    def __init__(self, line: Sequence[str], tokenizer: Path, longest: int) -> None:
        python, kind, path = line
        self._process = subprocess.Popen(
            [python, str(WORKER), kind, path, str(tokenizer), str(longest)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time(self, texts: Sequence[str], batch: int, calls: int) -> float:
        """Return the median processor time of some calls, in milliseconds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"texts": list(texts), "batch": batch, "calls": calls}) + "\n")
        self._process.stdin.flush()
        return 1e3 * float(np.median(json.loads(self._process.stdout.readline())))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(arguments: argparse.Namespace, bundle: Path, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean milliseconds of a text for each engine: alone, the slowest one alone, and in a file."""
    longest = read_bundle(bundle).manifest.tokens.max_length_tokens
    engines = {
        name: Engine(line, arguments.peers / "tokenizer.json", longest)
        for name, line in engines_of(arguments, bundle).items()
    }
    for engine in engines.values():
        engine.time(texts[:1], 1, 1)
    times = np.array([[engine.time([text], 1, arguments.calls) for engine in engines.values()] for text in texts])
    in_file = [engine.time(texts, BATCH, arguments.calls) / len(texts) for engine in engines.values()]
    for engine in engines.values():
        engine.close()
    return {
        name: {"ms": float(alone.mean()), "worst_ms": float(alone.max()), "file_ms": together}
        for name, alone, together in zip(engines, times.T, in_file, strict=True)
    }


def table(rows: Sequence[dict[str, dict[str, dict[str, float]]]], figure: str) -> str:
    """Return milliseconds of every engine, with its ratio to ours, and the mean ratio over the bundles."""
    names = list(rows[0]["engines"])
    lines = ["| set | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in rows:
        found = [row["engines"][name][figure] for name in names]
        lines.append(f"| {row['set']} | " + " | ".join(f"{ms:.2f} ({ms / found[0]:.2f}x)" for ms in found) + " |")
    means = [np.mean([row["engines"][name][figure] for row in rows]) for name in names]
    return "\n".join([*lines, "| mean | " + " | ".join(f"{ms:.2f} ({ms / means[0]:.2f}x)" for ms in means) + " |"])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument(
        "--bundles", type=Path, default=Path("out/early_exits"), help="folder of SET-SEED-BUDGET.bundle"
    )
    parser.add_argument("--peers", type=Path, required=True, help="folder that latency_peers.py wrote")
    parser.add_argument("--openvino-python", help="Python of an environment with openvino; default: without OpenVINO")
    parser.add_argument("--only", default="*-13-2", help="which bundles; default: those of seed 13 and a budget of 2%%")
    parser.add_argument("--texts", type=int, default=60, help="test texts of each set; default: 60")
    parser.add_argument("--calls", type=int, default=3, help="timed calls; default: 3")
    parser.add_argument("--output", type=Path, default=Path("out/text_to_label.json"), help="JSON file to write")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(arguments.output.read_text("utf-8")) if arguments.output.exists() else []
    for path in sorted(arguments.bundles.glob(f"{arguments.only}.bundle")):
        name = path.stem.partition("-")[0]
        if any(row["set"] == name for row in rows):
            continue
        texts = [example.text for example in load(arguments.data_root / name)[2]][: arguments.texts]
        rows.append({"set": name, "texts": len(texts), "engines": measure(arguments, path, texts)})
        arguments.output.write_text("[\n " + ",\n ".join(map(json.dumps, rows)) + "\n]\n", "utf-8")
    for title, figure in (("one text at a time", "ms"), ("the slowest text", "worst_ms"), ("files", "file_ms")):
        print(f"{title}, ms a text\n\n{table(rows, figure)}\n")


if __name__ == "__main__":
    main()
