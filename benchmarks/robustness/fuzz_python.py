"""Fuzz a reader with atheris: only its documented errors may be raised.

    python -m benchmarks.robustness.fuzz_python manifest -max_total_time=60

Targets: manifest, graph, tokenizer, archive (bundles); rows, examples (data); answers (of an LLM). Further arguments
are passed to libFuzzer. ``make fuzz-python`` installs atheris and runs all targets.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["crosstune_export", "crosstune"]):
    from crosstune.augmentation.answers import answer_from_body, texts_in
    from crosstune.core.errors import CrossTuneError
    from crosstune.data.readers import read_examples
    from crosstune.rows.options import FORMATS
    from crosstune.rows.sources import Source
    from crosstune_export.bulk.decode import Columns
    from crosstune_export.bulk.texts import read_texts
    from crosstune_export.bundle.archive import MEMBERS, ArchiveReader
    from crosstune_export.bundle.graph_check import check_graph
    from crosstune_export.bundle.manifest import GraphFacts, digest_of, parse_manifest
    from crosstune_export.bundle.tokenizer_check import check_tokenizer

FACTS = GraphFacts(("input_ids", "attention_mask"), ("probs", "text_vector"), "fp32", 18, 10, "1.20.0", (), 8)
PLACE = Path(tempfile.mkdtemp())


def manifest(data: bytes) -> None:
    """With a right digest, or nothing behind it would be reached."""
    text = b'{\n  "digest": "' + b"0" * 64 + b'",\n' + data
    parse_manifest(text.replace(b"0" * 64, digest_of(text).encode(), 1), "here")


def graph(data: bytes) -> None:
    """The bytes of a model."""
    check_graph(data, FACTS, "here")


def tokenizer(data: bytes) -> None:
    """A tokenizer.json."""
    check_tokenizer(data, "here")


def archive(data: bytes) -> None:
    """A packed bundle, as far as its layout goes."""
    reader = ArchiveReader(io.BytesIO(data), "here")
    for name in MEMBERS:
        reader.read(name)
    reader.finish()


def rows(data: bytes) -> None:
    """Texts to classify, in any format."""
    if data:
        path = PLACE / "rows"
        path.write_bytes(data[1:])
        list(
            read_texts(
                [Source(str(path), FORMATS[data[0] % len(FORMATS)])],
                Columns(pair="text_pair" if data[0] & 128 else None),
            )
        )


def examples(data: bytes) -> None:
    """Files to train on."""
    if data:
        path = PLACE / f"x.{('jsonl', 'json', 'csv', 'tsv', 'xlsx')[data[0] % 5]}"
        path.write_bytes(data[1:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_examples(path)


def answers(data: bytes) -> None:
    """What an LLM says: never an error."""
    text = data.decode("utf-8", "replace")
    if not all(isinstance(item, str) for item in texts_in(text)):
        raise TypeError("an item that is no text")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return
    answer_from_body(body)


def first_inputs() -> dict[str, bytes]:
    """The parts of a real bundle, so that more is reached than the first complaint of a parser."""
    packed = next((Path(__file__).parents[2] / "tests" / "golden").glob("*.bundle.zip"))
    with zipfile.ZipFile(packed) as bundle:
        head = len(b'{\n  "digest": "') + 64 + len(b'",\n')
        return {
            "manifest": bundle.read("manifest.json")[head:],
            "graph": bundle.read("model.onnx"),
            "tokenizer": bundle.read("tokenizer.json"),
            "archive": packed.read_bytes(),
        }


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (manifest, graph, tokenizer, archive, rows, examples, answers)
}


def main() -> None:
    """Entry point."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"target: found {sys.argv[1:2]}, expected one of {', '.join(TARGETS)}.")
    target = TARGETS[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        try:
            target(data)
        except CrossTuneError as error:
            message = str(error)
            if not message or "\n" in message:
                raise AssertionError(f"a message of other than one line: {message!r}") from error

    found = first_inputs().get(target.__name__)
    if found is not None:
        corpus = Path(tempfile.mkdtemp())
        (corpus / "first").write_bytes(found)
        sys.argv.append(str(corpus))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
