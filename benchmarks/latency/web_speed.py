"""Latency in the browser compared with transformers.js on the same weights, and the cost of a first visit.

    make web browser && python -m benchmarks.latency.web_speed --bundle out/support.bundle

One page in headless Chromium, one wasm thread, from text to label, in turns of five calls:

- crosstune-web with the bundle;
- transformers.js with its usual graph of the same backbone (exported, dynamic int8, a linear head);
- transformers.js with the graph of the bundle, to separate the graph from the rest.

Then the page of ``crosstune-export web`` is visited: bytes sent by file, and the time until a user can type.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import onnx
import psutil
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from playwright.sync_api import Browser, Page, sync_playwright
from transformers import AutoModelForSequenceClassification

from benchmarks.parity.web_browser import IMPORTS, chromium, install, launch_options, page_over
from crosstune.backbone.loading import packaged_folder
from crosstune_export import Classifier
from crosstune_export.web.page_server import make_server, served_files

TRANSFORMERS_JS = "@huggingface/transformers@4.3.1"
#: Calls in one turn.
BLOCK = 5
PROGRAM = """
import { load } from "crosstune-web";
import { env, pipeline } from "@huggingface/transformers";
env.allowLocalModels = true;
env.allowRemoteModels = false;
env.localModelPath = "/models/";
env.backends.onnx.wasm.wasmPaths = "WASM";
env.backends.onnx.wasm.numThreads = 1;
globalThis.start = async () => {
  const classifier = await load("/bundle/");
  const usual = await pipeline("text-classification", "usual", { dtype: "q8", device: "wasm" });
  const ours = await pipeline("text-classification", "ours", { dtype: "q8", device: "wasm" });
  globalThis.calls = {
    "crosstune-web": async (text) => (await classifier.classify([text]))[0].label,
    "transformers.js": async (text) => (await usual(text))[0].label,
    "transformers.js, our graph": async (text) => (await ours(text))[0].label,
  };
  return ours.tokenizer("a b").input_ids.dims;
};
globalThis.run = async (name, text, count) => {
  const times = [];
  let label;
  for (let call = 0; call < count; call += 1) {
    const started = performance.now();
    label = await calls[name](text);
    times.push(performance.now() - started);
  }
  return { times, label };
};
"""


def dependency(folder: Path, package: str, name: str) -> str:
    """The address of a package's own copy of what it depends on."""
    own = folder / "node_modules" / package / "node_modules" / name
    return "/" + (own if own.exists() else folder / "node_modules" / name).relative_to(folder).as_posix()


