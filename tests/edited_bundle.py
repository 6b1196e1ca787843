"""Bundles changed after they were built, with hashes that are right again: what a careful attacker or a newer build makes."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from tokenizers import Tokenizer

from crosstune_export.manifest import digest_of, file_entry, parse_manifest
from crosstune_export.runtime.tokenization import TextTokenizer

HEAD = '{\n  "digest": "'


def signed(body: Mapping[str, object]) -> bytes:
    """Manifest bytes with a right digest."""
    rest = json.dumps({key: value for key, value in body.items() if key != "digest"}, indent=2, sort_keys=True)
    return with_digest((HEAD + "0" * 64 + '",\n' + rest.removeprefix("{\n") + "\n").encode())


def with_digest(data: bytes) -> bytes:
    """The same bytes with the digest that belongs to them."""
    return data[: len(HEAD)] + digest_of(data).encode() + data[len(HEAD) + 64 :]


def edited(
    source: Path,
    target: Path,
    edit: Callable[[dict], object] = lambda body: None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A copy of a bundle with other files and an edited manifest."""
    shutil.copytree(source, target)
    body = json.loads((target / "manifest.json").read_bytes())
    for name, data in (files or {}).items():
        (target / name).write_bytes(data)
        entry = file_entry(data)
        body["files"][name] = {"sha256": entry.sha256, "size_bytes": entry.size_bytes}
    edit(body)
    (target / "manifest.json").write_bytes(signed(body))
    return target


def with_tokenizer(source: Path, target: Path, tokenizer: Tokenizer, **tokens) -> tuple[Path, TextTokenizer]:
    """A copy of a bundle with another tokenizer and a long or given layout of tokens, and Python's own for the same."""
    data = tokenizer.to_str().encode()
    ids = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    layout = {"max_length_tokens": 1 << 14, "prefix_ids": [1], "infix_ids": [], "suffix_ids": [2]} | tokens
    path = edited(
        source,
        target,
        lambda body: body["tokens"].update(layout),
        {"tokenizer.json": data, "model.onnx": with_rows((source / "model.onnx").read_bytes(), ids)},
    )
    manifest = parse_manifest((path / "manifest.json").read_bytes(), "manifest")
    return path, TextTokenizer(data, manifest.tokens, manifest.text_pair, "here")


def with_rows(model: bytes, rows: int) -> bytes:
    """The same graph with so many words or more in every table that input_ids pick from; those that are new are zero."""
    graph = onnx.load_from_string(model)
    tables = {node.input[0] for node in graph.graph.node if node.op_type == "Gather" and node.input[1] == "input_ids"}
    for tensor in graph.graph.initializer:
        if tensor.name in tables:
            words = numpy_helper.to_array(tensor)
            grown = np.zeros((max(rows, len(words)), *words.shape[1:]), words.dtype)
            grown[: len(words)] = words
            tensor.CopyFrom(numpy_helper.from_array(grown, tensor.name))
    return graph.SerializeToString()


def put(*keys):
    """An edit that sets a field of the manifest to the last of ``keys``."""

    def edit(body):
        *path, name, value = keys
        for key in path:
            body = body[key]
        body[name] = value

    return edit


def drop(*keys):
    def edit(body):
        for key in keys[:-1]:
            body = body[key]
        del body[keys[-1]]

    return edit


def changed_archives(data: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """A packed bundle with one bit flipped, among others in every part that is not a member; cut short; longer."""
    ends = [*range(0, 120, 7), *range(len(data) - 420, len(data), 11)]
    for place in [*ends, *(chance.randrange(len(data)) for _ in range(count))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chance.randrange(8)
        yield bytes(flipped)
    for length in [0, 1, 29, 42, 43, 44, len(data) - 1, *(chance.randrange(len(data)) for _ in range(count // 4))]:
        yield data[:length]
    yield from (data + b"\0", b"\0" + data, data + data)
    large = bytearray(data)
    large[18:26] = (0xFFFFFFFF).to_bytes(4, "little") * 2
    yield bytes(large)
