"""Latency of bundles compared with other tools on the same weights, in one interleaved run.

    python -m benchmarks.latency.latency --bundle out/support.bundle --peers PEERS --weights WEIGHTS --openvino-python PATH

``benchmarks/latency/latency_peers.py`` creates the graphs in PEERS. Every engine has a process of its own. In every
round each engine gets one warm-up call and a few timed calls in turn, so that load from other programs affects all
alike. The table shows elapsed time and processor time; on a busy machine compare processor time on one thread. Only the
graph is timed. A CrossTune graph includes features, label attention and softmax; the other graphs end at the hidden
states. Writes JSON to ``--output`` and a plot next to it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx

from benchmarks.latency.latency_plot import svg
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.kernels import fast_kernels

WORKER = Path(__file__).with_name("latency_worker.py")


def engines_of(arguments: argparse.Namespace) -> dict[str, tuple[str, str, Path]]:
    """Name → (Python, kind, file), of those whose files are there."""
    here, peers = sys.executable, arguments.peers
    engines = {}
    for path in arguments.bundle:
        if read_bundle(path).manifest.graph.function is not None and fast_kernels().name is not None:
            engines[f"crosstune {path.stem}, kernels"] = (here, "bundle", path)
        engines[f"crosstune {path.stem}"] = (here, "portable", path)
    if arguments.weights:
        engines["torch fp32"] = (here, "torch", arguments.weights)
    for name in ("fp32", "o2_int8", "o3_int8", "sentence_transformers_int8"):
        if (peers / f"{name}.onnx").is_file():
            engines[f"onnxruntime {name}"] = (here, "onnx", peers / f"{name}.onnx")
    if arguments.openvino_python and (peers / "openvino_int8.xml").is_file():
        engines["openvino nncf_int8"] = (arguments.openvino_python, "openvino", peers / "openvino_int8.xml")
    return engines


def products_per_token(bundle: Path) -> int:
    """Products of weights and inputs in the int8 encoder of a bundle, for each token."""
    model = onnx.load_from_string(read_bundle(bundle).model)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    return sum(size for name, size in sizes.items() if re.fullmatch(r"layer\.\d+\.\w+\.weights", name))


def cases(lengths: list[int], threads: list[int], batch: int) -> dict[str, tuple[list[list[int]], int]]:
    """Name → rows of ids and threads."""
    dice = random.Random(13)

    def row(length: int) -> list[int]:
        return [101, *(dice.randrange(1996, 29000) for _ in range(length - 2)), 102]

    found = {}
    for count in threads:
        for length in lengths:
            found[f"{length} tokens, {count} threads"] = ([row(length)], count)
        if batch:
            mixed = [row(round(8 + 120 * dice.random() ** 2)) for _ in range(batch)]
            found[f"batch {batch} of 8 to 128 tokens, {count} threads"] = (mixed, count)
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, action="append", required=True, help="bundle folder; repeat for more")
    parser.add_argument("--peers", type=Path, required=True, help="folder that latency_peers.py wrote")
    parser.add_argument("--weights", type=Path, help="folder of the backbone, for torch; default: without torch")
    parser.add_argument("--openvino-python", help="Python of an environment with openvino; default: without OpenVINO")
    parser.add_argument("--lengths", default="8,16,32,64,128,256", help="tokens per text, separated by commas")
    parser.add_argument("--threads", default="1,2", help="threads, separated by commas")
    parser.add_argument("--batch", type=int, default=32, help="texts in the batch of mixed lengths; 0 for none")
    parser.add_argument(
        "--peak", type=Path, help="the program crosstune-peak; adds the bound by the integer products alone"
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds over all cases")
    parser.add_argument("--calls", type=int, default=5, help="timed calls per turn")
    parser.add_argument("--output", type=Path, default=Path("out/latency.json"), help="JSON file to write")
    arguments = parser.parse_args()
    numbers = {name: [int(part) for part in getattr(arguments, name).split(",")] for name in ("lengths", "threads")}
    engines = engines_of(arguments)
    workers = {
        name: subprocess.Popen(
            [python, str(WORKER), kind, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name, (python, kind, path) in engines.items()
    }

    def ask(name: str, rows: list[list[int]], threads: int, calls: int) -> dict[str, object]:
        worker = workers[name]
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps({"ids": rows, "threads": threads, "calls": calls}) + "\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    wanted = cases(numbers["lengths"], numbers["threads"], arguments.batch)
    load_s = {name: ask(name, [[101, 102]], 1, 0)["load_s"] for name in engines}
    times: dict[str, dict[str, list[float]]] = {case: {name: [] for name in engines} for case in wanted}
    busy: dict[str, dict[str, list[float]]] = {case: {name: [] for name in engines} for case in wanted}
    rss, rates = {}, []
    for turn in range(arguments.rounds):
        print(f"round {turn + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        if arguments.peak:
            rates.append(float(subprocess.run([arguments.peak], capture_output=True, text=True, check=True).stdout))
        for case, (rows, threads) in wanted.items():
            for name in engines:
                answer = ask(name, rows, threads, arguments.calls if len(rows) == 1 else 1)
                times[case][name] += answer["times"]
                busy[case][name] += answer["busy"]
                rss[name] = answer["peak_rss_bytes"]
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()

    first = next(iter(engines))
    report = {"engines": {}, "cases": {}, "bounds_ms": {}}
    if arguments.peak:
        rate = float(np.median(rates))
        work = products_per_token(arguments.bundle[0])
        report |= {"products_per_second": rate, "products_per_token": work}
        report["bounds_ms"] = {case: 1e3 * work * sum(map(len, rows)) / rate for case, (rows, _) in wanted.items()}
    for name, (_, _, path) in engines.items():
        weights = path.with_suffix(".bin") if path.suffix == ".xml" else path
        files = [path / "model.onnx"] if path.suffix == ".bundle" else [weights]
        size = sum(file.stat().st_size for file in files if file.is_file())
        report["engines"][name] = {"graph_bytes": size, "load_s": load_s[name], "peak_rss_bytes": rss[name]}
    print("| " + " | ".join(["median ms, processor ms", *engines, "bound"]) + " |\n|" + "---|" * (len(engines) + 2))
    for case, found in times.items():
        rows = {}
        for name, sink in found.items():
            p50, p99 = (1e3 * float(value) for value in np.percentile(sink, (50, 99)))
            cpu = 1e3 * float(np.median(busy[case][name]))
            rows[name] = {"p50_ms": p50, "p99_ms": p99, "processor_p50_ms": cpu}
        report["cases"][case] = rows
        cells = [
            ", ".join(f"{row[key]:.2f} ({row[key] / rows[first][key]:.2f}x)" for key in ("p50_ms", "processor_p50_ms"))
            for row in rows.values()
        ]
        bound = report["bounds_ms"].get(case)
        print("| " + " | ".join([case, *cells, "" if bound is None else f"{bound:.2f}"]) + " |")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    arguments.output.with_suffix(".svg").write_text(svg(report, numbers["threads"][0]), "utf-8")


if __name__ == "__main__":
    main()
