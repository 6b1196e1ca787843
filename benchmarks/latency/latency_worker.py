"""One engine in a process of its own; ``latency.py`` runs it by path.

    python benchmarks/latency/latency_worker.py KIND PATH

KIND is bundle (with the fast kernels where they can run), portable (a bundle with onnxruntime's kernels), onnx, torch or
openvino. The worker reads one request per line, ``{"ids": [[...], ...], "threads": n,
"calls": n}``, and prints elapsed and processor seconds. Rows shorter than the longest are padded. A bundle runs its
rows as its runtime does: rows of equal length together, without padding.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Rows = list[list[int]]


def padded(rows: Rows) -> dict[str, np.ndarray]:
    """Arrays of a batch, padded on the right."""
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.int64)
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def bundle(path: str, threads: int, kernels: str = "auto") -> Callable[[Rows], Callable[[], object]]:
    """Our graph, driven as ``Classifier`` drives it."""
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.runtime.session import open_session

    files = read_bundle(path)
    longest = files.manifest.tokens.max_length_tokens
    session = open_session(files.model, files.manifest.graph, path, longest=longest, threads=threads, kernels=kernels)

    def prepare(rows: Rows) -> Callable[[], object]:
        by_length: dict[int, Rows] = {}
        for row in rows:
            by_length.setdefault(len(row) if session.kernels == "portable" else 0, []).append(row)
        batches = [padded(group) for group in by_length.values()]
        return lambda: [session.run(batch) for batch in batches]

    return prepare


def portable(path: str, threads: int) -> Callable[[Rows], Callable[[], object]]:
    """Our graph with onnxruntime's own kernels."""
    return bundle(path, threads, "portable")


def onnx(path: str, threads: int) -> Callable[[Rows], Callable[[], object]]:
    """Any graph in onnxruntime, with onnxruntime's own defaults but for the threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}

    def prepare(rows: Rows) -> Callable[[], object]:
        feeds = {name: array for name, array in padded(rows).items() if name in names}
        return lambda: session.run(None, feeds)

    return prepare


def torch(path: str, threads: int) -> Callable[[Rows], Callable[[], object]]:
    """The transformers library's own model in float32."""
    import torch as library
    from transformers import AutoModel

    model = AutoModel.from_pretrained(path).eval()

    def prepare(rows: Rows) -> Callable[[], object]:
        library.set_num_threads(threads)  # of the whole process, so again for each request
        feeds = {name: library.from_numpy(array) for name, array in padded(rows).items()}

        def call() -> object:
            with library.inference_mode():
                return model(**feeds)

        return call

    return prepare


def openvino(path: str, threads: int) -> Callable[[Rows], Callable[[], object]]:
    """OpenVINO for latency, with its integer and float kernels as they come."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()
    names = {port.get_any_name() for port in request.model_inputs}

    def prepare(rows: Rows) -> Callable[[], object]:
        feeds = {name: array for name, array in padded(rows).items() if name in names}
        return lambda: request.infer(feeds)

    return prepare


def peak_rss_bytes() -> int:
    """Largest resident memory of this program so far: ``getrusage`` would begin with that of the process that started it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def main() -> None:
    """Serve requests until standard input ends."""
    kind, path = sys.argv[1:]
    engines: dict[int, Callable[[Rows], Callable[[], object]]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        if request["threads"] not in engines:
            engine = {"bundle": bundle, "portable": portable, "onnx": onnx, "torch": torch, "openvino": openvino}[kind]
            engines[request["threads"]] = engine(path, request["threads"])
        load_s = time.perf_counter() - started
        call = engines[request["threads"]](request["ids"])
        call()
        times, busy = [], []
        for _ in range(request["calls"]):
            started, started_busy = time.perf_counter(), time.process_time()
            call()
            times.append(time.perf_counter() - started)
            busy.append(time.process_time() - started_busy)
        answer = {"times": times, "busy": busy, "load_s": load_s, "peak_rss_bytes": peak_rss_bytes()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
