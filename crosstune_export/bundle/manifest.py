"""The manifest of a bundle: its fields, its bytes and its digest. Standard library only.

``docs/bundle_format.md`` is the specification.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from crosstune.core.errors import BundleContentError, BundleIntegrityError, BundleVersionError
from crosstune.core.labels import Label
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import TokenLayout
from crosstune_export.bundle.facts import BackboneFacts, HeadFacts, QualityFacts, TrainingFacts
from crosstune_export.bundle.strict_json import strict_json

FORMAT: Final = "crosstune-bundle"
FORMAT_VERSION: Final = "1.1"
MANIFEST_NAME: Final = "manifest.json"
MODEL_NAME: Final = "model.onnx"
TOKENIZER_NAME: Final = "tokenizer.json"
SELFTEST_NAME: Final = "selftest.json"
CARD_NAME: Final = "README.md"

#: The files of a bundle and their maximum sizes in bytes; larger files are refused unread. 2 GiB is the limit of protobuf,
#: the others are chosen by hand, far above the sizes of published encoders.
SIZE_LIMITS: Final[Mapping[str, int]] = {
    MANIFEST_NAME: 16 << 20,
    MODEL_NAME: (2 << 30) - 1,
    TOKENIZER_NAME: 64 << 20,
    SELFTEST_NAME: 16 << 20,
    CARD_NAME: 1 << 20,
}
PRECISIONS: Final = ("fp32", "fp16", "int8")

_DIGEST_HEAD: Final = b'{\n  "digest": "'
_DIGEST_ZEROS: Final = b"0" * 64


@dataclass(frozen=True)
class GraphFacts:
    """Properties of ``model.onnx`` that a runtime needs before it loads the graph.

    Attributes:
        inputs: Names of the inputs, int64 (B, T) each.
        outputs: Names of the outputs: ``probs``, ``text_vector`` and optionally ``scope``.
        precision: One of ``PRECISIONS``.
        opset: Version of the standard operators.
        ir_version: IR version of the file.
        min_onnxruntime: Oldest onnxruntime that loads the graph.
        disabled_optimizers: Optimizers of onnxruntime to turn off.
        text_vector_size: Length of ``text_vector``.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    precision: str
    opset: int
    ir_version: int
    min_onnxruntime: str
    disabled_optimizers: tuple[str, ...]
    text_vector_size: int


@dataclass(frozen=True)
class FileEntry:
    """SHA-256 (64 lowercase hex digits) and size in bytes of one file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class BundleManifest:
    """Contents of ``manifest.json``, which docs/bundle_format.md specifies.

    Two manifests are equal if all fields but ``digest`` are.

    Example:
        >>> file_entry(b"abc").size_bytes
        3
    """

    name: str
    producer: Mapping[str, str]
    labels: tuple[Label, ...]
    text_pair: bool
    tokens: TokenLayout
    graph: GraphFacts
    threshold: float | None
    backbone: Mapping[str, Json]
    head: Mapping[str, Json]
    training: Mapping[str, Json]
    quality: Mapping[str, Json]
    files: Mapping[str, FileEntry]
    scope_threshold: float | None = None
    format_version: str = FORMAT_VERSION
    release: int = 0
    digest: str = field(default="", compare=False)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The label names, in the column order of ``probs``."""
        return tuple(entry.name for entry in self.labels)

    @property
    def backbone_facts(self) -> BackboneFacts:
        """``backbone`` as a typed record."""
        return BackboneFacts.from_json(self.backbone)

    @property
    def head_facts(self) -> HeadFacts:
        """``head`` as a typed record."""
        return HeadFacts.from_json(self.head)

    @property
    def training_facts(self) -> TrainingFacts:
        """``training`` as a typed record."""
        return TrainingFacts.from_json(self.training)

    @property
    def quality_facts(self) -> QualityFacts:
        """``quality`` as a typed record."""
        return QualityFacts.from_json(self.quality, self.graph.precision)


def file_entry(data: bytes) -> FileEntry:
    """Return hash and size of a file's contents."""
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def manifest_bytes(manifest: BundleManifest) -> bytes:
    """Return the bytes of ``manifest.json``: digest first, sorted keys, indent of two spaces, ASCII, one newline at the end."""
    body: dict[str, Json] = {
        "format": FORMAT,
        "format_version": manifest.format_version,
        "name": manifest.name,
        "producer": dict(manifest.producer),
        **({"release": manifest.release} if manifest.release else {}),
        "labels": [{"name": entry.name, "descriptions": list(entry.descriptions)} for entry in manifest.labels],
        "text_pair": manifest.text_pair,
        "tokens": _plain(dataclasses.asdict(manifest.tokens)),
        "graph": _plain(dataclasses.asdict(manifest.graph)),
        "decision": {"threshold": manifest.threshold, "scope_threshold": manifest.scope_threshold},
        "backbone": dict(manifest.backbone),
        "head": dict(manifest.head),
        "training": dict(manifest.training),
        "quality": dict(manifest.quality),
        "files": {name: _plain(dataclasses.asdict(entry)) for name, entry in manifest.files.items()},
    }
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False)
    unsigned = _DIGEST_HEAD + _DIGEST_ZEROS + b'",\n' + text.removeprefix("{\n").encode("ascii") + b"\n"
    digest = hashlib.sha256(unsigned).hexdigest().encode("ascii")
    return unsigned.replace(_DIGEST_ZEROS, digest, 1)


