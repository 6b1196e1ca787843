"""Which layers, pools and token states a configuration needs of a backbone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosstune.backbone.frozen import Backbone
from crosstune.config import TrainConfig
from crosstune.features.encoding import EncodingPlan
from crosstune.features.spec import POOLS, Atom, FeatureSpec


@dataclass(frozen=True)
class View:
    """Features that are fitted together.

    Attributes:
        name: Human-readable.
        atoms: Atoms of the feature spec; none for the view of the label queries.
        weight: Share of the mixture before any shot is seen.
    """

    name: str
    atoms: tuple[Atom, ...]
    weight: float


#: Pools of a single token, for which some backbones are trained.
_SENTENCE_TOKENS = ("cls", "last")


def default_views(depth: int, pool: str = "mean") -> tuple[View, ...]:
    """The views of the default head on the first ``depth`` layers: the last of them, seen in four ways, and the queries.

    A backbone that was trained for the vector of its first or last token is seen there in place of the text's first token.

    The layers were chosen by measuring: one layer less costs 1.0 points of accuracy, two layers less 1.7, and the head without
    label queries loses 2.5 (``benchmarks/results/ablations.json``). The weights were chosen by hand; they are not ablated.
    """
    last = tuple(range(max(0, depth - 2), depth + 1))
    token = pool if pool in _SENTENCE_TOKENS else "first"
    earlier = tuple(sorted({max(0, layer - 1) for layer in last}))
    return (
        View("mean", tuple(Atom("mean", layer) for layer in last), 0.25),
        View("mean, one layer earlier", tuple(Atom("mean", layer) for layer in earlier), 0.15),
        View(f"{token} token", tuple(Atom(token, layer) for layer in last), 0.05),
        View("max", tuple(Atom("max", layer) for layer in last), 0.05),
        View("label queries", (), 0.5),
    )


def spec_of(views: Sequence[View], depth: int) -> FeatureSpec:
    """All atoms of the views, each once, in the order of a feature spec, and the layers of the label queries."""
    atoms = {atom for view in views for atom in view.atoms}
    ordered = sorted(atoms, key=lambda atom: (POOLS.index(atom.pool), atom.layer))
    return FeatureSpec(tuple(ordered), attention=attention_layers(depth))


def attention_layers(depth: int) -> tuple[int, ...]:
    """Layers of the first ``depth`` whose tokens the label queries attend to: chosen by hand; not ablated."""
    return tuple(sorted({depth // 3, 2 * depth // 3, depth}))


def depths_to_try(config: TrainConfig, layer_count: int) -> tuple[int, ...]:
    """Numbers of layers that a training tries, the most first; ``auto`` goes down to half in steps of a sixth, at least one."""
    if config.layers == "auto":
        return tuple(range(layer_count, (layer_count + 1) // 2 - 1, -max(1, layer_count // 6)))
    return (layer_count if config.layers is None else config.layers,)


def paper_specs(config: TrainConfig, layer_count: int) -> tuple[FeatureSpec, FeatureSpec]:
    """Features that the paper's head reads of texts and of descriptions."""
    if config.feature == "mask":
        layers = range(1, layer_count + 1)
        return (
            FeatureSpec(tuple(Atom("mask", layer) for layer in layers), "max"),
            FeatureSpec(tuple(Atom("max", layer) for layer in layers), "max"),
        )
    spec = FeatureSpec((Atom(config.feature, layer_count),))
    return spec, spec


def text_pools(backbone: Backbone) -> tuple[str, ...]:
    """The pools that heads read of a backbone without a template."""
    token = (backbone.pool,) if backbone.pool in _SENTENCE_TOKENS else ("first",)
    return ("mean", "max", *token)


def encoding_plan(config: TrainConfig, backbone: Backbone, depths: Iterable[int] | None = None) -> EncodingPlan:
    """Which states to keep, so that heads can be fitted with a configuration.

    All pools that a head can read of this backbone are kept, whatever the head, so that heads of both kinds share the cache.

    Args:
        config: Settings.
        backbone: What encodes.
        depths: Numbers of layers of the default head; those that the settings ask for when None.

    Raises:
        ConfigError: The template cannot be used.
        BackboneError: A template is needed, and the backbone has no mask token.
    """
    pools = text_pools(backbone)
    masked = config.feature == "mask"
    token_layers: set[int] = set()
    if config.head == "default":
        for depth in depths or depths_to_try(config, backbone.layer_count):
            token_layers.update(attention_layers(depth))
    return EncodingPlan(
        text_pools=("mask",) if masked else pools,
        description_pools=pools,
        token_layers=tuple(sorted(token_layers)),
        layout=backbone.with_template(config.template) if masked else backbone.tokens,
    )
