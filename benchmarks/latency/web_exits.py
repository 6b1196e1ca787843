"""Bundles with early exits in the browser, compared with the same bundles with their exits closed.

    make web browser && python -m benchmarks.accuracy.early_exits --data-root DATA --seeds 13 --timed 0
    python -m benchmarks.latency.web_exits --data-root DATA

Takes the bundles that the first command builds. One page in headless Chromium, one wasm thread, text to label, one text at a time, both
bundles in turn for each test text; the least of several rounds. The labels are compared with those of Python.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser

from benchmarks.accuracy.early_exits import SETS, tokenizer_of
from benchmarks.accuracy.unbalanced import load
from benchmarks.parity.web_browser import chromium, install, page_over
from crosstune_export import Classifier
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.bundle.selftest import read_selftest
from crosstune_export.bundle.write import selftest_bytes, write_bundle
from crosstune_export.runtime.session import open_session

ROUNDS = 3
PROGRAM = """
import { load } from "crosstune-web";
globalThis.start = async () => {
  globalThis.classifiers = { closed: await load("/closed/"), exits: await load("/exits/") };
};
globalThis.run = async (texts, rounds) => {
  const answers = {};
  for (const name in classifiers) answers[name] = { times: texts.map(() => Infinity), labels: [] };
  for (let round = 0; round <= rounds; round += 1) {
    for (let at = 0; at < texts.length; at += 1) {
      for (const name in classifiers) {
        const started = performance.now();
        const [answer] = await classifiers[name].classify([texts[at]]);
        const time = performance.now() - started;
        if (round > 0) answers[name].times[at] = Math.min(answers[name].times[at], time);  // the first round is the warm-up
        answers[name].labels[at] = answer.label;
      }
    }
  }
  return answers;
};
"""


def write_closed(bundle: Path, folder: Path) -> None:
    """Write a copy of a bundle whose exits no text takes."""
    files = read_bundle(bundle)
    manifest, model, tokenizer = files.manifest, without_exits(files.model), tokenizer_of(files)
    _, samples = read_selftest(files.selftest, "selftest", manifest.graph.precision)
    texts = [sample.text for sample in samples]
    rows = tokenizer.rows(texts)
    session = open_session(model, manifest.graph, str(bundle))
    probs = np.stack([session.run(tokenizer.batch([row]).feeds())[0][0] for row in rows])
    selftest = selftest_bytes(manifest.graph.precision, texts, rows, probs)
    write_bundle(folder, replace(manifest, exits=None, files={}), model, files.tokenizer, selftest)


def measure(browser: Browser, bundle: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    """Milliseconds and labels of some texts in a page, with exits and without."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        install(folder)
        shutil.copytree(bundle, folder / "exits")
        write_closed(bundle, folder / "closed")
        expected = {
            name: [answer.label for answer in Classifier.load(folder / name, kernels="portable").classify(texts)]
            for name in ("closed", "exits")
        }
        with page_over(folder, browser, PROGRAM) as page:
            page.evaluate("start()")
            answers = page.evaluate("([texts, rounds]) => run(texts, rounds)", [texts, rounds])
    closed, exits = (np.array(answers[name]["times"]) for name in ("closed", "exits"))
    differing = {
        name: sum(label != other for label, other in zip(expected[name], answers[name]["labels"], strict=True))
        for name in expected
    }
    return {
        "texts": len(texts),
        "ms": round(float(closed.mean()), 2),
        "ms_with_exits": round(float(exits.mean()), 2),
        "time": round(float(exits.mean() / closed.mean()), 3),
        "worst_ms": round(float(closed.max()), 2),
        "worst_ms_with_exits": round(float(exits.max()), 2),
        "labels_unlike_python": differing,
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, type=Path, help="folder with a folder for each dataset")
    parser.add_argument(
        "--bundles", default="out/early_exits", type=Path, help="folder of bundles; default: out/early_exits"
    )
    parser.add_argument("--sets", default=SETS, help=f"datasets, separated by commas; default: {SETS}")
    parser.add_argument("--seed", default=13, type=int, help="seed of the bundles; default: 13")
    parser.add_argument("--budget", default=2.0, type=float, help="budget of the bundles; default: 2")
    parser.add_argument("--texts", default=100, type=int, help="test texts of each dataset; default: 100")
    parser.add_argument("--output", default="out/web_exits.json", type=Path, help="JSON file; known rows are kept")
    arguments = parser.parse_args()
    rows = json.loads(arguments.output.read_text("utf-8"))["rows"] if arguments.output.exists() else []
    done = {row["set"] for row in rows}
    print("| set | texts | ms | with exits | time | labels unlike Python's |\n|" + "---|" * 6)
    with chromium() as browser:
        for name in arguments.sets.split(","):
            bundle = arguments.bundles / f"{name}-{arguments.seed}-{arguments.budget:g}.bundle"
            texts = [example.text for example in load(arguments.data_root / name)[2]][: arguments.texts]
            if name not in done:
                rows.append({"set": name, **measure(browser, bundle, texts, ROUNDS)})
                arguments.output.parent.mkdir(parents=True, exist_ok=True)
                lines = ",\n ".join(map(json.dumps, rows))
                text = f'{{"browser": "{browser.version}", "rows": [\n {lines}\n]}}\n'
                arguments.output.write_text(text, "utf-8")
    for row in rows:
        unlike = sum(row["labels_unlike_python"].values())
        print(
            f"| {row['set']} | {row['texts']} | {row['ms']} | {row['ms_with_exits']} | {row['time']:.2f} | {unlike} |"
        )
    print(f"mean time {np.mean([row['time'] for row in rows]):.2f} of {len(rows)} sets")


if __name__ == "__main__":
    main()