def parse_manifest(data: bytes, where: str) -> BundleManifest:
    """Check the digest of a manifest, then parse it.

    Args:
        data: Contents of the file.
        where: Name of the file in messages, usually its path.

    Raises:
        BundleIntegrityError: The digest does not match the contents.
        BundleVersionError: The format is newer than this reader.
        BundleContentError: A field is missing, of another type, or out of range.
    """
    digest = _checked_digest(data, where)
    body = strict_json(data, where)
    if not isinstance(body, dict):
        raise BundleContentError(
            f"{where}: found {type(body).__name__}, expected a JSON object. Build the bundle again."
        )
    reader = _Reader(where, body)
    if reader.text("format") != FORMAT:
        raise BundleContentError(
            f"{where}: format is {reader.text('format')!r}, expected {FORMAT!r}. Give a folder that crosstune-export built."
        )
    version = reader.text("format_version")
    if not re.fullmatch(r"[0-9]+\.[0-9]+", version):
        raise reader._bad("format_version", repr(version)[:80], 'a string "major.minor"')
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise BundleVersionError(
            f"{where}: bundle format {version}, this reader knows {FORMAT_VERSION}. Upgrade crosstune-export."
        )
    return reader.manifest(version, digest)


def digest_of(data: bytes) -> str:
    """Return the digest (64 hex digits) that the bytes of a manifest should contain."""
    start = len(_DIGEST_HEAD)
    return hashlib.sha256(data[:start] + _DIGEST_ZEROS + data[start + 64 :]).hexdigest()


def _checked_digest(data: bytes, where: str) -> str:
    start = len(_DIGEST_HEAD)
    written = data[start : start + 64]
    if not data.startswith(_DIGEST_HEAD) or digest_of(data).encode("ascii") != written:
        raise BundleIntegrityError(
            f"{where}: the digest does not match the contents, expected the file as it was built. Copy or build the bundle again."
        )
    return written.decode("ascii")


