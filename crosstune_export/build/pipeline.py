"""The build, from a checkpoint to a bundle: trace, make candidates, judge them, write the best."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from onnxscript import ir

from crosstune import __version__
from crosstune.atomic_output import check_output, new_file
from crosstune.checkpoint import Checkpoint, load_checkpoint
from crosstune.head import LabelAttentionHead, PriorHead
from crosstune.training import predict_proba
from crosstune_export.build import candidates, verify
from crosstune_export.build.calibrate import Activations, collect
from crosstune_export.build.candidates import Candidate, Workshop, copy_model
from crosstune_export.build.config import BuildConfig
from crosstune_export.build.mobile import ORT_NAME, MobileFiles, mobile_path, write_mobile
from crosstune_export.build.passes import label_attention
from crosstune_export.build.report import labelled_answers, report_page
from crosstune_export.build.runtime_target import RuntimeTarget, runtime_target
from crosstune_export.build.search import Trial, choose
from crosstune_export.build.texts import halves, real_texts, selftest_texts
from crosstune_export.build.trace import trace
from crosstune_export.build.write import selftest_bytes, write_bundle
from crosstune_export.label_bank import PriorMap, with_metadata
from crosstune_export.manifest import (
    MANIFEST_NAME,
    BundleManifest,
    GraphFacts,
    Json,
    LabelEntry,
    TokenLayout,
)
from crosstune_export.runtime.tokenization import TextTokenizer

__all__ = ["BuildConfig", "BuildResult", "build"]

Report = Callable[[str, int, int], None]

STAGES = ("load", "trace", "compare with torch", "try candidates", "time candidates", "self-test", "write")
#: Of what is beside the graph in a bundle, the manifest, the self-test and the card: a round figure for size budgets.
_BESIDE_BYTES = 40_000


@dataclass(frozen=True)
class BuildResult:
    """What a build made.

    Attributes:
        path: The bundle folder.
        manifest: As written.
        trials: Every graph that was tried, with its verdict; one is shipped.
        size_bytes: Of all files of the bundle.
        mobile: What stands beside it for phones; None for other targets.
    """

    path: Path
    manifest: BundleManifest
    trials: tuple[Trial, ...]
    size_bytes: int
    mobile: MobileFiles | None = None

    @property
    def shipped(self) -> Trial:
        """The graph in the bundle."""
        return next(trial for trial in self.trials if trial.verdict == "shipped")


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
        OutputExistsError: ``output`` or the report is there and ``force`` is off.
        UsageError: A setting is out of range.
        ResourceError: The disk refuses a write.
    """
    config = config or BuildConfig()
    target = Path(output)
    wanted = config.candidates()
    runtime = runtime_target(config.onnxruntime)
    budgets = config.budgets()
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    if config.report is not None:
        check_output(config.report, force=force, what="report")
    if config.target == "mobile":
        check_output(mobile_path(target), force=force, what="folder for phones", owned_marker=ORT_NAME)
    steps = iter(range(len(STAGES)))

    def stage() -> None:
        index = next(steps)
        report(STAGES[index], index, len(STAGES))

    stage()
    trained = load_checkpoint(checkpoint)
    real, truth = real_texts(trained, config.calibration)
    samples = selftest_texts(trained)
    backbone = trained.load_backbone(device="cpu", name=config.backbone)
    layout = _layout(trained)
    tokenizer = TextTokenizer(backbone.tokenizer_json, layout, trained.text_pair, "tokenizer")
    texts = real + samples
    rows = verify.check_ids(tokenizer, texts, [row.ids for row in backbone.tokenize(texts, trained.tokens)])
    real_rows, half_rows = rows[: len(real)], tokenizer.rows(halves(real))

    stage()

    def activations(model: ir.Model) -> Activations:
        return collect(model, rows + half_rows, tokenizer, candidates.FP32.disabled_optimizers)

    workshop = Workshop(trace(backbone, trained.head, trained.text_pair), activations)

    def attempt(candidate: Candidate) -> Trial:
        encoder, passes = workshop.make(candidate)
        encoder.ir_version = runtime.ir_version
        data = _bytes(_with_labels(encoder, trained))
        facts = _facts(trained, backbone.hidden_size, encoder, candidate, runtime)
        return Trial(candidate, facts, data, passes, len(data) + len(backbone.tokenizer_json) + _BESIDE_BYTES)

    stage()
    reference = attempt(candidates.FP32)
    session = reference.open()
    parity = verify.compare(session, tokenizer, rows, predict_proba(trained, backbone, texts), verify.BATCH_SIZES)
    verify.require_parity(parity)
    expected = [verify.graph_probs(session, tokenizer, part, 1) for part in (real_rows, half_rows)]

    stage()
    trials = []
    for candidate in wanted:
        trial = reference
        if candidate is not candidates.FP32:
            trial = attempt(candidate)
            session = trial.open()
            on_texts, on_halves = (
                verify.compare(session, tokenizer, part, probs) if part else None
                for part, probs in zip((real_rows, half_rows), expected, strict=True)
            )
            trial = replace(trial, on_texts=on_texts, on_halves=on_halves)
        trials.append(trial)

    stage()
    trials = choose(trials, budgets, real_rows, tokenizer, lambda done, total: report("time", done, total))
    shipped = next(trial for trial in trials if trial.verdict == "shipped")
    quality: dict[str, Json] = {"fp32_to_torch": parity.to_json()}
    for name, found in (("", shipped.on_texts), ("_on_halves", shipped.on_halves)):
        if found is not None:
            quality[f"{shipped.facts.precision}_to_fp32{name}"] = found.to_json()

    stage()
    session = shipped.open()
    alone = verify.graph_probs(session, tokenizer, rows[len(real) :], 1)
    selftest = selftest_bytes(shipped.facts.precision, samples, rows[len(real) :], alone)
    quality["together_to_alone"] = verify.invariance(shipped.open, tokenizer, rows).to_json()

    stage()
    manifest = BundleManifest(
        name=config.name or target.name.removesuffix(".bundle"),
        producer=_producer(),
        labels=tuple(LabelEntry(label.name, label.descriptions) for label in trained.labels),
        text_pair=trained.text_pair,
        tokens=layout,
        graph=shipped.facts,
        threshold=trained.threshold,
        scope_threshold=trained.scope_threshold,
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
            "attention_layers": list(trained.head.spec.attention),
            "pooled_size": trained.head.spec.size(trained.backbone.hidden_size),
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
    prior = prior_map(trained.head)
    model = shipped.model if prior is None else with_metadata(shipped.model, prior.metadata())
    manifest = write_bundle(target, manifest, model, backbone.tokenizer_json, selftest)
    mobile = None
    if config.target == "mobile":
        feeds = [tokenizer.batch([row]).feeds() for row in rows[len(real) :]]
        mobile = write_mobile(target, manifest, model, feeds)
    if config.report is not None:
        answers = labelled_answers(
            trained.labels.names, truth, expected[0], verify.graph_probs(session, tokenizer, real_rows, 1)
        )
        with new_file(config.report) as sink:
            sink.write(report_page(manifest, trials, answers).encode("utf-8"))
    size = sum(entry.size_bytes for entry in manifest.files.values()) + (target / MANIFEST_NAME).stat().st_size
    report("done", len(STAGES), len(STAGES))
    return BuildResult(target, manifest, tuple(trials), size, mobile)


def _with_labels(model: ir.Model, trained: Checkpoint) -> ir.Model:
    """A copy of the encoder with the label attention behind it."""
    whole = copy_model(model)
    keys, bias = (array.numpy().astype(np.float32) for array in trained.head.folded())
    head, queries = trained.head, trained.head.queries
    scope_keys = head.scope_keys.numpy() if isinstance(head, PriorHead) else None
    arrays = label_attention.HeadArrays(keys, bias, None if queries is None else queries.numpy(), scope_keys)
    label_attention.apply(whole, arrays)
    return whole


def prior_map(head: LabelAttentionHead) -> PriorMap | None:
    """How a description becomes a label's key, so that a finished bundle can take further labels; None for other heads."""
    if not isinstance(head, PriorHead):
        return None
    return PriorMap(head.prior_scale.numpy(), head.prior_shift.numpy(), head.prior_centre.numpy())


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


def _facts(
    trained: Checkpoint, hidden_size: int, model: ir.Model, candidate: Candidate, runtime: RuntimeTarget
) -> GraphFacts:
    return GraphFacts(
        inputs=tuple(str(value.name) for value in model.graph.inputs),
        outputs=("probs", "text_vector", "scope") if isinstance(trained.head, PriorHead) else ("probs", "text_vector"),
        precision=candidate.precision,
        opset=runtime.opset,
        ir_version=runtime.ir_version,
        min_onnxruntime=runtime.min_onnxruntime,
        disabled_optimizers=candidate.disabled_optimizers,
        text_vector_size=trained.head.feature_count(hidden_size),
    )


def _producer() -> dict[str, str]:
    packages = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers", "tokenizers")
    return {"crosstune-export": __version__} | {name: metadata.version(name) for name in packages}
