"""Token ids and answers of the C++ runtime compared with Python, on real texts, random strings and every code point.

    make cpp && python -m benchmarks.parity.cpp_parity --bundle out/support.bundle --data-root DATA --random 1000000

- Ids: the bundle's tokenizer compared with the reference, on every code point, on all texts of the data root, and on
  random strings of mixed scripts.
- Answers: for each dataset of --answers, a checkpoint is trained on eight shots per label with the packaged backbone
  and built in fp32 and int8. Both runtimes classify every text of its test.jsonl, one per call.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from crosstune import load_checkpoint
from crosstune_export import Classifier

PROGRAM = Path("build/cpp/release/crosstune-classify")
WINDOW = 20_000
#: First and last code point of what random strings are mixed from.
SCRIPTS = (
    (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x530, 0x6FF), (0x900, 0xE7F),
    (0x1000, 0x11FF), (0x1A00, 0x1BFF), (0x1DC0, 0x206F), (0x20A0, 0x2BFF), (0x3000, 0x33FF), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFFFF), (0x10000, 0x10FFF), (0x11000, 0x11FFF), (0x1D000, 0x1D7FF),
    (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE01EF), (0x10FF00, 0x10FFFF),
)  # fmt: skip


def program(bundle: Path, texts: list[str], *options: str) -> list[dict[str, object]]:
    """Rows of crosstune-classify."""
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    command = [PROGRAM, *options, "--input-format", "jsonl", bundle]
    done = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.split(b"\n") if line]


def differing_ids(bundle: Path, python: Classifier, texts: Iterable[str]) -> dict[str, int]:
    """How many texts there are, and how many have other ids."""
    count = wrong = 0
    source = iter(texts)
    while window := list(islice(source, WINDOW)):
        rows = program(bundle, window, "--ids")
        expected = python.token_ids(window)
        count += len(window)
        wrong += sum(tuple(row["input_ids"]) != ids for row, ids in zip(rows, expected, strict=True))
    return {"texts": count, "differing": wrong}


def real_texts(root: Path) -> Iterator[str]:
    """Every text of every JSON Lines file under the root."""
    for path in sorted(root.rglob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            yield from (row[key] for key in ("text", "text_pair") if isinstance(row.get(key), str))


def code_points() -> Iterator[str]:
    """Each code point within a word, alone, and before marks, 40 of them in a text."""
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    for start in range(0, len(points), 40):
        yield " ".join(f"a{chr(code)}b {chr(code)} {chr(code)}\u0340\u0306" for code in points[start : start + 40])


def random_strings(count: int) -> Iterator[str]:
    """Up to 60 characters out of up to four scripts, in runs."""
    source = random.Random(0)
    for _ in range(count):
        scripts = source.choices(SCRIPTS, k=source.randrange(1, 5))
        characters: list[str] = []
        for _ in range(source.randrange(1, 9)):
            first, last = source.choice(scripts)
            characters += (chr(source.randint(first, last)) for _ in range(source.randrange(8)))
            characters += source.choice(("", " ", "-"))
        yield "".join(characters)


def answers(folder: Path, work: Path) -> dict[str, object]:
    """Labels and probabilities of both runtimes on a data set's test texts."""
    checkpoint = work / f"{folder.name}.ckpt"
    train = ["crosstune", "train", "--train", folder / "train.jsonl", "--labels", folder / "labels.json"]
    execute([*train, "--shots", "8", "--output", checkpoint])
    texts = [json.loads(line)["text"] for line in (folder / "test.jsonl").read_text("utf-8").splitlines()]
    report: dict[str, object] = {"texts": len(texts), "labels": len(load_checkpoint(checkpoint).labels.names)}
    for precision in ("fp32", "int8"):
        bundle = work / f"{folder.name}-{precision}.bundle"
        execute(
            [
                "crosstune-export",
                "build",
                checkpoint,
                "--output",
                bundle,
                "--precision",
                precision,
                "--max-flips",
                "100",
            ]
        )
        rows = program(bundle, texts)
        expected = Classifier.load(bundle).classify(texts, batch_size=1)
        probs = np.array([list(row["probs"].values()) for row in rows])
        report[precision] = {
            "labels_differing": sum(row["label"] != answer.label for row, answer in zip(rows, expected, strict=True)),
            "max_prob_difference": float(np.abs(probs - np.array([answer.probs for answer in expected])).max()),
        }
    return report


def execute(command: list[object]) -> None:
    """Run a program of this project."""
    name, *rest = command
    subprocess.run([Path(sys.executable).parent / str(name), *map(str, rest)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder with a folder for each dataset")
    parser.add_argument("--random", type=int, default=1_000_000, help="number of random strings")
    parser.add_argument("--answers", default="sst5,trec,snips,cr", help="datasets to train and classify")
    parser.add_argument("--output", type=Path, default=Path("out/cpp_parity.json"), help="JSON file to write")
    arguments = parser.parse_args()
    python = Classifier.load(arguments.bundle)
    report: dict[str, object] = {"ids": {}, "answers": {}}
    for name, texts in (
        ("every code point", code_points()),
        ("texts of the data root", real_texts(arguments.data_root)),
        ("random strings", random_strings(arguments.random)),
    ):
        report["ids"][name] = differing_ids(arguments.bundle, python, texts)
        print(json.dumps({name: report["ids"][name]}), flush=True)
    with tempfile.TemporaryDirectory() as work:
        for name in filter(None, arguments.answers.split(",")):
            report["answers"][name] = answers(arguments.data_root / name, Path(work))
            print(json.dumps({name: report["answers"][name]}), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
