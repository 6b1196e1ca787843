"""Load the bundles of an attacker in every runtime, and report how each one ends, how long it takes and how much memory.

    python -m benchmarks.robustness.attacks tests/golden/format-1.1.bundle.zip --classify build/cpp/release/crosstune-classify --node

Each bundle of ``attack_bundles.py`` is given to a process of its own with three texts: an ordinary one, one with the word that forged
graphs wait for, and 60 KB of one letter. It must be refused with code 5, or answered within bounds: at most 20 s of a processor and
1 GiB more than the genuine bundle takes, and the same answers a second time. The benchmark fails otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.robustness.bundle_loaders import NodeLoader

#: Bounds beyond what the genuine bundle takes.
MOST_PROCESSOR_S, MOST_MEMORY_MB = 20.0, 1024
_TIMEOUT_S = 180
#: Exit codes of the errors of the web runtime that are no refusal of a bundle.
_WEB_CODES = {None: 0, "ConfigError": 2, "PlatformError": 2, "DataError": 3}


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        code: Exit code, negative after a signal; None if it was ended for its time.
        processor_s: Time that it took of a processor.
        memory_mb: Largest resident memory.
        message: Last line of its errors.
        output: What it wrote.
    """

    code: int | None
    processor_s: float
    memory_mb: int
    message: str
    output: bytes


def run(command: list[object], stdin: bytes = b"", cwd: Path | None = None) -> Ending:
    """Run a command to its end, with one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=cwd
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    ended: list[int] = []
    timer = threading.Timer(_TIMEOUT_S, lambda: (ended.append(1), os.kill(process.pid, signal.SIGKILL)))
    timer.start()
    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
    reader.start()
    process.stdin.write(stdin)
    process.stdin.close()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    timer.cancel()
    reader.join()
    message = errors[-1].decode("utf-8", "replace").rstrip() if errors else ""
    code = None if ended else process.returncode
    return Ending(code, round(usage.ru_utime + usage.ru_stime, 2), usage.ru_maxrss >> 10, message, output)


def make_bundles(bundle: Path, folder: Path) -> dict[str, Path]:
    """Make the bundles of an attacker, by name, in another process: this one stays small, as its children start with its memory."""
    subprocess.run([sys.executable, "-m", "benchmarks.robustness.attack_bundles", bundle, folder], check=True)
    names = json.loads((folder / "names.json").read_text("utf-8"))
    return {name: folder / f"{number:03}.bundle" for number, name in enumerate(names)}


class Runtimes:
    """The three runtimes as commands."""

    def __init__(self, texts: Path, classify: Path | None, node: bool) -> None:
        self._texts, self._classify = texts, classify
        self.names = ["Python", *(["C++"] if classify else []), *(["web"] if node else [])]

    def classify(self, runtime: str, bundle: Path) -> Ending:
        """Classify the texts."""
        if runtime == "Python":
            return run(
                [Path(sys.executable).with_name("crosstune-export"), "classify", bundle, self._texts, "--threads", 1]
            )
        if runtime == "C++":
            return run([self._classify, bundle, self._texts])
        return self._in_node(bundle)

    def _in_node(self, bundle: Path) -> Ending:
        rows = map(json.loads, self._texts.read_text("utf-8").splitlines())
        texts = [[row["text"], row["text_pair"]] if "text_pair" in row else row["text"] for row in rows]
        program = (NodeLoader.PROGRAM.with_name("attack_node.mjs")).read_text("utf-8")
        request = json.dumps({"path": os.fspath(bundle), "texts": texts}).encode()
        ending = run([NodeLoader.node(), "--input-type=module", "--eval", program], request, NodeLoader.PACKAGE)
        if ending.code != 0:
            return ending
        answer = json.loads(ending.output)
        code = _WEB_CODES.get(answer["error"], 5 if str(answer["error"]).startswith("Bundle") else 1)
        output = json.dumps(answer["answers"]).encode()
        return Ending(code, ending.processor_s, ending.memory_mb, str(answer["message"]), output)


def problem(ending: Ending, genuine: Ending, again: Ending | None) -> str:
    """Why a bundle should not have ended so; "" where all is well."""
    if ending.code not in (0, 5):
        return f"code {ending.code}"
    if ending.processor_s > genuine.processor_s + MOST_PROCESSOR_S:
        return f"{ending.processor_s} s"
    if ending.memory_mb > genuine.memory_mb + MOST_MEMORY_MB:
        return f"{ending.memory_mb} MB"
    if b"\x1b" in ending.output or "\x1b" in ending.message:
        return "terminal escapes"
    return "other answers a second time" if again is not None and again.output != ending.output else ""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="genuine bundle without functions and branches")
    parser.add_argument("--classify", type=Path, help="the program crosstune-classify, to test the C++ runtime")
    parser.add_argument("--node", action="store_true", help="test the web runtime in Node")
    parser.add_argument("--only", default="", help="only bundles whose name contains this")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    rows, wrong = [], []
    with tempfile.TemporaryDirectory() as name:
        bundles = make_bundles(arguments.bundle, Path(name) / "made")
        runtimes = Runtimes(Path(name) / "made" / "texts.jsonl", arguments.classify, arguments.node)
        print("| bundle | " + " | ".join(runtimes.names) + " |\n|---|" + "---|" * len(runtimes.names))
        genuine: dict[str, Ending] = {}
        for title, bundle in bundles.items():
            if genuine and arguments.only not in title:
                continue
            cells = []
            for runtime in runtimes.names:
                ending = runtimes.classify(runtime, bundle)
                again = runtimes.classify(runtime, bundle) if ending.code == 0 else None
                bad = problem(ending, genuine.setdefault(runtime, ending), again)
                if ending is genuine[runtime] and ending.code != 0:
                    raise SystemExit(f"{arguments.bundle}: {runtime} refuses the genuine bundle ({ending.message}).")
                row = {"bundle": title, "runtime": runtime, **asdict(ending), "wrong": bad}
                rows.append({key: value for key, value in row.items() if key != "output"})
                cells.append(f"{ending.code}, {ending.processor_s:.1f} s, {ending.memory_mb} MB{bad and ': ' + bad}")
                if bad:
                    wrong.append(f"{title}: {runtime}: {bad}")
            print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    if arguments.json is not None:
        for row in rows:
            row["message"] = str(row["message"]).replace(name, "PLACE")[:200]
        arguments.json.write_text(json.dumps({"wrong": wrong, "rows": rows}, indent=1) + "\n", "utf-8")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
