"""A plain loop over sentence-transformers' ONNX int8 backend, with logistic regression. ``offline.py compare`` runs it by path.

PEER/bin/python benchmarks/latency/offline_peer.py WEIGHTS TRAIN.jsonl ROWS.jsonl OUTPUT.jsonl
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

SHOTS = 16
BATCH = 32


def main(weights: str, train: str, rows: str, output: str) -> None:
    """Fit on some shots, label all rows, and print the seconds of the loop."""
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model
    from sklearn.linear_model import LogisticRegression

    with tempfile.TemporaryDirectory() as folder:
        plain = SentenceTransformer(weights, backend="onnx", model_kwargs={"export": True}, device="cpu")
        plain.save_pretrained(folder)
        export_dynamic_quantized_onnx_model(plain, "avx512_vnni", folder)
        model = SentenceTransformer(
            folder, backend="onnx", model_kwargs={"file_name": "onnx/model_qint8_avx512_vnni.onnx"}, device="cpu"
        )
        shots: dict[str, list[str]] = {}
        for line in Path(train).read_text("utf-8").splitlines():
            row = json.loads(line)
            if len(shots.setdefault(row["label"], [])) < SHOTS:
                shots[row["label"]].append(row["text"])
        texts = [text for group in shots.values() for text in group]
        labels = [label for label, group in shots.items() for _ in group]
        head = LogisticRegression(max_iter=1000).fit(model.encode(texts), labels)
        started, busy = time.monotonic(), time.process_time()
        with Path(rows).open(encoding="utf-8") as source, Path(output).open("w", encoding="utf-8") as sink:
            while lines := list(islice(source, 1024)):
                found = [json.loads(line) for line in lines]
                probs = head.predict_proba(model.encode([row["text"] for row in found], batch_size=BATCH))
                for row, values in zip(found, probs, strict=True):
                    best = int(values.argmax())
                    answer = {"label": head.classes_[best], "prob": float(values[best])}
                    sink.write(json.dumps(row | answer) + "\n")
        print(json.dumps({"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - busy}))


if __name__ == "__main__":
    main(*sys.argv[1:])
