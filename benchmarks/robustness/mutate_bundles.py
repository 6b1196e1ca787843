"""Damage and forge bundles, and check how a runtime reacts.

    python -m benchmarks.robustness.mutate_bundles BUNDLE OTHER_BUNDLE --mutations 100000 --structural 5000 --json FILE

- Damaged bundles, with wrong hashes: bits flipped, members cut at every length, spliced, swapped, exchanged with
  those of another bundle, removed, added; the same for the packed form. All must be refused.
- Forged bundles, with correct hashes: fields of the graph removed, doubled, renamed, and so on. These may be accepted
  if they stay within the lists of the format. Every graph that reaches onnxruntime is checked with the onnx package,
  which must find no operator beyond the lists and no external data, and with the Python runtime, so that no other
  runtime is less strict.

Bundles are loaded in forks, so that crashes are counted. Hangs are detected by processor time. ``--libcrosstune FILE``
tests the C++ runtime, ``--node`` the web runtime in one Node process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.robustness.bundle_loaders import PROMISED, CppLoader, Loader, NodeLoader, Outcome, PythonLoader
from benchmarks.robustness.bundle_mutations import Contents, cut, damaged, damaged_bytes, misplaced, rehashed
from crosstune_export import BundleError
from crosstune_export.bundle.archive import MEMBERS, archive_parts
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.graph_rules import BRANCHES, FUNCTION, OPERATORS
from crosstune_export.bundle.manifest import MANIFEST_NAME, MODEL_NAME, parse_manifest

#: Runs in one fork.
SHARE = 250
HANG_S = 5.0


def put(folder: Path, contents: Contents, now: Contents) -> None:
    """Make a folder hold these contents, writing only what differs from what it holds now."""
    for name, data in contents.items():
        if now.get(name) is not data:
            (folder / name).write_bytes(data)
            now[name] = data


def foreign_parts(model: bytes) -> str:
    """What the onnx package finds in a graph that must never reach onnxruntime; "" where there is nothing."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        parsed = onnx.load_from_string(model)
    except DecodeError as error:
        return f"something that onnx cannot read: {error}"
    functions = [(function.name, function.domain) for function in parsed.functions]
    graphs = [parsed.graph, *parsed.functions]
    tensors, foreign = list(parsed.graph.initializer), [name for name in functions if name != FUNCTION]
    while graphs:
        for node in graphs.pop().node:
            name, domain = node.op_type, node.domain.replace("ai.onnx", "")
            branches = (name, domain) == BRANCHES
            if not branches and (name, domain) not in functions and name not in OPERATORS.get(domain, {}):
                foreign.append((name, domain))
            for item in node.attribute:
                inner = [*([item.g] if item.HasField("g") else []), *item.graphs]
                foreign += [] if branches else [(item.name, graph.name) for graph in inner]
                graphs += inner
                tensors += [item.t, *(tensor for graph in inner for tensor in graph.initializer)]
                foreign += [(item.name, graph.name) for graph in inner if graph.sparse_initializer]
    outside = [tensor.name for tensor in tensors if tensor.external_data or tensor.data_location]
    if foreign or outside or len(functions) > 1 or parsed.graph.sparse_initializer:
        return f"{foreign} {outside}"
    return ""


def wrongly_reached(model: bytes | None, contents: Contents, good: Contents) -> str:
    """Why onnxruntime should not have been given this graph; "" where it should, or was not."""
    if model is None or model == good[MODEL_NAME]:
        return ""
    try:
        manifest = parse_manifest(contents[MANIFEST_NAME], MANIFEST_NAME)
        check_graph(model, manifest.graph, MODEL_NAME, manifest.tokens.max_length_tokens)
    except BundleError as error:
        return str(error)
    return foreign_parts(model)


