"""The build, from a checkpoint to a bundle: trace, make candidates, judge them, write the best."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from crosstune import __version__
from crosstune.backbone.frozen import FrozenBackbone
from crosstune.checkpoint import Checkpoint, load_checkpoint
from crosstune.core.labels import Label
from crosstune.core.outputs import check_output, check_places, new_file
from crosstune.core.progress import Progress, no_progress
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import MAX_TEXT_BYTES, TokenLayout, replace_surrogates
from crosstune_export.builder import parity
from crosstune_export.builder.config import BuildConfig
from crosstune_export.builder.exporters.runtime_target import runtime_target
from crosstune_export.builder.fewer_layers import MOST_LOST, accuracy, on_fewer_layers
from crosstune_export.builder.probe_texts import real_texts, selftest_texts
from crosstune_export.builder.report import labelled_answers, report_page
from crosstune_export.builder.search import OverBudgetError, Trial, choose, nearest_to
from crosstune_export.builder.targets.mobile import ORT_NAME, MobileFiles, convert, mobile_path, write_mobile
from crosstune_export.builder.trials import BuildTexts, Laboratory
from crosstune_export.bundle.files import require_outside
from crosstune_export.bundle.manifest import MANIFEST_NAME, BundleManifest
from crosstune_export.bundle.write import selftest_bytes, write_bundle
from crosstune_export.runtime.tokenization import TextTokenizer

__all__ = ["BuildConfig", "BuildResult", "build"]

STAGES = ("load", "trace and compare with torch", "try candidates", "time candidates", "self-test", "write")


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


def build(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    config: BuildConfig | None = None,
    *,
    force: bool = False,
    progress: Progress = no_progress,
) -> BuildResult:
    """Build a bundle and check that it answers as the checkpoint does.

    Args:
        checkpoint: Folder that ``crosstune train`` wrote.
        output: Bundle folder to write.
        config: What to make.
        force: Replace an existing bundle, once the new one is complete.
        progress: Called with the stage, its index and the number of stages.

    Raises:
        CheckpointError: The checkpoint is refused.
        BackboneError: The backbone is not the one of training.
        GateError: The graph's answers are not the checkpoint's; nothing is written.
        OutputExistsError: ``output`` or the report is there and ``force`` is off.
        ConfigError: A setting is out of range.
        ConfigError: An output would replace or spoil what is read, or another output.
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
        require_outside(config.report, target, "report")
    if config.target == "mobile":
        check_output(mobile_path(target), force=force, what="folder for phones", owned_marker=ORT_NAME)
    check_build_places(Path(checkpoint), target, config)
    steps = iter(range(len(STAGES)))

    def stage() -> None:
        index = next(steps)
        progress(STAGES[index], index, len(STAGES))

    stage()
    trained = load_checkpoint(checkpoint)
    real, truth = real_texts(trained, config.calibration)
    samples = selftest_texts(trained)
    backbone = trained.load_backbone(device="cpu", name=config.backbone)
    layout = _layout(trained)
    tokenizer = TextTokenizer(backbone.tokenizer_json, layout, trained.text_pair, "tokenizer")
    texts = BuildTexts.read(real, samples, trained, backbone, tokenizer)

    def laboratory(of: Checkpoint) -> Laboratory:
        return Laboratory(of, backbone, tokenizer, texts, config, runtime)

    def ranked(found: Sequence[Trial]) -> list[Trial]:
        return choose(found, budgets, texts.real, tokenizer, lambda done, total: progress("time", done, total))

    stage()
    lab = laboratory(trained)
    stage()
    trials = lab.trials(wanted, config.smaller(), budgets)
    stage()
    try:
        trials = ranked(trials)
    except OverBudgetError as error:
        if budgets.max_size_mb is None and budgets.max_latency_ms is None:
            raise
        lab, trials = _with_fewer_layers(error, trained, backbone, config, laboratory, ranked, progress)
    shipped = next(trial for trial in trials if trial.verdict == "shipped")
    quality: dict[str, Json] = {"fp32_to_torch": lab.parity.to_json()}
    for name, found in (("", shipped.on_texts), ("_on_halves", shipped.on_halves)):
        if found is not None:
            quality[f"{shipped.facts.precision}_to_fp32{name}"] = found.to_json()

    stage()
    session = shipped.open()
    alone = parity.graph_probs(session, tokenizer, texts.samples, 1)
    selftest = selftest_bytes(shipped.facts.precision, samples, texts.samples, alone)
    quality["rewrites"] = ", ".join(f"{name} {count}" for name, count in shipped.passes.items())
    quality["together_to_alone"] = parity.invariance(shipped.open, tokenizer, texts.rows).to_json()

    stage()
    head = lab.trained.head
    manifest = BundleManifest(
        name=replace_surrogates(config.name or target.name.removesuffix(".bundle")),
        producer={**_producer(), **lab.exporter},
        labels=tuple(Label(label.name, label.descriptions) for label in trained.labels),
        text_pair=trained.text_pair,
        tokens=layout,
        graph=shipped.facts,
        threshold=lab.trained.threshold,
        scope_threshold=lab.trained.scope_threshold,
        backbone={
            "name": replace_surrogates(Path(trained.backbone.name).name),
            "digest": trained.backbone.digest,
            "hidden_size": trained.backbone.hidden_size,
            "layers": trained.backbone.layer_count,
            "layers_used": head.spec.last_layer,
        },
        head={
            "kind": head.kind,
            "heads": head.folded()[0].shape[0],
            "merge": head.spec.merge,
            "atoms": [f"{atom.pool}:{atom.layer}" for atom in head.spec.atoms],
            "attention_layers": list(head.spec.attention),
            "pooled_size": head.spec.size(trained.backbone.hidden_size),
        },
        training={
            "examples": len(trained.examples),
            "examples_sha256": trained.examples_sha256,
            "shots": trained.config.shots,
            "seed": trained.config.seed,
            "cv_accuracy": lab.trained.quality.cv_accuracy,
            **_traded(trained, lab.trained),
        },
        quality=quality,
        files={},
        release=config.release,
    )
    phone = None
    if config.target == "mobile":
        feeds = [tokenizer.batch([row]).feeds() for row in texts.samples]
        phone = convert(target, shipped.facts, shipped.model, feeds)
    manifest = write_bundle(target, manifest, shipped.model, backbone.tokenizer_json, selftest)
    mobile = None if phone is None else write_mobile(target, manifest, phone)
    if config.report is not None:
        answers = labelled_answers(
            trained.labels.names, truth, lab.expected, parity.graph_probs(session, tokenizer, texts.real, 1)
        )
        with new_file(config.report) as sink:
            sink.write(report_page(manifest, trials, answers).encode("utf-8"))
    size = sum(entry.size_bytes for entry in manifest.files.values()) + (target / MANIFEST_NAME).stat().st_size
    progress("done", len(STAGES), len(STAGES))
    return BuildResult(target, manifest, tuple(trials), size, mobile)


