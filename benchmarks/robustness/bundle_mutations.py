"""How ``mutate_bundles.py`` damages and forges bundles. The given random generator decides everything."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path

from crosstune_export.bundle.archive import MEMBERS
from crosstune_export.bundle.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    SELFTEST_NAME,
    TOKENIZER_NAME,
    digest_of,
    file_entry,
)
from crosstune_export.bundle.onnx_wire import BYTES, Field, bytes_field, fields, number_field

Contents = dict[str, bytes]
#: Messages of an ONNX file that have fields of their own, by the number under which they stand in their parent.
INNER = {
    "model": {7: "graph", 8: "opset", 25: "function"},
    "function": {7: "node", 9: "opset"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph"},
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
    found[MANIFEST_NAME] = json.dumps(body).encode()
    return with_correct_hashes(found)


def with_correct_hashes(contents: Contents) -> Contents:
    """The same members with a manifest that has their hashes, and its own."""
    found, body = dict(contents), json.loads(contents[MANIFEST_NAME])
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


def damaged_bytes(data: bytes, draw: random.Random) -> bytes:
    """A file cut short, with a piece of itself put in, or with one bit flipped."""
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


def cut(good: Contents, number: int) -> Contents:
    """The members but the graph, cut at every length in turn."""
    for name in MEMBERS[:-1]:
        if number < len(good[name]):
            return good | {name: good[name][:number]}
        number -= len(good[name])
    raise IndexError(number)