def share(place: Path, kind: str, seeds: range, good: Contents, other: Contents, loader: Loader, report: int) -> None:
    """In a fork: some mutations, a line of JSON for each, written before (its number) and after (what became of it)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    folder, now = place / "x.bundle", {}
    for seed in seeds:
        os.write(report, f"{seed}\n".encode())
        draw, path, contents = random.Random(f"{kind} {seed}"), folder, good
        if kind == "packed":
            path = place / "x.zip"
            path.write_bytes(damaged_bytes(b"".join(archive_parts(good)), draw))
        elif kind == "misplaced":
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            put(folder, good, {})
            misplaced(folder, draw)
        else:
            if kind == "cut":
                contents = cut(good, seed)
            elif kind in ("damaged", "rehashed"):
                contents = damaged(good, other, draw) if kind == "damaged" else rehashed(good, draw)
            folder.mkdir(exist_ok=True)
            put(folder, contents, now)
        outcome = loader.load(path)
        os.write(report, (json.dumps(_row(outcome, wrongly_reached(outcome.reached, contents, good))) + "\n").encode())


def _row(outcome: Outcome, reached: str) -> dict[str, object]:
    hang = outcome.processor_s > HANG_S
    return {"result": outcome.result, "hang": hang, "outside": outcome.outside, "reached": reached}


def run(
    place: Path, kind: str, count: int, good: Contents, other: Contents, loader: Loader
) -> Iterator[dict[str, object]]:
    """What became of each mutation; a fork that dies is a crash, and the next goes on behind it."""
    at = 0
    while at < count:
        loader.start()
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            try:
                share(place, kind, range(at, min(count, at + SHARE)), good, other, loader, writer)
                os._exit(0)
            except BaseException as error:
                row = _row(Outcome(f"exception {error!r}", 0.0), "")
                os.write(writer, (json.dumps(row) + "\n").encode())
                os._exit(9)
        os.close(writer)
        with os.fdopen(reader) as lines:
            done = False
            for line in lines:
                done = line.startswith("{")
                if done:
                    yield json.loads(line)
                else:
                    at = int(line) + 1
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if not done:
            yield _row(Outcome(f"crash {status} at {kind} {at - 1}", 0.0), "")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="bundle to damage and forge")
    parser.add_argument("other", type=Path, help="bundle to take other members from")
    parser.add_argument("--mutations", type=int, default=10_000, help="damaged bundles, over all kinds")
    parser.add_argument("--structural", type=int, default=1_000, help="forged bundles")
    place_of_python = parser.add_mutually_exclusive_group()
    place_of_python.add_argument("--libcrosstune", help="test the C++ runtime: path of libcrosstune")
    place_of_python.add_argument("--node", action="store_true", help="test the web runtime in Node")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    good, other = (dict(read_bundle(path).contents) for path in (arguments.bundle, arguments.other))
    cuts = min(sum(len(good[name]) for name in MEMBERS[:-1]), arguments.mutations // 2)
    left = arguments.mutations - cuts
    kinds = {
        "good": 1,
        "cut": cuts,
        "misplaced": left // 10,
        "damaged": left - left // 10 - left // 4,
        "packed": left // 4,
        "rehashed": arguments.structural,
        "good again": 1,
    }
    rows, wrong, started = {}, [], time.monotonic()
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as name, Progress(console=Console(stderr=True)) as progress:
        place = Path(name)
        node = NodeLoader(place)
        loader: Loader = node if arguments.node else PythonLoader(place)
        if arguments.libcrosstune is not None:
            loader = CppLoader(arguments.libcrosstune)
        for kind, count in kinds.items():
            results: Counter[str] = Counter()
            for row in progress.track(run(place, kind, count, good, other, loader), count, description=kind):
                result = str(row["result"])
                results[result] += 1
                bad = result not in PROMISED or row["hang"] or row["outside"] or row["reached"]
                if bad or (kind != "rehashed" and (result == "accepted") != kind.startswith("good")):
                    wrong.append(f"{kind}: {row}"[:300])
            rows[kind] = dict(results)
            shutil.rmtree(place / "x.bundle", ignore_errors=True)
        node.close()
    found = {
        "runtime": "node" if arguments.node else "python" if arguments.libcrosstune is None else "c++",
        "mutations": kinds,
        "results": rows,
        "wrong": wrong,
    }
    print(json.dumps(found, indent=1))
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
