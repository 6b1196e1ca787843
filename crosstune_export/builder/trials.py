"""Makes the graphs of one head, and measures how each answers beside the checkpoint and beside fp32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata

import numpy as np
import onnx
from onnxscript import ir

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.checkpoint import Checkpoint, predict_proba
from crosstune.core.token_layout import Text, TokenRow
from crosstune.heads.default.head import PriorHead
from crosstune.heads.label_attention import LabelAttentionHead
from crosstune_export.builder import parity, variants
from crosstune_export.builder.calibrate import Activations, collect
from crosstune_export.builder.config import BuildConfig
from crosstune_export.builder.exporters.foreign_graph import export_by_optimum, read_backbone_graph, with_features
from crosstune_export.builder.exporters.runtime_target import RuntimeTarget
from crosstune_export.builder.exporters.torch_export import trace
from crosstune_export.builder.passes import float16_labels, label_attention
from crosstune_export.builder.probe_texts import halves
from crosstune_export.builder.search import Budgets, Trial, over_budget
from crosstune_export.builder.variants import Candidate, Workshop, copy_model
from crosstune_export.bundle.label_bank import PriorMap, with_metadata
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.tokenization import TextTokenizer

#: For size budgets: the manifest and the card without descriptions, and a text of the self-test and one of its numbers.
_BESIDE_BYTES, _SAMPLE_BYTES, _NUMBER_BYTES = 8_000, 700, 16


@dataclass(frozen=True)
class BuildTexts:
    """The texts of a build, and their ids by the tokenizer that ships.

    Attributes:
        texts: What graphs are judged on, then what the self-test holds (descriptions and probes).
        real: Ids of the first.
        halves: Ids of halves of them.
        samples: Ids of the self-test's texts.
    """

    texts: tuple[Text, ...]
    real: tuple[TokenRow, ...]
    halves: tuple[TokenRow, ...]
    samples: tuple[TokenRow, ...]

    @classmethod
    def read(
        cls,
        real: Sequence[Text],
        samples: Sequence[Text],
        trained: Checkpoint,
        backbone: FrozenBackbone,
        tokenizer: TextTokenizer,
    ) -> BuildTexts:
        """Make ids of the texts.

        Raises:
            GateError: A text's ids are not those of training.
        """
        texts = (*real, *samples)
        rows = parity.check_ids(tokenizer, texts, [row.ids for row in backbone.tokenize(texts, trained.tokens)])
        parts = rows[: len(real)], tokenizer.rows(halves(real)), rows[len(real) :]
        return cls(texts, *(tuple(part) for part in parts))

    @property
    def rows(self) -> tuple[TokenRow, ...]:
        """Ids of ``texts``."""
        return (*self.real, *self.samples)


class Laboratory:
    """The graphs of one head.

    Attributes:
        trained: The head, and what it was trained on.
        exporter: Who made the backbone's graph, where torch's exporter of today did not; for the manifest.
        parity: The fp32 graph beside torch.
        expected: Probabilities of the texts by fp32, float32 (N, L).
    """

    def __init__(
        self,
        trained: Checkpoint,
        backbone: FrozenBackbone,
        tokenizer: TextTokenizer,
        texts: BuildTexts,
        config: BuildConfig,
        runtime: RuntimeTarget,
    ) -> None:
        """Trace, and compare the fp32 graph with torch.

        Raises:
            GateError: The backbone cannot be exported, or fp32 answers unlike torch.
        """
        self.trained, self._backbone, self._tokenizer, self._texts = trained, backbone, tokenizer, texts
        self._runtime = runtime
        traced, self.exporter = _traced(config, trained, backbone, texts.texts)
        longest = trained.tokens.max_length_tokens
        self._workshop = Workshop(traced, backbone.head_count, backbone.hidden_size, longest, self._activations)
        self._reference = self._made(variants.FP32)
        session = self._reference.open()
        by_torch = predict_proba(trained, backbone, texts.texts)
        self.parity = parity.compare(session, tokenizer, texts.rows, by_torch, parity.BATCH_SIZES)
        parity.require_parity(self.parity)
        self.expected = parity.graph_probs(session, tokenizer, texts.real, 1)
        self._expected_on_halves = parity.graph_probs(session, tokenizer, texts.halves, 1) if texts.halves else None

    def trials(self, wanted: Sequence[Candidate], smaller: Sequence[Candidate], budgets: Budgets) -> list[Trial]:
        """Make and judge candidates, and those of ``smaller`` in turn while none keeps to the budgets of size and flips."""
        trials = [self._judged(candidate) for candidate in wanted]
        for candidate in smaller:
            if any(not over_budget(trial, budgets) for trial in trials):
                break
            trials.append(self._judged(candidate))
        return trials

    def _judged(self, candidate: Candidate) -> Trial:
        if candidate == variants.FP32:
            return self._reference
        trial = self._made(candidate)
        session = trial.open()
        on_texts, on_halves = parity.compare(session, self._tokenizer, self._texts.real, self.expected), None
        if self._expected_on_halves is not None:
            on_halves = parity.compare(session, self._tokenizer, self._texts.halves, self._expected_on_halves)
        return replace(trial, on_texts=on_texts, on_halves=on_halves)

    def _made(self, candidate: Candidate) -> Trial:
        encoder, passes = self._workshop.make(candidate)
        encoder.ir_version = self._runtime.ir_version
        whole = _with_labels(encoder, self.trained)
        if candidate.precision != "fp32":
            passes = {**passes, "half_labels": float16_labels.apply(whole)}
        data = _serialized(whole)
        prior = prior_map(self.trained.head)
        if prior is not None:
            data = with_metadata(data, prior.metadata())
        size = len(data) + len(self._backbone.tokenizer_json) + self._beside_bytes()
        return Trial(candidate, self._facts(encoder, candidate), data, passes, size)

    def _beside_bytes(self) -> int:
        """At most what manifest, self-test and card will take, for size budgets."""
        labels, samples = len(self.trained.labels), len(self._texts.samples)
        described = sum(len(text.encode()) for label in self.trained.labels for text in label.descriptions)
        return _BESIDE_BYTES + 3 * described + samples * (_SAMPLE_BYTES + labels * _NUMBER_BYTES)

    def _activations(self, model: ir.Model) -> Activations:
        rows = [*self._texts.rows, *self._texts.halves]
        return collect(model, rows, self._tokenizer, variants.FP32.disabled_optimizers)

    def _facts(self, model: ir.Model, candidate: Candidate) -> GraphFacts:
        head, runtime = self.trained.head, self._runtime
        return GraphFacts(
            inputs=tuple(str(value.name) for value in model.graph.inputs),
            outputs=("probs", "text_vector", "scope") if isinstance(head, PriorHead) else ("probs", "text_vector"),
            precision=candidate.precision,
            opset=runtime.opset,
            ir_version=runtime.ir_version,
            min_onnxruntime=runtime.min_onnxruntime,
            disabled_optimizers=candidate.disabled_optimizers,
            text_vector_size=head.feature_count(self._backbone.hidden_size),
        )


def prior_map(head: LabelAttentionHead) -> PriorMap | None:
    """How a description becomes a label's key, so that a finished bundle can take further labels; None for other heads."""
    if not isinstance(head, PriorHead):
        return None
    return PriorMap(head.prior_scale.numpy(), head.prior_shift.numpy(), head.prior_centre.numpy())


