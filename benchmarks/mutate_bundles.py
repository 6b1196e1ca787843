"""Damages bundles in many ways and looks at what becomes of them.

    python benchmarks/mutate_bundles.py BUNDLE OTHER_BUNDLE --mutations 100000 --structural 5000 --json FILE

First without right hashes: bits flipped, members cut at every length, spliced, swapped, exchanged with those of another bundle,
removed, added, and the same to the packed form. None may be accepted. Then as an attacker who makes the hashes right: fields of
the graph removed, doubled, renamed, and so on. Those may be accepted where they stay within the lists of the format; what
reaches onnxruntime is read with the onnx package, which must find no operator beyond the lists and nothing outside the file.

Runs are in forks, so that a crash is seen and counted; processor time is what counts for a hang. ``--libcrosstune`` gives the same to
the C++ runtime.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from crosstune_export import BundleError, Classifier, ExportError
from crosstune_export.manifest import MANIFEST_NAME, MODEL_NAME, SELFTEST_NAME, TOKENIZER_NAME, digest_of, file_entry
from crosstune_export.runtime.archive import MEMBERS, archive_parts
from crosstune_export.runtime.bundle_files import read_bundle
from crosstune_export.wire import BYTES, Field, bytes_field, fields, number_field

Contents = dict[str, bytes]
#: Runs in one fork.
SHARE = 250
HANG_S = 1.0
#: Messages of an ONNX file that have fields of their own, by the number under which they stand in their parent.
INNER = {
    "model": {7: "graph", 8: "opset"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor"},
    "value": {2: "type"},
    "type": {1: "type", 2: "type"},
}
WORDS = [
    b"Loop",
    b"If",
    b"Scan",
    b"EPContext",
    b"MatMul",
    b"Add",
    b"Gather",
    b"Softmax",
    b"ai.onnx.ml",
    b"com.microsoft",
    b"",
    b"input_ids",
    b"x" * 300,
    b"\xff",
]


def damaged(good: Contents, other: Contents, draw: random.Random) -> Contents:
    """One bundle whose hashes do not fit any more."""
    found, name = dict(good), draw.choice(MEMBERS)
    data = found[name]
    how = draw.randrange(6)
    if how < 2:
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        found[name] = bytes(flipped)
    elif how == 2:
        found[name] = data[: draw.randrange(len(data))]
    elif how == 3:
        at, source, size = draw.randrange(len(data)), draw.randrange(len(data)), draw.randrange(1, 200)
        found[name] = data[:at] + data[source : source + size] + data[at + draw.choice((0, size)) :]
    elif how == 4:
        second = draw.choice([member for member in MEMBERS if member != name])
        found[name], found[second] = found[second], data
    else:
        found[name] = other[name] if other[name] != data else data + b"\0"
    return found if found != good else damaged(good, other, draw)


def misplaced(folder: Path, draw: random.Random) -> None:
    """A member removed, renamed, doubled, or put behind a link."""
    path = folder / draw.choice(MEMBERS)
    how = draw.randrange(4)
    if how == 0:
        path.unlink()
    elif how == 1:
        path.rename(path.with_name(draw.choice((path.name.swapcase(), f"{path.name}.bak", f" {path.name}"))))
    elif how == 2:
        shutil.copy(path, folder / draw.choice(("weights.bin", "MODEL.ONNX", "model.onnx.data", ".hidden")))
    else:
        path.rename(folder.parent / "aside")
        path.symlink_to(folder.parent / "aside")


def restructured(message: bytes | memoryview, kind: str, draw: random.Random) -> bytes:
    """A message with one field somewhere inside changed."""
    try:
        parts = list(fields(message))
    except ValueError:  # damaged before
        return bytes(message)
    if not parts:
        return number_field(draw.randrange(1, 30), draw.randrange(1 << 33))
    inside = [part for part in parts if part.kind == BYTES and part.number in INNER.get(kind, {})]
    if inside and draw.random() < 0.85:
        picked = draw.choice(inside)
        changed = bytes_field(picked.number, restructured(picked.view, INNER[kind][picked.number], draw))
        return b"".join(changed if part is picked else bytes(part.raw) for part in parts)
    at = draw.randrange(len(parts))
    return b"".join(_changed(part, draw) if index == at else bytes(part.raw) for index, part in enumerate(parts))


def _changed(part: Field, draw: random.Random) -> bytes:
    raw, how = bytes(part.raw), draw.randrange(7)
    if how == 0:
        return b""
    if how == 1:
        return raw * 2
    if how == 2:
        return raw + bytes_field(draw.randrange(1, 32), draw.choice(WORDS))
    if how == 3 and part.kind != BYTES:
        return number_field(part.number, draw.choice((0, 1, 7, 13, 99, 1 << 31, (1 << 63) - 1, (1 << 64) - 1)))
    if part.kind == BYTES and how in (3, 4):
        return bytes_field(part.number, draw.choice(WORDS))
    if part.kind == BYTES and how == 5 and len(part.view) >= 4:
        value = bytearray(part.view)
        at = draw.randrange(len(value) - 3)
        value[at : at + 4] = draw.choice(
            (struct.pack("<f", float("nan")), struct.pack("<f", 3e38), b"\xff\xff\xff\x7f")
        )
        return bytes_field(part.number, bytes(value))
    flipped = bytearray(raw)
    flipped[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def rehashed(good: Contents, draw: random.Random) -> Contents:
    """What an attacker makes: one member changed, every hash right."""
    found = dict(good)
    body = json.loads(found[MANIFEST_NAME])
    name = draw.choices((MODEL_NAME, TOKENIZER_NAME, SELFTEST_NAME, MANIFEST_NAME), (16, 2, 1, 1))[0]
    if name == MODEL_NAME:
        for _ in range(draw.choice((1, 1, 2, 4))):
            found[name] = restructured(found[name], "model", draw)
    else:
        tree = body if name == MANIFEST_NAME else json.loads(found[name])
        _change_json(tree, draw)
        if name != MANIFEST_NAME:
            found[name] = json.dumps(tree).encode()
    for member in MEMBERS[1:]:
        entry = file_entry(found[member])
        if isinstance(body.get("files"), dict):
            body["files"][member] = {"sha256": entry.sha256, "size_bytes": entry.size_bytes}
    rest = json.dumps({key: value for key, value in body.items() if key != "digest"})
    unsigned = b'{\n  "digest": "' + b"0" * 64 + b'",\n ' + rest[1:].encode() + b"\n"
    found[MANIFEST_NAME] = unsigned.replace(b"0" * 64, digest_of(unsigned).encode(), 1)
    return found


def _change_json(tree: object, draw: random.Random) -> None:
    """Change one value somewhere inside, in place."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
        if not keys:
            return
        key = draw.choice(keys)
        if isinstance(tree[key], (dict, list)) and tree[key] and draw.random() < 0.8:  # type: ignore[index]
            tree = tree[key]  # type: ignore[index]
            continue
        tree[key] = draw.choice(
            (None, True, -1, 0, 1 << 31, 10**30, 0.5, "x", "", "(a+)+$", [], {}, [0], {"Regex": "(a+)+$"})
        )  # type: ignore[index]
        return


