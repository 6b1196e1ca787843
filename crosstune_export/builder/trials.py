"""Builds graphs of one head, and compares each with torch or with fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

import onnx
from onnxscript import ir

from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint, predict_proba
from crosstune.core.errors import BundleContentError, GateError
from crosstune.core.token_layout import Text
from crosstune.heads.default.head import PriorHead
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder import parity, variants
from crosstune_export.builder.assemble import graph_facts, serialize, with_labels
from crosstune_export.builder.calibrate import Activations, collect
from crosstune_export.builder.config import BuildConfig
from crosstune_export.builder.exporters.foreign_graph import export_by_optimum, read_backbone_graph, with_features
from crosstune_export.builder.exporters.runtime_target import RuntimeTarget
from crosstune_export.builder.exporters.torch_export import trace
from crosstune_export.builder.passes import classify_function, float16_labels
from crosstune_export.builder.search import Budgets, Trial, over_budget
from crosstune_export.builder.task import BuildTask
from crosstune_export.builder.variants import Variant, VariantMaker
from crosstune_export.bundle.facts import PredictionDifference
from crosstune_export.bundle.label_bank import PriorMap, with_metadata
from crosstune_export.runtime.kernels import fast_kernels, wanted
from crosstune_export.runtime.session import GraphSession, open_inner

#: Upper bounds in bytes for size budgets: manifest and model card without descriptions, a text of the self-test, and one number
#: of it. Chosen by hand.
_OTHER_BYTES, _SAMPLE_BYTES, _NUMBER_BYTES = 8_000, 700, 16


class TrialRunner:
    """Builds and measures the graphs of one head.

    Attributes:
        trained: The checkpoint whose head is in the graphs.
        exporter: Entry for the manifest with the exporter of the backbone; empty for torch's.
        parity: The fp32 graph compared with torch.
        expected: Probabilities of the texts by the fp32 graph, float32 (N, L).
    """

    def __init__(self, trained: Checkpoint, task: BuildTask, config: BuildConfig, runtime: RuntimeTarget) -> None:
        """Export the backbone, and compare the fp32 graph with torch.

        Args:
            trained: The checkpoint of the task, or the same on fewer layers.
            task: The texts, the tokenizer and the backbone.
            config: Settings of the exporter.
            runtime: The oldest onnxruntime to support.

        Raises:
            GateError: The backbone cannot be exported, or the fp32 graph differs from torch.
            BackboneError: The given backbone graph is invalid.
            MissingExtraError: optimum is needed and not installed.
        """
        self.trained, self._task, self._runtime = trained, task, runtime
        tokenizer, texts, backbone = task.tokenizer, task.texts, task.backbone
        exported, self.exporter = _exported(config, trained, backbone, texts.texts)
        longest = trained.tokens.max_length_tokens
        self._maker = VariantMaker(exported, backbone.head_count, backbone.hidden_size, longest, self._activations)
        self._reference = self._build(variants.FP32)
        try:
            session = self._reference.open()
        except BundleContentError as error:
            raise GateError(
                f"{backbone.name}: no bundle may contain its graph ({error.__cause__}). Choose another backbone."
            ) from error
        by_torch = predict_proba(trained, backbone, texts.texts)
        self.parity = parity.compare(session, tokenizer, texts.rows, by_torch, parity.BATCH_SIZES)
        parity.require_parity(self.parity)
        self.expected = parity.graph_probs(session, tokenizer, texts.real, 1)
        self._expected_truncated = (
            parity.graph_probs(session, tokenizer, texts.truncated, 1) if texts.truncated else None
        )

    def trials(self, first: Sequence[Variant], smaller: Sequence[Variant], budgets: Budgets) -> list[Trial]:
        """Build and compare variants: all of ``first``, then ``smaller`` in order until one keeps within the budgets."""
        trials = [self._compare(variant) for variant in first]
        for variant in smaller:
            if any(not over_budget(trial, budgets) for trial in trials):
                break
            trials.append(self._compare(variant))
        return trials

    def _compare(self, variant: Variant) -> Trial:
        if variant == variants.FP32:
            return self._reference
        trial = self._build(variant)
        portable, *fast = trial.kernels
        on_texts, on_truncated = self._to_fp32(trial.open(kernels=portable))
        for kernels in fast:
            trial = replace(trial, by_kernels=parity.sum_of(self._to_fp32(trial.open(kernels=kernels))))
        head, shots, expected = self.trained.facts.head, self.trained.facts.shots, None
        if head.close_shots is not None and shots:
            parts = (parity.sum_of((on_texts, on_truncated)), trial.by_kernels)
            moved = max(part.margin_change for part in parts if part is not None)
            expected = parity.expected_changes(moved, head.close_shots, shots, head.close_margin)
        return replace(trial, on_texts=on_texts, on_truncated=on_truncated, expected_changes=expected)

    def _to_fp32(self, session: GraphSession) -> tuple[PredictionDifference, PredictionDifference | None]:
        """Compare a graph with the fp32 graph on texts and on truncated texts."""
        tokenizer, texts, on_truncated = self._task.tokenizer, self._task.texts, None
        if self._expected_truncated is not None:
            on_truncated = parity.compare(session, tokenizer, texts.truncated, self._expected_truncated)
        return parity.compare(session, tokenizer, texts.real, self.expected), on_truncated

    def _build(self, variant: Variant) -> Trial:
        encoder, passes = self._maker.make(variant)
        encoder.ir_version = self._runtime.ir_version
        model = with_labels(encoder, self.trained.head)
        if variant.precision != "fp32":
            passes = {**passes, "float16_labels": float16_labels.apply(model)}
        data, obstacle = _as_function(serialize(model), self.trained.head, variant)
        if not obstacle:
            passes = {**passes, "classify_function": 1}
        prior = prior_map(self.trained.head)
        if prior is not None:
            data = with_metadata(data, prior.metadata())
        size = len(data) + len(self._task.backbone.tokenizer_json) + self._other_bytes()
        longest = self.trained.tokens.max_length_tokens
        facts = graph_facts(encoder, self.trained.head, variant, self._runtime, self._task.backbone.hidden_size)
        facts = replace(facts, function=None if obstacle else classify_function.NAME)
        return Trial(variant, facts, data, passes, size, longest=longest, no_fast_kernels=obstacle)

    def _other_bytes(self) -> int:
        """Return an upper bound for the size of manifest, self-test and model card."""
        labels, samples = len(self.trained.labels), len(self._task.texts.samples)
        described = sum(len(text.encode()) for label in self.trained.labels for text in label.descriptions)
        return _OTHER_BYTES + 3 * described + samples * (_SAMPLE_BYTES + labels * _NUMBER_BYTES)

    def _activations(self, model: ir.Model) -> Activations:
        rows = [*self._task.texts.rows, *self._task.texts.truncated]
        return collect(model, rows, self._task.tokenizer, variants.FP32.disabled_optimizers)


def prior_map(head: LabelAttentionHead) -> PriorMap | None:
    """Return the map from descriptions to label keys, which allows to add labels to a bundle; None if the head has none."""
    if not isinstance(head, PriorHead):
        return None
    return PriorMap(head.prior_scale.numpy(), head.prior_shift.numpy(), head.prior_centre.numpy())


def _exported(
    config: BuildConfig, trained: Checkpoint, backbone: Backbone, texts: Sequence[Text]
) -> tuple[ir.Model, dict[str, str]]:
    """Return the float graph, and the entry ``exporter`` for the manifest, which is omitted for torch's exporter."""
    if config.backbone_onnx is not None:
        proto, where = read_backbone_graph(config.backbone_onnx), str(config.backbone_onnx)
        exporter = f"{proto.producer_name} {proto.producer_version}".strip() or "unknown"
    elif config.exporter == "optimum":
        proto, where = export_by_optimum(backbone), "optimum"
        exporter = f"optimum-onnx {metadata.version('optimum-onnx')}"
    else:
        return trace(backbone, trained.head, trained.text_pair), {}
    rows = backbone.tokenize(texts, trained.tokens)
    return with_features(proto, where, backbone, trained.head, rows, trained.text_pair), {"exporter": exporter}


