"""The build, from a checkpoint to a bundle: trace, rewrite, quantize, measure, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from onnxscript import ir

from crosstune import __version__
from crosstune.atomic_output import check_output
from crosstune.backbone import FrozenBackbone
from crosstune.checkpoint import Checkpoint, load_checkpoint
from crosstune.examples import Text, read_examples
from crosstune.training import predict_proba
from crosstune_export.build import verify
from crosstune_export.build.passes import (
    fold_constants,
    fuse_encoder,
    label_attention,
    padding_mask,
    split_skip_layer_norm,
)
from crosstune_export.build.probes import PROBES
from crosstune_export.build.quantize import quantize
from crosstune_export.build.trace import MIN_ONNXRUNTIME, OPSET, trace
from crosstune_export.build.write import selftest_bytes, write_bundle
from crosstune_export.errors import UsageError
from crosstune_export.manifest import (
    MANIFEST_NAME,
    BundleManifest,
    GraphFacts,
    Json,
    LabelEntry,
    TokenLayout,
)
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer

Report = Callable[[str, int, int], None]

STAGES = ("load", "trace", "rewrite", "compare with torch", "quantize", "compare with fp32", "self-test", "write")


@dataclass(frozen=True)
class BuildConfig:
    """What a build is to make.

    Attributes:
        precision: ``int8``, ``fp32``, or ``auto``, which is int8: the faster one on CPUs.
        calibration: A file of examples to compare answers on; the training examples when None.
        max_flips_percent: Share of these texts, in percent, whose label int8 may change.
        backbone: Where the backbone is now, if not where it was at training.
        name: The bundle's name; that of its folder when None.
    """

    precision: str = "auto"
    calibration: Path | None = None
    max_flips_percent: float = 2.0
    backbone: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class BuildResult:
    """What a build made.

    Attributes:
        path: The bundle folder.
        manifest: As written.
        passes: How often each rewrite fired.
        size_bytes: Of all its files.
    """

    path: Path
    manifest: BundleManifest
    passes: Mapping[str, int]
    size_bytes: int


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


def build(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: BuildConfig | None = None,
    *,
    force: bool = False,
    report: Report = _silent,
) -> BuildResult:
    """Build a bundle and check that it answers as the checkpoint does.

    Args:
        checkpoint: Folder that ``crosstune train`` wrote.
        output: Bundle folder to write.
        config: What to make.
        force: Replace an existing bundle, once the new one is complete.
        report: Hears the stage, its index and their number.

    Raises:
        CheckpointError: The checkpoint is refused.
        BackboneError: The backbone is not the one of training.
        GateError: The graph's answers are not the checkpoint's; nothing is written.
        OutputExistsError: ``output`` is there and ``force`` is off.
        UsageError: A setting is out of range.
        ResourceError: The disk refuses a write.
    """
    config = config or BuildConfig()
    target = Path(output)
    precision = _precision(config)
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    steps = iter(range(len(STAGES)))

    def stage() -> None:
        index = next(steps)
        report(STAGES[index], index, len(STAGES))

    stage()
    trained = load_checkpoint(checkpoint)
    real = _real_texts(trained, config)
    texts = real + _selftest_texts(trained)
    backbone = trained.load_backbone(device="cpu", name=config.backbone)

    stage()
    model = trace(backbone, trained.head, trained.text_pair)

    stage()
    passes = {
        "fuse_encoder": fuse_encoder.apply(model),
        "padding_mask": padding_mask.apply(model),
        "split_skip_layer_norm": split_skip_layer_norm.apply(model),
        "fold_constants": fold_constants.apply(model),
    }
    float_model = _with_labels(model, trained)
    float_bytes = _bytes(float_model)

    stage()
    layout = _layout(trained)
    tokenizer = TextTokenizer(backbone.tokenizer_json, layout, trained.text_pair, "tokenizer")
    rows = verify.check_ids(tokenizer, texts, [row.ids for row in backbone.tokenize(texts, trained.tokens)])
    facts = _facts(trained, backbone, model, "fp32")
    session = open_session(float_bytes, facts, "the fp32 graph")
    parity = verify.compare(session, tokenizer, rows, predict_proba(trained, backbone, texts))
    verify.require_parity(parity)
    quality: dict[str, Json] = {"fp32_to_torch": parity.to_json()}

    stage()
    final = float_bytes
    if precision == "int8":
        final = _bytes(_with_labels(quantize(model), trained))

    stage()
    if precision == "int8":
        facts = _facts(trained, backbone, model, "int8")
        expected = verify.graph_probs(session, tokenizer, rows[: len(real)], 1)
        float_session, session = session, open_session(final, facts, "the int8 graph")
        flips = verify.compare(session, tokenizer, rows[: len(real)], expected)
        verify.require_few_flips(flips, config.max_flips_percent)
        quality["int8_to_fp32"] = flips.to_json()
        halves = tokenizer.rows(_halves(real))
        if halves:
            expected = verify.graph_probs(float_session, tokenizer, halves, 1)
            quality["int8_to_fp32_on_halves"] = verify.compare(session, tokenizer, halves, expected).to_json()

    stage()
    samples = _selftest_texts(trained)
    sample_rows = tokenizer.rows(samples)
    probs = verify.graph_probs(session, tokenizer, sample_rows, 1)
    selftest = selftest_bytes(precision, samples, sample_rows, probs)

    stage()
    manifest = BundleManifest(
        name=config.name or target.name.removesuffix(".bundle"),
        producer=_producer(),
        labels=tuple(LabelEntry(label.name, label.descriptions) for label in trained.labels),
        text_pair=trained.text_pair,
        tokens=layout,
        graph=facts,
        threshold=trained.threshold,
        backbone={
            "name": Path(trained.backbone.name).name,
            "digest": trained.backbone.digest,
            "hidden_size": trained.backbone.hidden_size,
            "layers": trained.backbone.layer_count,
            "layers_used": trained.head.spec.last_layer,
        },
        head={
            "kind": trained.head.kind,
            "heads": trained.head.folded()[0].shape[0],
            "merge": trained.head.spec.merge,
            "atoms": [f"{atom.pool}:{atom.layer}" for atom in trained.head.spec.atoms],
        },
        training={
            "examples": len(trained.examples),
            "examples_sha256": trained.summary.get("examples_sha256"),
            "shots": trained.config.shots,
            "seed": trained.config.seed,
            "cv_accuracy": trained.summary.get("cv_accuracy"),
        },
        quality=quality,
        files={},
    )
    manifest = write_bundle(target, manifest, final, backbone.tokenizer_json, selftest)
    size = sum(entry.size_bytes for entry in manifest.files.values()) + (target / MANIFEST_NAME).stat().st_size
    report("done", len(STAGES), len(STAGES))
    return BuildResult(target, manifest, passes, size)


def _precision(config: BuildConfig) -> str:
    if config.precision not in ("auto", "fp32", "int8"):
        raise UsageError(f"precision: found {config.precision!r}, expected auto, fp32 or int8.")
    if not 0 <= config.max_flips_percent <= 100:
        raise UsageError(f"max_flips: found {config.max_flips_percent}, expected 0 to 100 (percent).")
    return "int8" if config.precision == "auto" else config.precision


def _real_texts(trained: Checkpoint, config: BuildConfig) -> list[Text]:
    """What int8 is judged on: the calibration file, else the training texts, else (no shots) the descriptions."""
    examples = trained.examples if config.calibration is None else read_examples(config.calibration)
    return [example.content for example in examples] or _selftest_texts(trained)[: len(trained.labels)]


def _halves(texts: Sequence[Text]) -> list[Text]:
    """Halves of texts, which nothing was trained on: on the training texts themselves a head is too sure to ever flip."""
    halves: list[Text] = []
    for text in texts:
        words = (text if isinstance(text, str) else text[0]).split()
        for part in (words[: len(words) // 2], words[len(words) // 2 :]):
            if len(part) >= 3:
                halves.append(" ".join(part) if isinstance(text, str) else (" ".join(part), text[1]))
    return halves


def _selftest_texts(trained: Checkpoint) -> list[Text]:
    """Texts that may be published: descriptions and probes, never training texts."""
    texts = [*(sentence for label in trained.labels for sentence in label.descriptions), *PROBES]
    if trained.text_pair:
        return list(zip(texts, texts[1:] + texts[:1], strict=True))
    return list(texts)


def _with_labels(model: ir.Model, trained: Checkpoint) -> ir.Model:
    """A copy of the encoder with the label attention behind it."""
    whole = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    keys, bias = trained.head.folded()
    label_attention.apply(whole, keys.numpy().astype(np.float32), bias.numpy().astype(np.float32))
    return whole


def _bytes(model: ir.Model) -> bytes:
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


def _layout(trained: Checkpoint) -> TokenLayout:
    tokens = trained.tokens
    return TokenLayout(
        max_length_tokens=tokens.max_length_tokens,
        prefix_ids=tokens.prefix_ids,
        infix_ids=tokens.infix_ids,
        suffix_ids=tokens.suffix_ids,
        pad_id=tokens.pad_id,
        second_type_id=tokens.second_type_id,
    )


def _facts(trained: Checkpoint, backbone: FrozenBackbone, model: ir.Model, precision: str) -> GraphFacts:
    return GraphFacts(
        inputs=tuple(str(value.name) for value in model.graph.inputs),
        outputs=("probs", "text_vector"),
        precision=precision,
        opset=OPSET,
        ir_version=model.ir_version,
        min_onnxruntime=MIN_ONNXRUNTIME,
        disabled_optimizers=(split_skip_layer_norm.DISABLED_OPTIMIZER,),
        text_vector_size=trained.head.feature_count(backbone.hidden_size),
    )


def _producer() -> dict[str, str]:
    packages = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers", "tokenizers")
    return {"crosstune-export": __version__} | {name: metadata.version(name) for name in packages}