def put(folder: Path, contents: Contents, now: Contents) -> None:
    """Make a folder hold these contents, writing only what differs from what it holds now."""
    for name, data in contents.items():
        if now.get(name) is not data:
            (folder / name).write_bytes(data)
            now[name] = data


#: Where the kernel says how much memory and how many processors there are.
CONTROL_GROUPS = ("/proc/self/cgroup", "/sys/fs/cgroup/")


class Watch:
    """What happens while a bundle is loaded: files that are opened, graphs that reach onnxruntime."""

    def __init__(self, place: Path) -> None:
        import onnxruntime  # noqa: F401 - which looks about when it is imported

        self.opened_outside: list[str] = []
        self.reached: list[str] = []
        self._place, self._on = os.fspath(place), False
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._on and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            path = str(Path(os.fsdecode(arguments[0])).absolute())
            own = (
                sys.prefix,
                sys.base_prefix,
                os.devnull,
                *CONTROL_GROUPS,
            )  # Python's packages, the limits of this process
            if not path.startswith((self._place, *own)):
                self.opened_outside.append(path)

    def load(self, path: Path, text: str) -> str:
        """Load and classify; returns what became of it."""
        self._on = True
        try:
            Classifier.load(path).classify([text])
            return "accepted"
        except BundleError as error:
            words = str(error)
            return (
                "onnxruntime refused or failed"
                if "onnxruntime refuses" in words or "the graph fails" in words
                else "refused"
            )
        except ExportError as error:
            return type(error).__name__
        finally:
            self._on = False

    def look_at_graphs(self) -> None:
        """From here on, read with the onnx package whatever reaches onnxruntime."""
        import onnx
        import onnxruntime

        from crosstune_export.runtime.graph_check import OPERATORS

        inner = onnxruntime.InferenceSession

        def looked_at(model: bytes, *rest: object, **named: object) -> object:
            parsed = onnx.load_from_string(model)
            tensors = [*parsed.graph.initializer, *(item.t for node in parsed.graph.node for item in node.attribute)]
            foreign = [
                node.op_type
                for node in parsed.graph.node
                if node.op_type not in OPERATORS.get(node.domain.replace("ai.onnx", ""), ())
            ]
            graphs = [
                item.name for node in parsed.graph.node for item in node.attribute if item.HasField("g") or item.graphs
            ]
            outside = [tensor.name for tensor in tensors if tensor.external_data or tensor.data_location]
            if foreign or graphs or outside or parsed.functions or parsed.graph.sparse_initializer:
                self.reached.append(f"{foreign} {graphs} {outside}")
            return inner(model, *rest, **named)

        onnxruntime.InferenceSession = looked_at