def _plain(value: object) -> Json:
    """Convert tuples to lists, for JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return cast(Json, value)


class _Reader:
    """Typed access to the fields of one JSON object, with the path of the field in every message."""

    def __init__(self, where: str, body: Mapping[str, Json], path: str = "") -> None:
        self._where, self._body, self._path = where, body, path

    def _get(self, key: str, expected: str) -> Json:
        if key not in self._body:
            raise self._bad(key, "nothing", expected)
        return self._body[key]

    def _bad(self, key: str, value: object, expected: str) -> BundleContentError:
        return BundleContentError(
            f"{self._where}: {self._path}{key} is {value}, expected {expected}. Build the bundle again."
        )

    def text(self, key: str) -> str:
        value = self._get(key, "a string")
        if not isinstance(value, str):
            raise self._bad(key, repr(value)[:80], "a string")
        return value

    def boolean(self, key: str) -> bool:
        value = self._get(key, "true or false")
        if not isinstance(value, bool):
            raise self._bad(key, repr(value)[:80], "true or false")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._get(key, f"an integer from {low} to {high}")
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._bad(key, repr(value)[:80], f"an integer from {low} to {high}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        value = self._get(key, "an array of ids")
        if not isinstance(value, list) or not all(type(item) is int and 0 <= item < 1 << 31 for item in value):
            raise self._bad(key, repr(value)[:80], "an array of ids")
        return tuple(cast("list[int]", value))

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, "an array of strings")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(key, repr(value)[:80], "an array of strings")
        return tuple(cast("list[str]", value))

    def table(self, key: str) -> dict[str, Json]:
        value = self._get(key, "an object")
        if not isinstance(value, dict):
            raise self._bad(key, repr(value)[:80], "an object")
        return value

    def inner(self, key: str) -> _Reader:
        return _Reader(self._where, self.table(key), f"{self._path}{key}.")

    def manifest(self, version: str, digest: str) -> BundleManifest:
        graph = self.inner("graph")._graph()
        if len(graph.inputs) > 2 and not self.boolean("text_pair"):
            raise self._bad("graph.inputs", list(graph.inputs), "no token_type_ids where text_pair is false")
        return BundleManifest(
            name=self.text("name"),
            producer={key: self.inner("producer").text(key) for key in self.table("producer")},
            labels=self._labels(),
            text_pair=self.boolean("text_pair"),
            tokens=self.inner("tokens")._tokens(),
            graph=graph,
            threshold=self.inner("decision")._threshold("threshold", 0),
            scope_threshold=self._scope_threshold(graph),
            backbone=self.table("backbone"),
            head=self.table("head"),
            training=self.table("training"),
            quality=self.table("quality"),
            files=self._files(),
            format_version=version,
            release=self.integer("release", 0, (1 << 31) - 1) if "release" in self._body else 0,
            digest=digest,
        )

    def _labels(self) -> tuple[Label, ...]:
        value = self._get("labels", "an array of labels")
        if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, dict) for item in value):
            raise self._bad("labels", repr(value)[:80], "an array of at least 2 labels")
        entries = []
        for index, item in enumerate(value):
            reader = _Reader(self._where, cast("dict[str, Json]", item), f"labels[{index}].")
            descriptions = reader.texts("descriptions")
            if not descriptions:
                raise self._bad(f"labels[{index}].descriptions", "empty", "at least one sentence")
            entries.append(Label(reader.text("name"), descriptions))
        if len({entry.name for entry in entries}) != len(entries):
            raise self._bad("labels", "a list with a duplicate name", "distinct names")
        return tuple(entries)

    def _tokens(self) -> TokenLayout:
        layout = TokenLayout(
            max_length_tokens=self.integer("max_length_tokens", 8, 1 << 20),
            prefix_ids=self.integers("prefix_ids"),
            infix_ids=self.integers("infix_ids"),
            suffix_ids=self.integers("suffix_ids"),
            pad_id=self.integer("pad_id", 0, (1 << 31) - 1),
            max_text_bytes=self.integer("max_text_bytes", 1024, 1 << 30),
            second_type_id=self.integer("second_type_id", 0, 255),
        )
        special = len(layout.prefix_ids) + len(layout.infix_ids) + len(layout.suffix_ids)
        if special + 2 > layout.max_length_tokens:
            raise self._bad("max_length_tokens", layout.max_length_tokens, f"more than the {special} special ids")
        return layout

    def _graph(self) -> GraphFacts:
        facts = GraphFacts(
            inputs=self.texts("inputs"),
            outputs=self.texts("outputs"),
            precision=self.text("precision"),
            opset=self.integer("opset", 1, 1000),
            ir_version=self.integer("ir_version", 1, 1000),
            min_onnxruntime=self.text("min_onnxruntime"),
            disabled_optimizers=self.texts("disabled_optimizers"),
            text_vector_size=self.integer("text_vector_size", 1, 1 << 24),
        )
        if facts.inputs[:2] != ("input_ids", "attention_mask") or facts.inputs[2:] not in ((), ("token_type_ids",)):
            raise self._bad("inputs", list(facts.inputs), "input_ids, attention_mask and optionally token_type_ids")
        if facts.outputs[:2] != ("probs", "text_vector") or facts.outputs[2:] not in ((), ("scope",)):
            raise self._bad("outputs", list(facts.outputs), "probs, text_vector and optionally scope")
        if facts.precision not in PRECISIONS:
            raise self._bad("precision", repr(facts.precision), " or ".join(PRECISIONS))
        return facts

    def _threshold(self, key: str, low: float) -> float | None:
        value = self._get(key, f"a number from {low:g} to 1 or null")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= 1 or math.isnan(value):
            raise self._bad(key, repr(value)[:80], f"a number from {low:g} to 1 or null")
        return float(value)

    def _scope_threshold(self, graph: GraphFacts) -> float | None:
        decision = self.inner("decision")
        value = decision._threshold("scope_threshold", -1) if "scope_threshold" in decision._body else None
        if value is not None and "scope" not in graph.outputs:
            raise self._bad("decision.scope_threshold", value, "null where the graph has no output scope")
        return value

    def _files(self) -> dict[str, FileEntry]:
        table = self.inner("files")
        names = set(table._body)
        expected = set(SIZE_LIMITS) - {MANIFEST_NAME}
        if names != expected:
            raise self._bad("files", sorted(names), f"{sorted(expected)}")
        entries = {}
        for name in sorted(names):
            reader = table.inner(name)
            sha256 = reader.text("sha256")
            if not re.fullmatch("[0-9a-f]{64}", sha256):
                raise reader._bad("sha256", repr(sha256)[:80], "64 lowercase hexadecimal digits")
            entries[name] = FileEntry(sha256, reader.integer("size_bytes", 0, SIZE_LIMITS[name]))
        return entries