def usual_graph(folder: Path, weights: Path, labels: tuple[str, ...]) -> None:
    """What transformers.js reads: the backbone with a linear head, exported by torch, dynamic int8."""
    (folder / "onnx").mkdir(parents=True)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        weights, num_labels=len(labels), id2label=dict(enumerate(labels)), attn_implementation="eager"
    ).eval()
    ids = torch.ones(2, 16, dtype=torch.int64)
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=2, max=512)}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    program = torch.onnx.export(
        model, kwargs=dict.fromkeys(names, ids), input_names=names, output_names=["logits"],
        dynamic_shapes=dict.fromkeys(names, dynamic), dynamo=True, external_data=False, optimize=True, verbose=False,
    )  # fmt: skip
    program.save(folder / "fp32.onnx")
    quantize_dynamic(
        folder / "fp32.onnx", folder / "onnx" / "model_quantized.onnx", weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    model.config.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(weights / name, folder)


def our_graph(folder: Path, usual: Path, bundle: Path) -> None:
    """The bundle's graph under the names that transformers.js asks for."""
    shutil.copytree(usual, folder, ignore=shutil.ignore_patterns("*.onnx"))
    model = onnx.load_from_string((bundle / "model.onnx").read_bytes())
    model.graph.node.append(onnx.helper.make_node("Identity", ["probs"], ["logits"]))
    probs = next(output for output in model.graph.output if output.name == "probs")
    probs.name = "logits"
    for output in [output for output in model.graph.output if output.name != "logits"]:
        model.graph.output.remove(output)
    (folder / "onnx" / "model_quantized.onnx").write_bytes(model.SerializeToString())


def latency(browser: Browser, bundle: Path, lengths: list[int], rounds: int) -> dict[str, object]:
    """Milliseconds of a text, by its length in tokens and by who classifies it."""
    classifier = Classifier.load(bundle)
    report: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        install(folder, TRANSFORMERS_JS)
        shutil.copytree(bundle, folder / "bundle")
        weights = packaged_folder("minilm")
        usual_graph(folder / "models" / "usual", weights, classifier.labels)
        our_graph(folder / "models" / "ours", folder / "models" / "usual", bundle)
        runtime = dependency(folder, "@huggingface/transformers", "onnxruntime-web")
        imports = IMPORTS | {
            "onnxruntime-web/wasm": dependency(folder, "crosstune-web", "onnxruntime-web")
            + "/dist/ort.wasm.bundle.min.mjs",
            "@huggingface/transformers": "/node_modules/@huggingface/transformers/dist/transformers.web.js",
            "onnxruntime-web/webgpu": f"{runtime}/dist/ort.webgpu.bundle.min.mjs",
            "onnxruntime-common": dependency(folder, "@huggingface/transformers", "onnxruntime-common")
            + "/dist/esm/index.js",
        }
        with page_over(folder, browser, PROGRAM.replace("WASM", f"{runtime}/dist/"), imports) as page:
            page.evaluate("start()")
            for length in lengths:
                text = " ".join(["parcel"] * (length - 2))
                assert len(classifier.token_ids([text])[0]) == length
                report[str(length)] = alternating(page, text, rounds)
                print(json.dumps({length: report[str(length)]}), flush=True)
    return report


def alternating(page: Page, text: str, rounds: int) -> dict[str, object]:
    """Clock and processor time of a text by each, in turns of BLOCK calls."""
    names = page.evaluate("Object.keys(calls)")
    times: dict[str, list[float]] = {name: [] for name in names}
    processor: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):  # the first turn is the warm-up
        for name in names:
            before = browser_seconds()
            found = page.evaluate("([name, text, count]) => run(name, text, count)", [name, text, BLOCK])
            if number >= 0:
                times[name] += found["times"]
                processor[name].append(1e3 * (browser_seconds() - before) / BLOCK)
    clock = {name: float(np.median(values)) for name, values in times.items()}
    busy = {name: float(np.median(values)) for name, values in processor.items()}
    ours, theirs = names[:2]
    return {
        "p50_ms": {name: round(value, 2) for name, value in clock.items()},
        "processor_ms": {name: round(value, 2) for name, value in busy.items()},
        "times_faster": round(clock[theirs] / clock[ours], 2),
        "times_less_processor": round(busy[theirs] / busy[ours], 2),
        "calls": rounds * BLOCK,
    }


def visits(bundle: Path) -> dict[str, object]:
    """Bytes that the server sends and seconds until a person can type: a first visit, and two with what the browser kept."""
    files = served_files(bundle)
    report: dict[str, object] = {}
    sent: dict[str, int] = {}

    def count(handler: BaseHTTPRequestHandler, code: int) -> None:
        file = files.get(handler.path)
        body = (file.gzipped or file.data) if file else b""
        sent[handler.path] = sent.get(handler.path, 0) + (len(body) if code == HTTPStatus.OK else 0)

    with (
        make_server(files, "127.0.0.1", 0) as server,
        tempfile.TemporaryDirectory() as profile,
        sync_playwright() as playwright,
    ):
        server.RequestHandlerClass = type("Counting", (server.RequestHandlerClass,), {"log_request": count})
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # A profile of its own, as people have one: a window without one keeps nothing as large as a graph.
        context = playwright.chromium.launch_persistent_context(profile, **launch_options())
        for name in ("first", "second", "third"):
            sent.clear()
            page = context.new_page()
            started, processor = time.perf_counter(), browser_seconds()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            page.locator("#text:enabled").wait_for(timeout=0)
            seconds = round(time.perf_counter() - started, 2)
            processor = round(browser_seconds() - processor, 2)
            report[name] = {
                "seconds_until_typing": seconds,
                "processor_seconds": processor,
                "bytes_in_all": sum(sent.values()),
                "bytes": dict(sorted(sent.items())),
            }
            print(json.dumps({name: report[name]}), flush=True)
            page.close()
        context.close()
        server.shutdown()
    return report


def browser_seconds() -> float:
    """Processor time of the browser's processes so far, which other programs change little."""
    nanoseconds = 0
    for process in psutil.Process().children(recursive=True):
        for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that ended
                nanoseconds += int(thread.read_text("ascii").split()[0])
    return nanoseconds / 1e9


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--lengths", default="16,32,128", help="tokens per text, separated by commas")
    parser.add_argument("--rounds", type=int, default=20, help="turns of 5 calls")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/web_speed.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    report: dict[str, object] = {"visits": visits(arguments.bundle)}
    with chromium() as browser:
        report["browser"] = browser.version
        report["latency"] = latency(
            browser, arguments.bundle, [int(length) for length in arguments.lengths.split(",")], arguments.rounds
        )
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
