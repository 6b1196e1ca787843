"""Training, from examples and labels to a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from crosstune.backbone.frozen import FrozenBackbone
from crosstune.backbone.indistinguishable import check_look_alikes
from crosstune.checkpoint import BackboneFacts, Checkpoint
from crosstune.config import TrainConfig
from crosstune.core.errors import ConfigError, DataError, TrainingError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.strict_text import Json
from crosstune.data.examples import Example, check_fields, examples_digest, without_duplicates
from crosstune.data.labels import check_labels
from crosstune.data.sampling import few_shot_split
from crosstune.features.cache import FeatureCache, default_cache_path
from crosstune.features.encoding import cached_features, cached_pools
from crosstune.features.pooling import Atom, FeatureSpec
from crosstune.heads.default.fit import EncodedTask, depths, fit_default
from crosstune.heads.default.mixing import attention_layers, default_views, spec_of
from crosstune.heads.label_attention import LabelAttentionHead, PriorHead
from crosstune.heads.paper.fit import fit_paper


def train(
    examples: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    generated: Sequence[Example] = (),
    backbone: FrozenBackbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    progress: Progress = no_progress,
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
        progress: Called with the stage, the steps done and their total.
        where: What to call the examples in messages.

    Raises:
        DataError: An example's label is unknown, a text stands under two labels or holds what no file can, pairs and single
            texts are mixed, or all texts are the same to the backbone.
        BackboneError: The backbone cannot be loaded.
        TrainingError: The head is not finite.
        ConfigError: More layers are asked for than the backbone has.
    """
    config = config or TrainConfig()
    check_fields(examples, where)
    check_fields(generated, "generated")
    examples = without_duplicates(examples, where)
    if config.shots is not None:
        examples = few_shot_split(examples, config.shots, config.seed).train
    check_labels(examples, labels, where, expect_every_label=True)
    if len({example.text_pair is None for example in examples}) > 1:
        raise DataError(f"{where}: some examples have a text_pair and some have none. Give every row one, or none.")
    backbone = backbone or FrozenBackbone.load(
        config.backbone, device=device, max_length_tokens=config.max_length_tokens
    )
    if isinstance(config.layers, int) and config.layers > backbone.layer_count:
        raise ConfigError(f"layers: found {config.layers}, expected 1 to {backbone.layer_count} for {backbone.name}.")
    check_look_alikes(examples, backbone, where)
    if not generated:
        return train_on(examples, (), labels, config, backbone, cache_path=cache_path, progress=progress, where=where)
    from crosstune.filter.noise_filter import filter_generated  # which trains heads itself

    result = filter_generated(
        generated, examples, labels, config, backbone=backbone, cache_path=cache_path, progress=progress
    )
    checkpoint = train_on(
        examples, result.kept, labels, config, backbone, cache_path=cache_path, progress=progress, where=where
    )
    return replace(checkpoint, summary={**checkpoint.summary, "generated": result.summary})


