"""Make the first inputs of the fuzz targets from a bundle: a folder for each target, and a tokenizer.

python make_seeds.py BUNDLE FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from crosstune.core.tokenizer_rules import LLAMA_SPLIT, QWEN_SPLIT
from crosstune_export.builder.probe_inputs import PROBES
from crosstune_export.bundle.archive import MEMBERS, archive_parts

#: Tokens of the vocabulary and bytes of a constant that are kept: small inputs are faster to mutate.
SMALL = 400


def small_tokenizer(data: bytes) -> bytes:
    """The tokenizer with a small vocabulary: the special tokens and the shortest others."""
    body = json.loads(data)
    vocabulary = body["model"]["vocab"]
    kept = sorted(vocabulary, key=lambda token: (not token.startswith("["), len(token), vocabulary[token]))[:SMALL]
    body["model"]["vocab"] = {token: vocabulary[token] for token in kept}
    return json.dumps(body, ensure_ascii=False).encode()


def unigram_seed() -> bytes:
    """A small Unigram with every kind of normalizer, and a table of characters."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
    from charsmap import charsmap

    pieces = ["<unk>", "▁", "a", "b", "c", "ab", "▁a", "é", "商", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.Unigram([(piece, -len(piece) / 2) for piece in pieces], unk_id=0, byte_fallback=True))
    steps = [normalizers.Precompiled(charsmap({"é": "e", "\t": " ", "™": "tm"})), normalizers.NFC(), normalizers.NFKD()]
    steps += [normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace("``", '"')]
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tokenizer.add_tokens([AddedToken("[x]", normalized=True), AddedToken("[y]", normalized=False)])
    return tokenizer.to_str().encode()


def bpe_seed(split: str | None) -> bytes:
    """A small byte-level BPE, with the expression of a Split or that of GPT-2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, "ab", "abc", "Ġa"])}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [("a", "b"), ("ab", "c"), ("Ġ", "a")], ignore_merges=split is not None)
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    if split is not None:
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), bytes_only])
    tokenizer.add_tokens([AddedToken("  "), AddedToken("[y]", normalized=False)])
    return tokenizer.to_str().encode()


def with_length(data: bytes) -> bytes:
    """The data after its length in three bytes."""
    return len(data).to_bytes(3, "little") + data


def bundle_seed(manifest: dict[str, object], selftest: bytes, tokenizer: bytes, flags: int) -> bytes:
    """An input of the target ``bundle``, with placeholders for hashes and sizes that the target fills in."""
    names = ("README.md", "model.onnx", "selftest.json", "tokenizer.json")
    files = {name: {"sha256": f"sha256 of {name}", "size_bytes": f"size of {name}"} for name in names}
    rest = without_digest(manifest | {"files": files})
    return bytes([flags]) + b"".join(map(with_length, (rest, b"# card", b"graph", selftest, tokenizer)))


def small_graph(data: bytes) -> bytes:
    """The graph with every large constant replaced by zeros, two along each axis."""
    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > SMALL:
            zeros = np.zeros((2,) * len(tensor.dims), onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
            tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    return model.SerializeToString()


def without_digest(manifest: dict[str, object]) -> bytes:
    """The part of a manifest that follows its digest."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    return b"," + json.dumps(body).encode()[1:]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    manifest = json.loads((arguments.bundle / "manifest.json").read_bytes())
    manifest = {key: value for key, value in manifest.items() if key not in ("quality", "training", "producer")}
    tokenizer = (arguments.bundle / "tokenizer.json").read_bytes()
    small = small_tokenizer(tokenizer)
    selftest = json.loads((arguments.bundle / "selftest.json").read_bytes())
    short_selftest = json.dumps(selftest | {"samples": selftest["samples"][:2]}).encode()
    seeds = {
        "manifest": [without_digest(manifest)],
        "tokenizer": [
            tokenizer + b"\0" + text.encode()
            for tokenizer in (small, unigram_seed(), *map(bpe_seed, (None, QWEN_SPLIT, LLAMA_SPLIT)))
            for text in PROBES[:4]
        ],
        "archive": [b"".join(archive_parts(dict.fromkeys(MEMBERS, text.encode()))) for text in PROBES[:4]],
        "graph": [small_graph((arguments.bundle / "model.onnx").read_bytes())],
        "text": [text.encode() for text in PROBES],
        "bundle": [
            bundle_seed(manifest, short_selftest, small, flags) for flags in (0, 0x11, 0x22, 0x33, 0x44, 0x54, 0x80)
        ],
    }
    for target, inputs in seeds.items():
        (arguments.folder / target).mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (arguments.folder / target / f"seed-{number}").write_bytes(data)
    (arguments.folder / "tokenizer.json").write_bytes(tokenizer)


if __name__ == "__main__":
    main()