def _traced(
    config: BuildConfig, trained: Checkpoint, backbone: FrozenBackbone, texts: Sequence[Text]
) -> tuple[ir.Model, dict[str, str]]:
    """The float graph, and who exported it where torch's exporter of today did not."""
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


def _serialized(model: ir.Model) -> bytes:
    """The bytes of a model, every constant raw: exporters and onnxruntime's rules know many ways to store numbers, a bundle one."""
    proto = ir.serde.serialize_model(model)
    attributes = (attribute for node in proto.graph.node for attribute in node.attribute if attribute.HasField("t"))
    for tensor in (*proto.graph.initializer, *(attribute.t for attribute in attributes)):
        if not tensor.HasField("raw_data"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    return bytes(proto.SerializeToString(deterministic=True))


def _with_labels(model: ir.Model, trained: Checkpoint) -> ir.Model:
    """A copy of the encoder with the label attention behind it."""
    whole = copy_model(model)
    keys, bias = (array.numpy().astype(np.float32) for array in trained.head.folded())
    head, queries = trained.head, trained.head.queries
    scope_keys = head.scope_keys.numpy() if isinstance(head, PriorHead) else None
    arrays = label_attention.HeadArrays(keys, bias, None if queries is None else queries.numpy(), scope_keys)
    label_attention.apply(whole, arrays)
    return whole