def train_on(
    shots: Sequence[Example],
    further: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig,
    backbone: FrozenBackbone,
    *,
    cache_path: Path | None = None,
    progress: Progress = no_progress,
    where: str = "examples",
) -> Checkpoint:
    """Train on shots and on further texts that are believed already, both checked; nothing is chosen by further texts.

    Args:
        shots: Real examples.
        further: Generated texts, as the noise filter keeps them.
        labels: The classes and their descriptions.
        config: Settings.
        backbone: A loaded backbone.
        cache_path: File of cached features; the user's own when None.
        progress: Called with the stage, the steps done and their total.
        where: What to call the examples in messages.

    Raises:
        DataError: There is nothing to train a paper head on.
        TrainingError: The head is not finite.
    """
    examples = (*shots, *further)
    masked = config.head == "paper" and config.feature == "mask"
    tokens = backbone.with_template(config.template) if masked else backbone.tokens
    positions = backbone.pool_positions(tokens)
    text_spec, label_spec = _specs(config, backbone.layer_count)
    layers = token_layers(config, backbone.layer_count)
    with FeatureCache(cache_path or default_cache_path()) as cache:
        described = cache.states(
            backbone,
            [sentence for label in labels for sentence in label.descriptions],
            cached_pools(label_spec),
            layers,
            None,
            lambda done, all_: progress("encode labels", done, all_),
        )
        states = cache.states(
            backbone,
            [example.content for example in examples],
            cached_pools(text_spec),
            layers,
            tokens,
            lambda done, all_: progress("encode texts", done, all_),
        )
    targets = torch.tensor(labels.indices(examples), dtype=torch.int64, device=backbone.device)

    head: LabelAttentionHead
    summary: dict[str, Json]
    if config.head == "default":
        encoded = EncodedTask(labels, targets, described, states, len(further))
        with _one_thread():
            head, summary = fit_default(encoded, backbone, config, lambda done, all_: progress("fit head", done, all_))
    else:
        features = cached_features(states, text_spec).to(backbone.device)  # (N, F)
        counts = [len(label.descriptions) for label in labels]
        sentence_features = torch.split(cached_features(described, label_spec).to(backbone.device), counts)
        label_features = torch.stack([rows.mean(0) for rows in sentence_features])  # (L, F)
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
                progress=lambda done, all_: progress("fit head", done, all_),
            )
        summary = {"cv_accuracy": None}
    for name, tensor in head.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"training: {name} is not finite. Look for absurd texts, or lower the learning rate.")
    summary |= {
        "examples": len(examples),
        "shots": len(shots),
        "examples_sha256": examples_digest(examples),
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
    progress: Progress = no_progress,
) -> npt.NDArray[np.float32]:
    """Class probabilities by torch: the reference that a build is measured against.

    Args:
        checkpoint: The head.
        backbone: What it was trained with.
        texts: N texts or pairs.
        batch_size: Texts encoded at once.
        progress: Called with the stage, the steps done and their total.

    Returns:
        float32 (N, L), columns in the order of ``checkpoint.labels``.
    """
    return predict_with_scope(checkpoint, backbone, texts, batch_size=batch_size, progress=progress)[0]


def predict_with_scope(
    checkpoint: Checkpoint,
    backbone: FrozenBackbone,
    texts: Sequence[str | tuple[str, str]],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Class probabilities, and how near each text is to the nearest label; arguments as of ``predict_proba``.

    Returns:
        float32 (N, L), and float32 (N,), which is None for a head that does not say.
    """
    probs = np.empty((len(texts), len(checkpoint.labels)), np.float32)
    head = checkpoint.head.to(backbone.device)
    scope = np.empty(len(texts), np.float32) if isinstance(head, PriorHead) else None
    done = 0
    with torch.inference_mode():
        for chunk, hidden in backbone.batches(texts, batch_size, checkpoint.tokens):
            found, vectors = head(hidden.states, hidden.mask)
            probs[chunk] = found.cpu().numpy()
            if scope is not None and isinstance(head, PriorHead):
                scope[chunk] = head.scope(vectors).cpu().numpy()
            done += len(chunk)
            progress("classify", done, len(texts))
    return probs, scope


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
        spec = spec_of(default_views(layer_count), layer_count)
        return spec, spec
    if config.feature == "mask":
        layers = range(1, layer_count + 1)
        return (
            FeatureSpec(tuple(Atom("mask", layer) for layer in layers), "max"),
            FeatureSpec(tuple(Atom("max", layer) for layer in layers), "max"),
        )
    spec = FeatureSpec((Atom(config.feature, layer_count),))
    return spec, spec


def token_layers(config: TrainConfig, layer_count: int) -> tuple[int, ...]:
    """Layers whose token states are kept: those that label queries may attend to, at any depth that is tried."""
    if config.head != "default":
        return ()
    return tuple(sorted({layer for depth in depths(config, layer_count) for layer in attention_layers(depth)}))
