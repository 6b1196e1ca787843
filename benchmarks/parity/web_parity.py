"""Token ids and answers of the browser compared with Python, in headless Chromium, on real texts and random strings.

    make web browser && python -m benchmarks.parity.web_parity --bundle out/support.bundle --data-root DATA

- Ids: the bundle's tokenizer compared with the reference, on every code point, texts of the data root, and random
  strings of mixed scripts.
- Answers: for each dataset of --answers, a checkpoint is trained on eight shots per label with the packaged backbone
  and built in fp32 and int8. Both runtimes classify texts of its test.jsonl, one per call.
- Control: Python compared with Python whose first layer norm is changed by about 1e-7. It shows the effect of
  rounding differences on int8.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from playwright.sync_api import Page

from benchmarks.parity.cpp_parity import code_points, execute, random_strings, real_texts
from benchmarks.parity.web_browser import chromium, install, page_over
from crosstune_export import Classifier

PROGRAM = """
import { load } from "crosstune-web";
let classifier;
globalThis.open = async (folder) => { await classifier?.close(); classifier = await load(folder); };
globalThis.ids = (texts) => classifier.tokenize(texts).map((row) => row.ids.join());
globalThis.answers = async (texts) =>
  (await classifier.classify(texts)).map(({ label, probs }) => ({ label, probs: Array.from(probs) }));
"""
WINDOW = 5_000


def differing_ids(page: Page, python: Classifier, texts: Iterable[str]) -> dict[str, int]:
    """How many texts there are, and how many have other ids."""
    count = wrong = 0
    source = iter(texts)
    while window := list(islice(source, WINDOW)):
        found = page.evaluate("(texts) => ids(texts)", window)
        expected = [",".join(map(str, row)) for row in python.token_ids(window)]
        count += len(window)
        wrong += sum(a != b for a, b in zip(found, expected, strict=True))
    return {"texts": count, "differing": wrong}


def answers(page: Page, bundle: Path, texts: list[str]) -> dict[str, object]:
    """Labels and probabilities of the browser, and of Python in another order, against Python."""
    page.evaluate("(folder) => open(folder)", f"/{bundle.name}/")
    rows = page.evaluate("(texts) => answers(texts)", texts)
    python = Classifier.load(bundle)
    expected = python.classify(texts, batch_size=1)
    probs = np.array([answer.probs for answer in expected])
    differences = np.abs(np.array([row["probs"] for row in rows]) - probs).max(1)
    control = np.abs(nudged(python, bundle, texts) - probs).max(1)
    return {
        "texts": len(texts),
        "labels_differing": sum(row["label"] != answer.label for row, answer in zip(rows, expected, strict=True)),
        "max_prob_difference": float(differences.max()),
        "median_prob_difference": float(np.median(differences)),
        "texts_above_1e-3": int((differences > 1e-3).sum()),
        "nudged_python_max_prob_difference": float(control.max()),
        "nudged_python_median_prob_difference": float(np.median(control)),
        "nudged_python_texts_above_1e-3": int((control > 1e-3).sum()),
    }


def nudged(python: Classifier, bundle: Path, texts: list[str]) -> npt.NDArray[np.float32]:
    """Python's probabilities with the first layer norm moved by some 1e-7 an entry, float32 of shape (N, L)."""
    model = onnx.load_from_string((bundle / "model.onnx").read_bytes())
    first = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    bias = next(value for value in model.graph.initializer if value.name == first.input[2])
    array = onnx.numpy_helper.to_array(bias)
    moved = array + 1e-7 * np.random.default_rng(0).standard_normal(array.shape)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved.astype(np.float32), bias.name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    off = list(python.manifest.graph.disabled_optimizers)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"], disabled_optimizers=off
    )
    rows = []
    for ids in python.token_ids(texts):
        feeds = {"input_ids": np.array([ids], np.int64), "attention_mask": np.ones((1, len(ids)), np.int64)}
        rows.append(session.run(["probs"], feeds)[0][0])
    return np.array(rows)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--random", type=int, default=100_000, help="number of random strings")
    parser.add_argument("--answers", default="trec,snips,cr", help="datasets to train and classify")
    parser.add_argument("--texts", type=int, default=334, help="texts per dataset of --answers")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/web_parity.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    report: dict[str, dict[str, object]] = {"ids": {}, "answers": {}}
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = Path(temporary)
        install(folder)
        shutil.copytree(arguments.bundle, folder / "ids.bundle")
        with page_over(folder, browser, PROGRAM) as page:
            page.evaluate("(folder) => open(folder)", "/ids.bundle/")
            python = Classifier.load(arguments.bundle)
            for name, texts in (
                ("every code point", code_points()),
                ("texts of the data root", islice(real_texts(arguments.data_root), 100_000)),
                ("random strings", random_strings(arguments.random)),
            ):
                report["ids"][name] = differing_ids(page, python, texts)
                print(json.dumps({name: report["ids"][name]}), flush=True)
            for name in filter(None, arguments.answers.split(",")):
                data = arguments.data_root / name
                texts = [json.loads(line)["text"] for line in (data / "test.jsonl").read_text("utf-8").splitlines()]
                texts = random.Random(0).sample(texts, min(arguments.texts, len(texts)))
                checkpoint = folder / f"{name}.ckpt"
                inputs = ["--train", data / "train.jsonl", "--labels", data / "labels.json"]
                execute(["crosstune", "train", *inputs, "--shots", "8", "--output", checkpoint])
                for precision in ("fp32", "int8"):
                    bundle = folder / f"{name}-{precision}.bundle"
                    options = ["--output", bundle, "--precision", precision, "--max-flips", "100"]
                    execute(["crosstune-export", "build", checkpoint, *options])
                    report["answers"][f"{name} {precision}"] = answers(page, bundle, texts)
                    print(json.dumps({f"{name} {precision}": report["answers"][f"{name} {precision}"]}), flush=True)
                    arguments.output.write_text(
                        json.dumps(report, indent=1) + "\n", "utf-8"
                    )  # the next set takes minutes


if __name__ == "__main__":
    main()
