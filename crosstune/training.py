"""Training, from examples and labels to a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstune.backbone import FrozenBackbone
from crosstune.checkpoint import BackboneFacts, Checkpoint
from crosstune.config import TrainConfig
from crosstune.errors import DataError, TrainingError
from crosstune.examples import Example, examples_digest, without_duplicates
from crosstune.feature_cache import FeatureCache, default_cache_path
from crosstune.head import LabelAttentionHead, PriorHead
from crosstune.labels import LabelSet, check_labels
from crosstune.paper_training import fit_paper
from crosstune.pooling import POOLS, Atom, FeatureSpec, pooled_features
from crosstune.sampling import few_shot_split
from crosstune.selection import Selection, default_views, select, spec_of
from crosstune.text_files import Json


class Reporter(Protocol):
    """Hears how far a stage of the work is."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Called after each step: ``done`` of ``total``."""


def _silent(stage: str, done: int, total: int) -> None:
    del stage, done, total


def train(
    examples: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    generated: Sequence[Example] = (),
    backbone: FrozenBackbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    report: Reporter = _silent,
    where: str = "examples",
) -> Checkpoint:
    """Train a head.

    Example:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> shots = [Example("where is it", "ship"), Example("so happy", "praise"), Example("late again", "ship")]
        >>> checkpoint = train(shots, labels)
        >>> checkpoint.head.kind, checkpoint.labels.names
        ('default', ('ship', 'praise'))

    Args:
        examples: What to learn from; ``config.shots`` draws that many a label out of them.
        labels: The classes and their descriptions; a class without examples is known by its description only.
        config: Settings, the defaults when None.
        generated: Texts by an LLM; those that ``noise_filter.filter_generated`` keeps are learned from too.
        backbone: A loaded backbone, to save time over several runs; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        report: Hears the progress.
        where: What to call the examples in messages.

    Raises:
        DataError: An example's label is unknown, a text stands under two labels, or pairs and single texts are mixed.
        BackboneError: The backbone cannot be loaded.
        TrainingError: The head is not finite.
    """
    config = config or TrainConfig()
    examples = without_duplicates(examples, where)
    if config.shots is not None:
        examples = few_shot_split(examples, config.shots, config.seed).train
    check_labels(examples, labels, where, expect_every_label=True)
    if len({example.text_pair is None for example in examples}) > 1:
        raise DataError(f"{where}: some examples have a text_pair and some have none. Give every row one, or none.")
    backbone = backbone or FrozenBackbone.load(
        config.backbone, device=device, max_length_tokens=config.max_length_tokens
    )
    filtered: dict[str, Json] = {}
    if generated:
        from crosstune.noise_filter import filter_generated  # which trains heads itself

        result = filter_generated(
            generated, examples, labels, config, backbone=backbone, cache_path=cache_path, report=report
        )
        examples = (*examples, *result.kept)
        filtered = {"generated": result.summary}
    masked = config.head == "paper" and config.feature == "mask"
    tokens = backbone.with_template(config.template) if masked else backbone.tokens
    positions = backbone.pool_positions(tokens)
    text_spec, label_spec = _specs(config, backbone.layer_count)
    sentences = [sentence for label in labels for sentence in label.descriptions]

    with FeatureCache(cache_path or default_cache_path()) as cache:
        described = cache.pooled(
            backbone, sentences, _cached_pools(label_spec), None, lambda done, all_: report("encode labels", done, all_)
        )
        pooled = cache.pooled(
            backbone,
            [example.content for example in examples],
            _cached_pools(text_spec),
            tokens,
            lambda done, all_: report("encode texts", done, all_),
        )
    features = _features(pooled, text_spec, backbone.device)  # (N, F)
    counts = [len(label.descriptions) for label in labels]
    sentence_features = torch.split(_features(described, label_spec, backbone.device), counts)
    label_features = torch.stack([rows.mean(0) for rows in sentence_features])  # (L, F)
    targets = torch.tensor(labels.indices(examples), dtype=torch.int64, device=backbone.device)

    head: LabelAttentionHead
    summary: dict[str, Json]
    if config.head == "default":
        views = default_views(backbone.layer_count)
        with _one_thread():
            chosen = select(
                views, features, targets, label_features, config.seed, lambda done, all_: report("fit head", done, all_)
            )
        head = PriorHead(text_spec, positions, chosen.label_keys, chosen.label_bias, chosen.prior_keys)
        summary = _selection_summary(chosen)
    else:
        if not len(targets):
            raise DataError(f"{where}: 0 examples, expected at least one for the paper head. Use the default head.")
        with _one_thread():
            head = fit_paper(
                text_spec,
                positions,
                features,
                targets,
                label_features,
                heads=config.heads,
                epochs=config.epochs,
                learning_rate=config.learning_rate,
                seed=config.seed,
                progress=lambda done, all_: report("fit head", done, all_),
            )
        summary = {"cv_accuracy": None}
    for name, tensor in head.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"training: {name} is not finite. Look for absurd texts, or lower the learning rate.")
    summary |= {
        "examples": len(examples),
        "examples_sha256": examples_digest(examples),
        **filtered,
    }
    return Checkpoint(
        head=head.cpu(),
        labels=labels,
        backbone=BackboneFacts(backbone.name, backbone.digest, backbone.hidden_size, backbone.layer_count),
        tokens=tokens,
        config=config,
        examples=tuple(examples),
        summary=summary,
    )


