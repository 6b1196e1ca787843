"""One engine that labels texts, in a process of its own; ``text_to_label.py`` runs it by path.

    python benchmarks/latency/text_to_label_worker.py KIND PATH TOKENIZER LONGEST

KIND is bundle (as ``Classifier`` runs it), portable (a bundle with onnxruntime's kernels), onnx or openvino. The last two
tokenize with the library tokenizers, take the mean of the hidden states, and multiply it by a matrix of random label keys.
The worker reads one request per line, ``{"texts": [...], "batch": n, "calls": n}``, and prints processor seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Label = Callable[[Sequence[str], int], object]


def bundle(path: str, kernels: str) -> Label:
    """Our classifier, from texts to predictions."""
    from crosstune_export import Classifier

    classifier = Classifier.load(path, threads=1, kernels=kernels)
    return lambda texts, batch: classifier.classify(texts, batch_size=batch)


def encoder(run: Callable[[dict[str, np.ndarray]], np.ndarray], names: set[str], tokenizer: str, longest: int) -> Label:
    """Any encoder with a small head; batches are of texts of similar length, which wastes the least on padding."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(tokenizer)
    read.no_padding()
    read.enable_truncation(longest)
    keys = np.random.default_rng(1).normal(size=(384, 6)).astype(np.float32)

    def label(texts: Sequence[str], batch: int) -> list[int]:
        rows = [part.ids for part in read.encode_batch(list(texts))]
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        labels = [0] * len(rows)
        for start in range(0, len(rows), batch):
            chosen = order[start : start + batch]
            width = max(len(rows[at]) for at in chosen)
            ids = np.array([rows[at] + [0] * (width - len(rows[at])) for at in chosen], np.int64)
            mask = np.array([[1] * len(rows[at]) + [0] * (width - len(rows[at])) for at in chosen], np.int64)
            feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            states = run({name: array for name, array in feeds.items() if name in names})
            means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            for at, answer in zip(chosen, (means @ keys).argmax(1), strict=True):
                labels[at] = int(answer)
        return labels

    return label


def onnx(path: str, tokenizer: str, longest: int) -> Label:
    """A graph in onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = {node.name for node in session.get_inputs()}
    return encoder(lambda feeds: session.run(None, feeds)[0], names, tokenizer, longest)


def openvino(path: str, tokenizer: str, longest: int) -> Label:
    """OpenVINO for latency, on one thread."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(path, "CPU", settings).create_infer_request()
    names = {port.get_any_name() for port in request.model_inputs}
    return encoder(lambda feeds: request.infer(feeds)[0], names, tokenizer, longest)


def main() -> None:
    """Serve requests until standard input ends."""
    kind, path, tokenizer, longest = sys.argv[1:]
    if kind in ("bundle", "portable"):
        label = bundle(path, "auto" if kind == "bundle" else "portable")
    else:
        label = {"onnx": onnx, "openvino": openvino}[kind](path, tokenizer, int(longest))
    for line in sys.stdin:
        request = json.loads(line)
        label(request["texts"], request["batch"])
        times = []
        for _ in range(request["calls"]):
            started = time.process_time()
            label(request["texts"], request["batch"])
            times.append(time.process_time() - started)
        print(json.dumps(times), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
