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
from crosstune_export.bundle.facts import BackboneFacts, ExitFacts, HeadFacts, QualityFacts, TrainingFacts
from crosstune_export.bundle.json_reader import JsonReader
from crosstune_export.bundle.strict_json import strict_json

FORMAT: Final = "crosstune-bundle"
FORMAT_VERSION: Final = "1.4"
#: The function that a graph may consist of, and its domain.
FUNCTION: Final = "Classify"
FUNCTION_DOMAIN: Final = "crosstune"
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
        function: ``Classify`` if the graph is one call of the function of this name, which fast kernels can replace; otherwise
            None.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    precision: str
    opset: int
    ir_version: int
    min_onnxruntime: str
    disabled_optimizers: tuple[str, ...]
    text_vector_size: int
    function: str | None = None


@dataclass(frozen=True)
class FileEntry:
    """SHA-256 (64 lowercase hex digits) and size in bytes of one file of the bundle."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class BundleManifest:
    """Contents of ``manifest.json``, which docs/bundle_format.md specifies.

    ``runtimes`` are the runtimes that read the bundle; empty in bundles of older builds, which do not say. ``exits`` are the
    early exits of the graph, None for none. Two manifests are
    equal if all fields but ``digest`` are.

    Examples:
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
    min_similarity: float | None = None
    format_version: str = FORMAT_VERSION
    release: int = 0
    runtimes: tuple[str, ...] = ()
    exits: ExitFacts | None = None
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

    @property
    def no_fast_kernels(self) -> str:
        """Why the fast kernels cannot run the graph; empty if they can."""
        return "the graph was built without them" if self.graph.function is None else ""

    @property
    def attention_fusion(self) -> str:
        """In how many layers attention is one fused node, such as ``attention fused in 6 of 6 layers``; empty if unknown."""
        fused, layers = self.quality_facts.rewrites.get("fuse_encoder"), self.backbone_facts.layers_used
        return "" if fused is None or layers is None else f"attention fused in {max(fused, 0)} of {layers} layers"


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
        **({"runtimes": list(manifest.runtimes)} if manifest.runtimes else {}),
        **({"exits": manifest.exits.to_json()} if manifest.exits is not None else {}),
        "labels": [{"name": entry.name, "descriptions": list(entry.descriptions)} for entry in manifest.labels],
        "text_pair": manifest.text_pair,
        "tokens": _plain(dataclasses.asdict(manifest.tokens)),
        "graph": _graph_json(manifest.graph),
        "decision": {"threshold": manifest.threshold, "scope_threshold": manifest.min_similarity},
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
    reader = JsonReader(where, body)
    if reader.text("format") != FORMAT:
        raise BundleContentError(
            f"{where}: format is {reader.text('format')!r}, expected {FORMAT!r}. Give a folder that crosstune-export built."
        )
    version = reader.text("format_version")
    if not re.fullmatch(r"[0-9]+\.[0-9]+", version):
        raise reader.error("format_version", repr(version)[:80], 'a string "major.minor"')
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise BundleVersionError(
            f"{where}: bundle format {version}, this reader knows {FORMAT_VERSION}. Upgrade crosstune-export."
        )
    return _read_manifest(reader, version, digest)


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


def _graph_json(graph: GraphFacts) -> dict[str, Json]:
    return {key: _plain(value) for key, value in dataclasses.asdict(graph).items() if value is not None}


