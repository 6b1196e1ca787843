"""Time per operator in the graph of a bundle and in other graphs, from the profiler of onnxruntime.

    python -m benchmarks.latency.node_times out/support.bundle PEERS/o3_int8.onnx --tokens 32 --json benchmarks/results/node_times.json

The first graph is that of a bundle. The others are graphs of the same backbone (``benchmarks/latency/latency_peers.py``
creates some). All run on one thread, in turns. Prints the mean microseconds per text of each operator. The last lines
give an upper bound: how fast the first graph would be if its integer products alone took time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.session import open_inner

#: Operators that multiply 8-bit numbers; attention in int8 is one of them.
INTEGER_PRODUCTS = (
    "DynamicQuantizeMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QAttention",
    "QGemm",
    "QLinearMatMul",
)
SHOWN = 12
BURST = 20


def open_profiled(path: Path, prefix: str) -> onnxruntime.InferenceSession:
    """A session that writes a profile: any graph with the options of a bundle's runtime."""
    if path.suffix == ".onnx":
        return open_inner(path.read_bytes(), str(path), profile_prefix=prefix)
    files = read_bundle(path)
    disabled = files.manifest.graph.disabled_optimizers
    return open_inner(files.model, str(path), disabled_optimizers=disabled, profile_prefix=prefix)


def microseconds(profile: Path, calls: int) -> dict[str, float]:
    """Operator to microseconds a call, from a profile."""
    spent: Counter[str] = Counter()
    for event in json.loads(profile.read_text("utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    return {name: total / calls for name, total in spent.most_common()}


def profile(paths: list[Path], tokens: int, calls: int) -> dict[str, dict[str, float]]:
    """Graph to operator to microseconds a text."""
    ids = np.random.default_rng(13).integers(1996, 29000, (1, tokens))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {path.stem: open_profiled(path, str(Path(folder) / path.stem)) for path in paths}
        for _ in range(calls // BURST):
            for session in sessions.values():
                given = {node.name: feeds[node.name] for node in session.get_inputs()}
                for _ in range(BURST):
                    session.run(None, given)
        return {name: microseconds(Path(session.end_profiling()), calls) for name, session in sessions.items()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", type=Path, nargs="+", help="a bundle folder, then .onnx files")
    parser.add_argument("--tokens", type=int, default=32, help="tokens per text")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each graph")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    found = profile(arguments.graphs, arguments.tokens, arguments.calls)
    totals = {name: sum(spent.values()) for name, spent in found.items()}
    table = Table("operator", *found, box=None, title=f"microseconds per text of {arguments.tokens} tokens")
    operators = dict.fromkeys(operator for spent in found.values() for operator in list(spent)[:SHOWN])
    for operator in operators:
        table.add_row(operator, *(f"{spent.get(operator, 0.0):.0f}" for spent in found.values()))
    table.add_row("all", *(f"{total:.0f}" for total in totals.values()))
    first, *others = found
    products = sum(found[first].get(operator, 0.0) for operator in INTEGER_PRODUCTS)
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(f"integer products of {first}: {products:.0f}, {100 * products / totals[first]:.0f}% of its time")
    for other in others:
        now, most = totals[other] / totals[first], totals[other] / products
        console.print(f"{other}: {now:.2f} times as long; {most:.2f} times if everything else in {first} took no time")
    if arguments.json:
        body = {"tokens": arguments.tokens, "onnxruntime": onnxruntime.__version__, "microseconds": found}
        arguments.json.write_text(json.dumps(body, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
