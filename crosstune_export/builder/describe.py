"""Creates the manifest of a built bundle."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from crosstune import __version__
from crosstune.backbone.loading import hub_id
from crosstune.core.labels import Label
from crosstune.core.token_layout import replace_surrogates
from crosstune_export.builder.fewer_layers import held_out_accuracy
from crosstune_export.builder.search import Trial
from crosstune_export.builder.task import BuildTask
from crosstune_export.builder.trials import TrialRunner
from crosstune_export.bundle.facts import (
    AllLayers,
    BackboneFacts,
    HeadFacts,
    PredictionDifference,
    QualityFacts,
    TrainingFacts,
)
from crosstune_export.bundle.manifest import BundleManifest


def describe(
    task: BuildTask, runner: TrialRunner, shipped: Trial, invariance: PredictionDifference, name: str, release: int
) -> BundleManifest:
    """Return the manifest, without the hashes of the files.

    Args:
        task: Inputs of the build.
        runner: Source of the shipped graph.
        shipped: The shipped graph.
        invariance: Padded batches and two threads compared with one text at a time.
        name: Name of the bundle.
        release: Release number, 0 for none.
    """
    trained, head = task.trained, runner.trained.head
    fewer = runner.trained is not trained
    training = TrainingFacts(
        examples=len(trained.examples),
        examples_sha256=trained.examples_sha256,
        shots=trained.config.shots,
        seed=trained.config.seed,
        cv_accuracy=held_out_accuracy(runner.trained),
        usual_similarity=runner.trained.facts.head.usual_similarity,
        all_layers=AllLayers(trained.head.spec.last_layer, held_out_accuracy(trained)) if fewer else None,
        taught=runner.trained.facts.head.taught,
    )
    backbone = BackboneFacts(
        name=replace_surrogates(Path(trained.backbone.name).name),
        digest=trained.backbone.digest,
        hidden_size=trained.backbone.hidden_size,
        layers=trained.backbone.layer_count,
        layers_used=head.spec.last_layer,
        hub_id=hub_id(task.backbone.name),
    )
    head_facts = HeadFacts(
        kind=head.kind,
        heads=head.folded()[0].shape[0],
        merge=head.spec.merge,
        atoms=tuple(f"{atom.pool}:{atom.layer}" for atom in head.spec.atoms),
        attention_layers=head.spec.attention,
        pooled_size=head.spec.size(trained.backbone.hidden_size),
    )
    quality = QualityFacts(
        precision=shipped.facts.precision,
        fp32_to_torch=runner.parity,
        to_fp32=shipped.on_texts,
        to_fp32_truncated=shipped.on_truncated,
        batch_invariance=invariance,
        kernels_to_fp32=shipped.by_kernels,
        rewrites=shipped.passes,
        expected_changes=shipped.expected_changes,
    )
    return BundleManifest(
        name=replace_surrogates(name),
        producer={**_producer(), **runner.exporter},
        labels=tuple(Label(label.name, label.descriptions) for label in trained.labels),
        text_pair=trained.text_pair,
        tokens=trained.tokens,
        graph=shipped.facts,
        threshold=runner.trained.threshold,
        min_similarity=runner.trained.min_similarity,
        backbone=backbone.to_json(),
        head=head_facts.to_json(),
        training=training.to_json(),
        quality=quality.to_json(),
        files={},
        release=release,
        runtimes=task.runtimes,
    )


def _producer() -> dict[str, str]:
    packages = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers", "tokenizers")
    return {"crosstune-export": __version__} | {name: metadata.version(name) for name in packages}
