"""Time from a text to its token ids in the C++ and the web runtime, compared with the tokenizers library.

    make cpp web && python -m benchmarks.latency.tokenizer_speed --bundle out/support.bundle --data-root DATA

The tokenizers are those of the tests: small ones with the parts that published encoders have, and the WordPiece of the bundle. The
library, C++ (through ctypes) and Node tokenize the same texts in turns, each on one thread. Times are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.parity.cpp_parity import real_texts
from benchmarks.parity.tokenizer_parity import LIBRARY, link_package
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.tokenization import TextTokenizer
from tests.fixtures import c_library
from tests.fixtures.edited_bundle import with_tokenizer
from tests.fixtures.node_runtime import NODE_HOME
from tests.fixtures.subword_tokenizers import BPE, UNIGRAM, tokenizer_of

RUNTIMES = ("library", "C++", "Node")
NODE_PROGRAM = """
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { load } from "crosstune-web";
const classifier = await load(process.argv[2]);
const texts = JSON.parse(readFileSync("texts.json"));
for await (const _ of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  classifier.tokenize(texts);
  const { user, system } = process.cpuUsage(before);
  console.log((user + system) / 1e6);
}
"""


def microseconds(
    bundle: Path, reference: TextTokenizer, texts: Sequence[str], rounds: int, folder: Path
) -> dict[str, float]:
    """Median processor time per text in each runtime; the first tenth of the rounds does not count."""
    cpp = c_library.Library(str(LIBRARY.resolve())).load(bundle)
    encoded = [text.encode() for text in texts]
    node = subprocess.Popen(
        [NODE_HOME / "bin" / "node", "speed.mjs", bundle],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert node.stdin is not None and node.stdout is not None
    found: dict[str, list[float]] = {name: [] for name in RUNTIMES}
    for _ in range(rounds):
        found["library"].append(_seconds(lambda: reference.rows(texts)))
        found["C++"].append(_seconds(lambda: [cpp.tokenize(text) for text in encoded]))
        print(file=node.stdin, flush=True)
        found["Node"].append(float(node.stdout.readline()))
    node.stdin.close()
    node.wait()
    return {name: 1e6 * statistics.median(times[rounds // 10 :]) / len(texts) for name, times in found.items()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder; its tokenizer is exchanged")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--texts", type=int, default=2000, help="number of texts, spread over the data")
    parser.add_argument("--rounds", type=int, default=30, help="rounds; the first tenth does not count")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmarks/results/tokenizer_speed.json"), help="JSON file to write"
    )
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    every = list(real_texts(arguments.data_root))
    texts = every[:: len(every) // arguments.texts][: arguments.texts]
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        link_package(folder)
        (folder / "speed.mjs").write_text(NODE_PROGRAM, "utf-8")
        (folder / "texts.json").write_text(json.dumps(texts), "utf-8")
        for name in ("wordpiece", *BPE, *UNIGRAM):
            if name == "wordpiece":
                files = read_bundle(arguments.bundle)
                bundle = arguments.bundle.resolve()
                reference = TextTokenizer(files.tokenizer, files.manifest.tokens, False, "here")
            else:
                bundle, reference = with_tokenizer(arguments.bundle, folder / f"{name}.bundle", tokenizer_of(name))
            rows[name] = microseconds(bundle, reference, texts, arguments.rounds, folder)
    arguments.output.write_text(json.dumps({"texts": len(texts), "microseconds": rows}, indent=1) + "\n", "utf-8")
    table = Table("tokenizer", *(f"{name}, µs per text" for name in RUNTIMES), "C++ is faster by", "Node is faster by")
    for name, times in rows.items():
        ratios = (times["library"] / times[other] for other in RUNTIMES[1:])
        table.add_row(name, *(f"{times[other]:.1f}" for other in RUNTIMES), *(f"{ratio:.2f}x" for ratio in ratios))
    Console(width=120).print(table)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
