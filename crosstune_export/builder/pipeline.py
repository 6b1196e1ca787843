"""The build, from a checkpoint to a bundle: read, try graphs, choose one, write it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crosstune.checkpoint import Checkpoint
from crosstune.core.errors import CrossTuneWarning
from crosstune.core.outputs import check_output, check_places, new_file
from crosstune.core.progress import Progress, no_progress, stage_progress
from crosstune_export.builder import parity
from crosstune_export.builder.choosing import Choice, Depth, DepthOption, choose_depth
from crosstune_export.builder.config import BuildConfig
from crosstune_export.builder.describe import describe
from crosstune_export.builder.exits import LEAST_GAIN, Exits, with_exits
from crosstune_export.builder.exporters.runtime_target import runtime_target
from crosstune_export.builder.fewer_layers import held_out_accuracy, on_fewer_layers
from crosstune_export.builder.report import compare_labels, report_page
from crosstune_export.builder.search import Trial, choose
from crosstune_export.builder.targets.mobile import ORT_NAME, MobileFiles, convert, mobile_path, write_mobile
from crosstune_export.builder.task import BuildTask
from crosstune_export.builder.trials import TrialRunner
from crosstune_export.builder.variants import Variant
from crosstune_export.bundle.files import require_outside
from crosstune_export.bundle.manifest import MANIFEST_NAME, BundleManifest
from crosstune_export.bundle.write import selftest_bytes, write_bundle

__all__ = ["BuildConfig", "BuildResult", "build"]

STAGES = ("read", "compare fp32 with torch", "try graphs", "write")


@dataclass(frozen=True)
class BuildResult:
    """Result of a build.

    Attributes:
        path: The bundle folder.
        manifest: The manifest as written.
        trials: All graphs that were tried, with verdicts; exactly one is ``shipped``.
        size_bytes: Total size of the bundle's files.
        mobile: The files for phones; None for other targets.
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
    """Build a bundle and check that it gives the same labels as the checkpoint.

    Args:
        checkpoint: Checkpoint folder from ``crosstune train``.
        output: Bundle folder to write.
        config: Settings; None for the defaults.
        force: Replace an existing bundle, once the new one is complete.
        progress: Called with the stage, its index and the number of stages.

    Raises:
        CheckpointError: The checkpoint is invalid.
        BackboneError: The backbone differs from the one of training, or cannot be read.
        DataError: The calibration file cannot be read.
        GateError: The graph differs too much from the checkpoint, or exceeds a budget; nothing is written.
        OutputExistsError: ``output`` or the report exists and ``force`` is off.
        ConfigError: A setting is out of range, an output would overwrite an input or another output, or the target's
            runtime does not read the backbone's tokenizer.
        MissingExtraError: A package is not installed.
        ResourceError: Writing to the disk failed.
    """
    config, target = config or BuildConfig(), Path(output)
    config.check()
    _check_outputs(Path(checkpoint), target, config, force=force)
    progress(STAGES[0], 0, len(STAGES))
    labelled = config.early_exit_percent is None and config.max_latency_ms is None
    task = BuildTask.read(checkpoint, config.calibration, config.backbone, config.reading, labelled=labelled)
    task.check_target(config.target)
    choice = _choose(task, config, progress)
    progress(STAGES[3], 3, len(STAGES))
    result = _write(task, choice, config, target)
    progress("done", len(STAGES), len(STAGES))
    return result


def check_build_places(checkpoint: Path, output: Path, config: BuildConfig, triton: Path | None = None) -> None:
    """Refuse outputs of a build that would overwrite its inputs or each other.

    Args:
        checkpoint: Checkpoint folder to read.
        output: Bundle folder to write.
        config: Settings of the build.
        triton: Folder of the Triton model repository; None for none.

    Raises:
        ConfigError: An output is an input or another output, or lies inside one.
    """
    outputs = {
        "the Triton repository": triton,
        "the bundle": output,
        "the folder for phones": mobile_path(output) if config.target == "mobile" else None,
        "the report": config.report,
    }
    check_places(outputs, [checkpoint, config.calibration])


def _check_outputs(checkpoint: Path, target: Path, config: BuildConfig, *, force: bool) -> None:
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    if config.report is not None:
        check_output(config.report, force=force, what="report")
        require_outside(config.report, target, "report")
    if config.target == "mobile":
        check_output(mobile_path(target), force=force, what="folder for phones", owned_marker=ORT_NAME)
    check_build_places(checkpoint, target, config)