def share(
    place: Path, kind: str, seeds: range, good: Contents, other: Contents, library: str | None, report: int
) -> None:
    """In a fork: some mutations, a line of JSON for each, written before (its number) and after (what became of it)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    watch = Watch(place)
    if kind == "rehashed" and library is None:
        watch.look_at_graphs()
    load = watch.load if library is None else _cpp(library)
    folder, now = place / "x.bundle", {}
    for seed in seeds:
        os.write(report, f"{seed}\n".encode())
        draw, path = random.Random(f"{kind} {seed}"), folder
        contents = good
        if kind == "cut":
            contents = _cut(good, seed)
        elif kind in ("damaged", "rehashed"):
            contents = damaged(good, other, draw) if kind == "damaged" else rehashed(good, draw)
        if kind == "packed":
            path = place / "x.zip"
            path.write_bytes(_damaged_bytes(b"".join(archive_parts(good)), draw))
        elif kind == "misplaced":
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            put(folder, good, {})
            misplaced(folder, draw)
        else:
            folder.mkdir(exist_ok=True)
            put(folder, contents, now)
        started = time.process_time()
        result = load(path, "where is my parcel")
        row = {
            "result": result,
            "hang": time.process_time() - started > HANG_S,
            "outside": watch.opened_outside,
            "reached": watch.reached,
        }
        os.write(report, (json.dumps(row) + "\n").encode())


def _damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    how = draw.randrange(3)
    if how == 0:
        return data[: draw.randrange(len(data))]
    if how == 1:
        at, source, size = draw.randrange(len(data)), draw.randrange(len(data)), draw.randrange(1, 200)
        changed = data[:at] + data[source : source + size] + data[at + draw.choice((0, size)) :]
        return changed if changed != data else changed + b"\0"
    flipped = bytearray(data)
    flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def _cut(good: Contents, number: int) -> Contents:
    """The members but the graph, cut at every length in turn."""
    for name in MEMBERS[:-1]:
        if number < len(good[name]):
            return good | {name: good[name][:number]}
        number -= len(good[name])
    raise IndexError(number)


def _cpp(path: str) -> Callable[[Path, str], str]:
    library = ctypes.CDLL(path)
    library.crosstune_classifier_create.argtypes = (ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p))
    library.crosstune_classifier_destroy.argtypes = (ctypes.c_void_p,)

    def load(bundle: Path, text: str) -> str:
        del text
        handle = ctypes.c_void_p()
        if library.crosstune_classifier_create(os.fsencode(bundle), None, ctypes.byref(handle)):
            return "refused"
        library.crosstune_classifier_destroy(handle)
        return "accepted"

    return load


def run(
    place: Path, kind: str, count: int, good: Contents, other: Contents, library: str | None
) -> Iterator[dict[str, object]]:
    """What became of each mutation; a fork that dies is a crash, and the next goes on behind it."""
    at = 0
    while at < count:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            try:
                share(place, kind, range(at, min(count, at + SHARE)), good, other, library, writer)
                os._exit(0)
            except BaseException as error:
                os.write(
                    writer,
                    (
                        json.dumps({"result": f"exception {error!r}", "hang": False, "outside": [], "reached": []})
                        + "\n"
                    ).encode(),
                )
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
            yield {"result": f"crash {status} at {kind} {at - 1}", "hang": False, "outside": [], "reached": []}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--mutations", type=int, default=10_000, help="without right hashes, shared among the kinds")
    parser.add_argument("--structural", type=int, default=1_000, help="with right hashes")
    parser.add_argument("--libcrosstune", help="libcrosstune to give them to, in the place of Python")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    good, other = (dict(read_bundle(path).contents) for path in (arguments.bundle, arguments.other))
    cuts = min(sum(len(good[name]) for name in MEMBERS[:-1]), arguments.mutations // 2)
    left = arguments.mutations - cuts
    kinds = {
        "good": 1,
        "cut": cuts,
        "misplaced": left // 10,
        "damaged": left - left // 10,
        "rehashed": arguments.structural,
    }
    if arguments.libcrosstune is None:
        kinds["packed"] = left // 4
        kinds["damaged"] -= left // 4
    rows, wrong = {}, []
    shared = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shared) as name, Progress(console=Console(stderr=True)) as progress:
        for kind, count in kinds.items():
            results: Counter[str] = Counter()
            for row in progress.track(
                run(Path(name), kind, count, good, other, arguments.libcrosstune), count, description=kind
            ):
                result = str(row["result"])
                results[result] += 1
                bad = result.startswith(("crash", "exception")) or row["hang"] or row["outside"] or row["reached"]
                if bad or (kind != "rehashed" and (result == "accepted") != (kind == "good")):
                    wrong.append(f"{kind}: {row}"[:300])
            rows[kind] = dict(results)
            shutil.rmtree(Path(name) / "x.bundle", ignore_errors=True)
    found = {
        "runtime": "python" if arguments.libcrosstune is None else "c++",
        "mutations": kinds,
        "results": rows,
        "wrong": wrong,
    }
    print(json.dumps(found, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