def _as_function(data: bytes, head: LabelAttentionHead, variant: Variant) -> tuple[bytes, str]:
    """Return the graph as one call of a function; or unchanged, and why the fast kernels cannot run it.

    They are tried here, because only they know all that they need.
    """
    spec, kernels = head.spec, fast_kernels()
    pools = ("mean", "max", "cls" if "cls" in spec.pools else "first")
    if variant.plan is None:
        return data, f"they run int8 graphs only, and this one is {variant.precision}"
    if kernels.path is None:
        return data, kernels.reason
    if spec.merge != "concat" or not set(spec.pools) <= set(pools):
        return data, f"they have no {spec.merge} of {', '.join(spec.pools)} for the head"
    mean, maximum, first = (tuple(atom.layer for atom in spec.atoms if atom.pool == pool) for pool in pools)
    attend = () if head.queries is None else spec.attention
    place = 0 if "cls" in pools else head.positions.first
    layout = classify_function.HeadLayout(mean, maximum, first, place, attend, len(head.folded()[0]))
    model = onnx.load_from_string(data)
    try:
        classify_function.apply(model, layout)
        wrapped = bytes(model.SerializeToString(deterministic=True))
        open_inner(wrapped, "the graph as a function", fast=wanted("plain", "", True))
    except classify_function.NoFunctionError as error:
        return data, f"the encoder is not of BERT's form ({error})"
    except BundleContentError as error:
        return data, str(error)
    return wrapped, ""