def _choose(task: BuildTask, config: BuildConfig, progress: Progress) -> Choice[TrialRunner]:
    """Try graphs and choose one, with fewer layers if a budget requires it."""
    runtime, budgets = runtime_target(config.onnxruntime), config.budgets()
    teaches = config.calibration is not None and config.max_latency_ms is not None
    log = task.calibration if teaches else ()

    def opener(trained: Checkpoint) -> Callable[[], TrialRunner]:
        return lambda: TrialRunner(trained, task, config, runtime)

    def trier(variants: Sequence[Variant]) -> Callable[[TrialRunner], list[Trial]]:
        return lambda runner: runner.trials(variants, config.smaller_variants(), budgets)

    def all_layers() -> TrialRunner:
        progress(STAGES[1], 1, len(STAGES))
        runner = TrialRunner(task.trained, task, config, runtime)
        progress(STAGES[2], 2, len(STAGES))
        return runner

    def rank(trials: Sequence[Trial]) -> list[Trial]:
        return choose(trials, budgets, task.texts.real, task.tokenizer, stage_progress(progress, "time graphs"))

    def depth(trained: Checkpoint) -> Depth:
        return Depth(trained.head.spec.last_layer, held_out_accuracy(trained), trained.facts.head.taught)

    return choose_depth(
        DepthOption(depth(task.trained), all_layers, trier(config.variants())),
        (
            DepthOption(depth(shallow), opener(shallow), trier(config.variants_on_fewer_layers()))
            for shallow in on_fewer_layers(task.trained, task.backbone, log)
        ),
        budgets,
        rank,
        progress,
    )


def _with_exits(task: BuildTask, choice: Choice[TrialRunner], config: BuildConfig) -> Exits | None:
    """Return the shipped graph with early exits; None if none are wanted, or with a warning if they do not pay."""
    if config.early_exit_percent is None:
        return None
    trained = choice.source.trained
    exits = with_exits(
        choice.shipped,
        task,
        config.early_exit_percent,
        trained.threshold,
        trained.min_similarity,
        trained.config.seed,
    )
    if exits is None:
        warnings.warn(
            CrossTuneWarning(
                f"early_exit: exits that change at most {config.early_exit_percent:g}% of the labels save less than "
                f"{100 * LEAST_GAIN:g}% of the time, so the bundle has none. Give more texts, or a larger percentage."
            ),
            stacklevel=2,
        )
    return exits


def _write(task: BuildTask, choice: Choice[TrialRunner], config: BuildConfig, target: Path) -> BuildResult:
    """Measure the shipped graph, and write the bundle, the folder for phones and the report."""
    exits = _with_exits(task, choice, config)
    shipped, tokenizer, texts = choice.shipped if exits is None else exits.trial, task.tokenizer, task.texts
    session = shipped.open(kernels="portable")
    sample_probs = parity.graph_probs(session, tokenizer, texts.samples, 1)
    selftest = selftest_bytes(shipped.facts.precision, task.samples, texts.samples, sample_probs)
    invariance = parity.invariance(shipped.open, tokenizer, texts.rows)
    name = config.name or target.name.removesuffix(".bundle")
    manifest = describe(task, choice.source, shipped, invariance, name, config.release)
    if exits is not None:
        manifest = replace(manifest, exits=exits.facts, threshold=exits.threshold, min_similarity=exits.min_similarity)
    phone = None
    if config.target == "mobile":
        feeds = [tokenizer.batch([row]).feeds() for row in texts.samples]
        phone = convert(target, shipped.facts, shipped.model, feeds)
    manifest = write_bundle(target, manifest, shipped.model, task.backbone.tokenizer_json, selftest)
    mobile = None if phone is None else write_mobile(target, manifest, phone)
    if config.report is not None:
        probs = parity.graph_probs(session, tokenizer, texts.real, 1)
        labels = compare_labels(task.trained.labels.names, task.truth, choice.source.expected, probs)
        with new_file(config.report) as sink:
            page = report_page(manifest, choice.trials, labels, trained_on=config.calibration is None)
            sink.write(page.encode("utf-8"))
    size = sum(entry.size_bytes for entry in manifest.files.values()) + (target / MANIFEST_NAME).stat().st_size
    return BuildResult(target, manifest, choice.trials, size, mobile)
