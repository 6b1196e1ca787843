"""Latency, memory and size of the C++ runtime, compared with onnxruntime alone and with the Python runtime.

    make cpp && python -m benchmarks.latency.cpp_speed out/support.bundle --data DATA/ag_news/test.jsonl

Calls from text to label and calls of onnxruntime alone alternate in one process, on the same ids. Times are processor
time of the working thread, which other programs change little. Load time and memory are measured in new processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from crosstune_export import Classifier

BUILD = Path("build/cpp/release")
PYTHON = """
import sys
from crosstune_export import Classifier
Classifier.load(sys.argv[1]).classify(["where is my parcel"])
status = open("/proc/self/status").read()
print(*(1024 * int(status.split(f"{name}:")[1].split()[0]) for name in ("VmRSS", "VmHWM")))
"""


def texts_of_lengths(classifier: Classifier, texts: list[str], lengths: list[int]) -> list[str]:
    """One text of exactly so many tokens for each length, out of the words of the texts."""
    words = " ".join(texts).split()
    found = []
    for length in lengths:
        for start in range(0, len(words) - length, 7):
            cut = (" ".join(words[start : start + count]) for count in range(length, 0, -1))
            text = next(text for text in cut if len(classifier.token_ids([text])[0]) <= length)
            if len(classifier.token_ids([text])[0]) == length:
                found.append(text)
                break
    return found


def speed(bundle: Path, texts: list[str], rounds: int) -> list[dict[str, float]]:
    """Rows of crosstune-speed."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(" ".join(text.split()) + "\n" for text in texts))
        file.flush()
        command = [BUILD / "crosstune-speed", bundle, file.name, str(rounds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def python_memory(bundle: Path) -> tuple[int, int]:
    """Resident bytes of a Python process that has classified a text: now, and the most so far."""
    done = subprocess.run([sys.executable, "-c", PYTHON, bundle], check=True, stdout=subprocess.PIPE, text=True)
    now, most = map(int, done.stdout.split())
    return now, most


def stripped_bytes(binary: Path) -> int:
    """Size of a program or library without its symbols."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["strip", "-o", Path(folder) / "stripped", binary], check=True)
        return (Path(folder) / "stripped").stat().st_size


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle folder")
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines file with texts")
    parser.add_argument("--rounds", type=int, default=300, help="timed calls per length")
    parser.add_argument("--loads", type=int, default=15, help="processes to measure loading in")
    parser.add_argument("--output", type=Path, default=Path("out/cpp_speed.json"), help="JSON file to write")
    arguments = parser.parse_args()
    subprocess.run(
        [Path(sys.executable).parent / "cmake", "-S", "runtime_cpp", "-B", BUILD, "-DCROSSTUNE_BENCH=ON"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run([Path(sys.executable).parent / "cmake", "--build", BUILD], check=True, stdout=subprocess.DEVNULL)
    texts = [json.loads(line)["text"] for line in arguments.data.read_text("utf-8").splitlines()]
    first, *rows = speed(
        arguments.bundle, texts_of_lengths(Classifier.load(arguments.bundle), texts, [16, 32, 128]), arguments.rounds
    )
    for row in rows:
        row["allowed_p50_us"] = 1.05 * row["onnxruntime_p50_us"] + 30
    loads = [speed(arguments.bundle, [], 0)[0] for _ in range(arguments.loads)]
    python = [python_memory(arguments.bundle) for _ in range(3)]
    report = {
        "onnxruntime": first["onnxruntime"],
        "latency": rows,
        "tokenizer": speed(arguments.bundle, texts, 0)[1],
        "load_and_first_answer_ms": {
            "wall_best": min(load["load_and_first_answer_ms"] for load in loads),
            "wall_median": statistics.median(load["load_and_first_answer_ms"] for load in loads),
            "processor_median": statistics.median(load["processor_ms"] for load in loads),
        },
        "stripped_bytes": {name: stripped_bytes(BUILD / name) for name in ("crosstune-classify", "libcrosstune.so")},
        "rss_bytes": {"cpp": loads[0]["rss_bytes"], "python": statistics.median(rss for rss, _ in python)},
        "peak_rss_bytes": {"cpp": loads[0]["peak_rss_bytes"], "python": statistics.median(peak for _, peak in python)},
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