def _plain(value: object) -> Json:
    """Convert tuples to lists, for JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return cast(Json, value)


def _read_manifest(reader: JsonReader, version: str, digest: str) -> BundleManifest:
    graph = _read_graph(reader.inner("graph"))
    if len(graph.inputs) > 2 and not reader.boolean("text_pair"):
        raise reader.error("graph.inputs", list(graph.inputs), "no token_type_ids where text_pair is false")
    return BundleManifest(
        name=reader.text("name"),
        producer={key: reader.inner("producer").text(key) for key in reader.table("producer")},
        labels=_read_labels(reader),
        text_pair=reader.boolean("text_pair"),
        tokens=_read_tokens(reader.inner("tokens")),
        graph=graph,
        threshold=_read_threshold(reader.inner("decision"), "threshold", 0),
        min_similarity=_read_min_similarity(reader, graph),
        backbone=reader.table("backbone"),
        head=reader.table("head"),
        training=reader.table("training"),
        quality=reader.table("quality"),
        files=_read_files(reader),
        format_version=version,
        release=reader.integer("release", 0, (1 << 31) - 1) if "release" in reader.keys else 0,
        runtimes=reader.texts("runtimes") if "runtimes" in reader.keys else (),
        exits=ExitFacts.from_json(reader.table("exits")) if "exits" in reader.keys else None,
        digest=digest,
    )


def _read_labels(reader: JsonReader) -> tuple[Label, ...]:
    value = reader.get("labels", "an array of labels")
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(item, dict) for item in value):
        raise reader.error("labels", repr(value)[:80], "an array of at least 2 labels")
    entries = []
    for index, item in enumerate(value):
        element = reader.element(f"labels[{index}]", cast("dict[str, Json]", item))
        descriptions = element.texts("descriptions")
        if not descriptions:
            raise reader.error(f"labels[{index}].descriptions", "empty", "at least one sentence")
        entries.append(Label(element.text("name"), descriptions))
    if len({entry.name for entry in entries}) != len(entries):
        raise reader.error("labels", "a list with a duplicate name", "distinct names")
    return tuple(entries)


def _read_tokens(reader: JsonReader) -> TokenLayout:
    layout = TokenLayout(
        max_length_tokens=reader.integer("max_length_tokens", 8, 1 << 20),
        prefix_ids=reader.integers("prefix_ids"),
        infix_ids=reader.integers("infix_ids"),
        suffix_ids=reader.integers("suffix_ids"),
        pad_id=reader.integer("pad_id", 0, (1 << 31) - 1),
        max_text_bytes=reader.integer("max_text_bytes", 1024, 1 << 30),
        second_type_id=reader.integer("second_type_id", 0, 255),
    )
    special = len(layout.prefix_ids) + len(layout.infix_ids) + len(layout.suffix_ids)
    if special + 2 > layout.max_length_tokens:
        raise reader.error("max_length_tokens", layout.max_length_tokens, f"more than the {special} special ids")
    return layout


#: Two or three numbers: what onnxruntime's versions begin with.
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}")


def _read_graph(reader: JsonReader) -> GraphFacts:
    facts = GraphFacts(
        inputs=reader.texts("inputs"),
        outputs=reader.texts("outputs"),
        precision=reader.text("precision"),
        opset=reader.integer("opset", 1, 1000),
        ir_version=reader.integer("ir_version", 1, 1000),
        min_onnxruntime=reader.text("min_onnxruntime"),
        disabled_optimizers=reader.texts("disabled_optimizers"),
        text_vector_size=reader.integer("text_vector_size", 1, 1 << 24),
        function=reader.text("function") if "function" in reader.keys else None,
    )
    if not _VERSION.fullmatch(facts.min_onnxruntime):
        raise reader.error("min_onnxruntime", repr(facts.min_onnxruntime)[:80], "a version such as '1.20.0'")
    if facts.function not in (None, FUNCTION):
        raise reader.error("function", repr(facts.function)[:80], repr(FUNCTION))
    if facts.inputs[:2] != ("input_ids", "attention_mask") or facts.inputs[2:] not in ((), ("token_type_ids",)):
        raise reader.error("inputs", list(facts.inputs), "input_ids, attention_mask and optionally token_type_ids")
    if facts.outputs[:2] != ("probs", "text_vector") or facts.outputs[2:] not in ((), ("scope",)):
        raise reader.error("outputs", list(facts.outputs), "probs, text_vector and optionally scope")
    if facts.precision not in PRECISIONS:
        raise reader.error("precision", repr(facts.precision), " or ".join(PRECISIONS))
    return facts


def _read_threshold(reader: JsonReader, key: str, low: float) -> float | None:
    value = reader.get(key, f"a number from {low:g} to 1 or null")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= 1 or math.isnan(value):
        raise reader.error(key, repr(value)[:80], f"a number from {low:g} to 1 or null")
    return float(value)


def _read_min_similarity(reader: JsonReader, graph: GraphFacts) -> float | None:
    decision = reader.inner("decision")
    value = _read_threshold(decision, "scope_threshold", -1) if "scope_threshold" in decision.keys else None
    if value is not None and "scope" not in graph.outputs:
        raise reader.error("decision.scope_threshold", value, "null where the graph has no output scope")
    return value


def _read_files(reader: JsonReader) -> dict[str, FileEntry]:
    table = reader.inner("files")
    names = set(table.keys)
    expected = set(SIZE_LIMITS) - {MANIFEST_NAME}
    if names != expected:
        raise reader.error("files", sorted(names), f"{sorted(expected)}")
    entries = {}
    for name in sorted(names):
        entry = table.inner(name)
        sha256 = entry.text("sha256")
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise entry.error("sha256", repr(sha256)[:80], "64 lowercase hexadecimal digits")
        entries[name] = FileEntry(sha256, entry.integer("size_bytes", 0, SIZE_LIMITS[name]))
    return entries