def check_build_places(checkpoint: Path, output: Path, config: BuildConfig, triton: Path | None = None) -> None:
    """Refuse outputs of a build that would replace or spoil what it reads, or each other.

    Args:
        checkpoint: What is built from.
        output: Bundle folder to write.
        config: What to make.
        triton: Folder to write as a model repository; None for none.

    Raises:
        ConfigError: There is such an output.
    """
    outputs = {
        "the Triton repository": triton,
        "the bundle": output,
        "the folder for phones": mobile_path(output) if config.target == "mobile" else None,
        "the report": config.report,
    }
    check_places(outputs, [checkpoint, config.calibration])


def _with_fewer_layers(
    error: OverBudgetError,
    trained: Checkpoint,
    backbone: FrozenBackbone,
    config: BuildConfig,
    laboratory: Callable[[Checkpoint], Laboratory],
    ranked: Callable[[Sequence[Trial]], list[Trial]],
    progress: Progress,
) -> tuple[Laboratory, list[Trial]]:
    """The first depth at which a graph keeps to the budgets; held-out accuracy may not fall far.

    Raises:
        OverBudgetError: There is none; the message names the nearest of all that was tried.
    """
    tried, best, all_layers = list(error.trials), accuracy(trained) or 0.0, trained.head.spec.last_layer
    note = ""
    for shallow in on_fewer_layers(trained, backbone):
        layers, reached = shallow.head.spec.last_layer, accuracy(shallow) or 0.0
        if reached < best - MOST_LOST:
            note = (
                f" With {layers} of {all_layers} layers held-out accuracy falls from {100 * best:.1f} to "
                f"{100 * reached:.1f} %, at most {100 * MOST_LOST:g} points may go."
            )
            continue
        depth = f"{layers} of {all_layers} layers"
        progress(f"try {depth}", all_layers - layers, all_layers)
        lab = laboratory(shallow)
        found = [
            replace(trial, candidate=replace(trial.candidate, name=f"{trial.candidate.name}, {depth}"))
            for trial in lab.trials(config.on_fewer_layers(), config.smaller(), config.budgets())
        ]
        try:
            return lab, [*tried, *ranked(found)]
        except OverBudgetError as again:
            tried += again.trials
    raise OverBudgetError(nearest_to(tried, config.budgets()) + note, tried) from error


def _traded(trained: Checkpoint, shipped: Checkpoint) -> dict[str, Json]:
    """For the manifest, what a budget cost: held-out accuracy with the layers that the checkpoint's head uses."""
    if shipped is trained:
        return {}
    return {"all_layers": {"layers": trained.head.spec.last_layer, "cv_accuracy": accuracy(trained)}}


def _layout(trained: Checkpoint) -> TokenLayout:
    tokens = trained.tokens
    return TokenLayout(
        max_length_tokens=tokens.max_length_tokens,
        prefix_ids=tokens.prefix_ids,
        infix_ids=tokens.infix_ids,
        suffix_ids=tokens.suffix_ids,
        pad_id=tokens.pad_id,
        max_text_bytes=MAX_TEXT_BYTES,
        second_type_id=tokens.second_type_id,
    )


def _producer() -> dict[str, str]:
    packages = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers", "tokenizers")
    return {"crosstune-export": __version__} | {name: metadata.version(name) for name in packages}