def predict_proba(
    checkpoint: Checkpoint,
    backbone: FrozenBackbone,
    texts: Sequence[str | tuple[str, str]],
    *,
    batch_size: int = 32,
    report: Reporter = _silent,
) -> npt.NDArray[np.float32]:
    """Class probabilities by torch: the reference that a build is measured against.

    Args:
        checkpoint: The head.
        backbone: What it was trained with.
        texts: N texts or pairs.
        batch_size: Texts encoded at once.
        report: Hears the progress.

    Returns:
        float32 (N, L), columns in the order of ``checkpoint.labels``.
    """
    out = np.empty((len(texts), len(checkpoint.labels)), np.float32)
    head = checkpoint.head.to(backbone.device)
    done = 0
    with torch.inference_mode():
        for chunk, hidden in backbone.batches(texts, batch_size, checkpoint.tokens):
            out[chunk] = head(hidden.states, hidden.mask)[0].cpu().numpy()
            done += len(chunk)
            report("classify", done, len(texts))
    return out


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Many small products: threads gain little on an idle machine, wait for each other on a busy one, and change last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _specs(config: TrainConfig, layer_count: int) -> tuple[FeatureSpec, FeatureSpec]:
    """Features of texts and of descriptions."""
    if config.head == "default":
        spec = spec_of(default_views(layer_count))
        return spec, spec
    if config.feature == "mask":
        layers = range(1, layer_count + 1)
        return (
            FeatureSpec(tuple(Atom("mask", layer) for layer in layers), "max"),
            FeatureSpec(tuple(Atom("max", layer) for layer in layers), "max"),
        )
    spec = FeatureSpec((Atom(config.feature, layer_count),))
    return spec, spec


def _cached_pools(spec: FeatureSpec) -> tuple[str, ...]:
    """All pools but the mask, so that heads of every kind share what is cached; the mask alone with its template."""
    return ("mask",) if "mask" in spec.pools else tuple(pool for pool in POOLS if pool != "mask")


def _features(pooled: npt.NDArray[np.float32], spec: FeatureSpec, device: str) -> Tensor:
    return pooled_features(torch.from_numpy(pooled).to(device), _cached_pools(spec), spec)


def _selection_summary(chosen: Selection) -> dict[str, Json]:
    return {
        "cv_accuracy": chosen.accuracy,
        "views": [
            {
                "name": choice.view.name,
                "weight": choice.weight,
                "scale": choice.scale,
                "penalty": choice.penalty,
                "cv_accuracy": choice.accuracy,
            }
            for choice in chosen.choices
        ],
    }
